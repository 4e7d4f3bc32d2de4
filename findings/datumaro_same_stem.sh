#!/usr/bin/env bash
# Datumaro: a.jpg and a.png in one class folder become one item, labelled twice
#
# Versions:  datumaro 1.13.12, pillow 12.3.0; Python 3.11 on Linux x86-64, November 2026
# Guess:     Importing a folder in ImageNet layout gives one item for each image file.
# Behaviour: Items are named after the file without its suffix, and the later file takes the place of the earlier one
#            without a word: two different pictures are one item that keeps one picture and has the label twice.
#            Counts, splits and selections made with it lose files, in folders where RAW or edited copies lie beside
#            the originals above all.
# Output seen:
#   6 files, 4 items
#   cat:a: picture .png, 2 label(s)
#   cat:b: picture .jpg, 1 label(s)
#   dog:a: picture .png, 2 label(s)
#   dog:b: picture .jpg, 1 label(s)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check datumaro==1.13.12 \
  pillow==12.3.0 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import logging
import pathlib

from PIL import Image

logging.disable(logging.CRITICAL)
from datumaro import Dataset

folder = pathlib.Path("pictures")
for label in ("cat", "dog"):
    (folder / label).mkdir(parents=True, exist_ok=True)
    for name, grey in (("a.jpg", 10), ("a.png", 200), ("b.jpg", 90)):
        Image.new("RGB", (8, 8), (grey, grey, grey)).save(folder / label / name)
files = sorted(p for p in folder.rglob("*") if p.is_file())
items = sorted(Dataset.import_from(str(folder), "imagenet"), key=lambda item: item.id)
kept = [(item.id, pathlib.Path(item.media.path).suffix, len(item.annotations)) for item in items]
print(f"{len(files)} files, {len(items)} items")
for name, suffix, labels in kept:
    print(f"{name}: picture {suffix}, {labels} label(s)")
assert len(files) == 6 and len(items) == 4
assert {name: labels for name, _, labels in kept} == {"cat:a": 2, "cat:b": 1, "dog:a": 2, "dog:b": 1}
EOF
