#!/usr/bin/env bash
# OpenCV 5: photos in AVIF stay lying where the same photo in JPEG is turned upright
#
# Versions:  opencv-python-headless 5.0.0.93, pillow 13.0.0, pillow-heif 1.8.1, numpy 2.4.6; Python 3.11 on Linux
#            x86-64, November 2026
# Guess:     imread turns a picture as its file says for AVIF as it does for JPEG (IMREAD_COLOR applies the
#            orientation).
# Behaviour: JPEG, PNG and WebP are turned. AVIF is not: neither its rotation property (irot), which a decoder must
#            apply, nor the EXIF copy is looked at. Pillow and libheif turn it. Features of one photo in two formats
#            then differ as those of a photo and its rotation.
# Output seen:
#   JPEG: width and height in Pillow (48, 64), in OpenCV (48, 64)
#   PNG: width and height in Pillow (48, 64), in OpenCV (48, 64)
#   WEBP: width and height in Pillow (48, 64), in OpenCV (48, 64)
#   AVIF: width and height in Pillow (48, 64), in OpenCV (64, 48)
#   AVIF by libheif: (48, 64)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check opencv-python-headless==5.0.0.93 \
  pillow==13.0.0 \
  pillow-heif==1.8.1 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io

import cv2
import numpy as np
from PIL import Image, ImageOps

import pillow_heif

ys, xs = np.mgrid[0:48, 0:64]
stored = Image.fromarray(np.stack([xs * 4, ys * 5, 255 - xs * 4], -1).astype("uint8"))  # 64 wide, 48 high
exif = Image.Exif()
exif[0x0112] = 6  # to be turned by a quarter: 48 wide, 64 high
shapes = {}
for kind in ("JPEG", "PNG", "WEBP", "AVIF"):
    file = io.BytesIO()
    stored.save(file, kind, exif=exif, quality=90)
    pillow = ImageOps.exif_transpose(Image.open(io.BytesIO(file.getvalue()))).size
    opencv = cv2.imdecode(np.frombuffer(file.getvalue(), "uint8"), cv2.IMREAD_COLOR).shape[1::-1]
    shapes[kind] = opencv
    print(f"{kind}: width and height in Pillow {pillow}, in OpenCV {opencv}")
    assert pillow == (48, 64)
print("AVIF by libheif:", pillow_heif.open_heif(file.getvalue()).size)
assert pillow_heif.open_heif(file.getvalue()).size == (48, 64)
assert shapes == {"JPEG": (48, 64), "PNG": (48, 64), "WEBP": (48, 64), "AVIF": (64, 48)}
EOF
