"""Countries and their capitals, for a cloze question: those whose capital is one piece of the model's vocabulary.

In the alphabet of the countries every fourth pair is held out. No capital is on both sides.
"""

import json
from pathlib import Path


def write(countries: bytes, tokenizer: bytes, licence: bytes, folder: Path) -> None:
    vocabulary = json.loads(tokenizer)["model"]["vocab"]
    known = {}
    for name, capital in sorted((row["name"], row["capital"]) for row in json.loads(countries).values()):
        # A country called like its capital asks for nothing, and of two with one capital the first is enough.
        if capital.lower() in vocabulary and capital != name and capital not in known:
            known[capital] = name
    pairs = list(known.items())
    parts = {"train": [pair for i, pair in enumerate(pairs) if i % 4 != 3], "test": pairs[3::4]}
    folder.mkdir(parents=True, exist_ok=True)
    for part, rows in parts.items():
        content = "country\tcapital\n" + "".join(f"{country}\t{capital}\n" for capital, country in rows)
        (folder / f"{part}.tsv").write_bytes(content.encode("utf-8"))
    (folder / "LICENSE").write_bytes(licence)
