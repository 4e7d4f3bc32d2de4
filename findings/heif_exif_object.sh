#!/usr/bin/env bash
# pillow-heif: exif=Image.Exif() loses the turn of the picture, exif=bytes keeps it
#
# Versions:  pillow-heif 1.8.1, pillow 13.0.0, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     Saving as HEIF with EXIF orientation 6 writes a picture that opens upright, whether EXIF is given as
#            bytes or as an Exif object.
# Behaviour: With bytes the file gets a rotation property and opens upright. With an Image.Exif object, which Pillow's
#            own writers take, the property is missing and only EXIF says 6. HEIF readers must ignore EXIF here, so
#            the picture lies on its side for everybody, pillow-heif included, and the orientation that it reports
#            afterwards is 1: nothing downstream can mend it.
# Output seen:
#   exif as bytes: size (48, 64), rotation property True, orientation 1
#   exif as object: size (64, 48), rotation property False, orientation 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check pillow-heif==1.8.1 \
  pillow==13.0.0 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io

import numpy as np
from PIL import Image, ImageOps

import pillow_heif

pillow_heif.register_heif_opener()
ys, xs = np.mgrid[0:48, 0:64]
stored = Image.fromarray(np.stack([xs * 4, ys * 5, 255 - xs * 4], -1).astype("uint8"))  # 64 wide, 48 high
exif = Image.Exif()
exif[0x0112] = 6
found = {}
for name, argument in (("bytes", exif.tobytes()), ("object", exif)):
    file = io.BytesIO()
    stored.save(file, "HEIF", exif=argument, quality=90)
    image = Image.open(io.BytesIO(file.getvalue()))
    upright = ImageOps.exif_transpose(image)
    found[name] = upright.size, b"irot" in file.getvalue(), image.getexif().get(0x0112)
    print(f"exif as {name}: size {upright.size}, rotation property {found[name][1]}, orientation {found[name][2]}")
assert found == {"bytes": ((48, 64), True, 1), "object": ((64, 48), False, 1)}, found
EOF
