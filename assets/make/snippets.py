"""The movie snippets: two labels from people's mean ratings, and a fixed split.

The split is a plain shuffle with seed 0, last tenth held out. `random.Random(0).shuffle` gives the same
order on every Python 3 since 3.2; the checksums of make.py would show it if that ever changed.
"""

import random
from pathlib import Path

# A mean of -4 to 4 over at least 20 people. Below 1 in size they did not agree on a side.
LEAST = 1.0


def write(ground_truth: bytes, licence: bytes, folder: Path) -> None:
    rows = []
    for line in ground_truth.decode("utf-8", errors="replace").split("\n"):
        columns = line.rstrip("\r").split("\t")
        if len(columns) >= 3 and abs(float(columns[1])) >= LEAST:
            rows.append((columns[2], "positive" if float(columns[1]) > 0 else "negative"))
    random.Random(0).shuffle(rows)
    held_out = len(rows) // 10
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", rows[:-held_out]), ("valid", rows[-held_out:])):
        content = "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in part)
        (folder / f"{name}.tsv").write_bytes(content.encode("utf-8"))
    (folder / "LICENSE").write_bytes(licence)
