#!/usr/bin/env bash
# OpenCV 5: a TIFF with a compression that it does not know is not refused but comes out black
#
# Versions:  opencv-python-headless 5.0.0.93, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6; Python 3.11 on
#            Linux x86-64, November 2026
# Guess:     imdecode and imread return None for a TIFF whose compression OpenCV cannot decode.
# Behaviour: None for Zstandard, LZMA, WebP and LERC; for PNG, JPEG 2000 and JPEG XL inside TIFF (slide scanners write
#            JPEG 2000) a picture of the right size that is all zeros. A message goes to the standard error stream,
#            the caller is told nothing. All such files are then duplicates of one another.
# Output seen:
#   zstd None
#   lzma None
#   webp None
#   png shape (48, 64, 3), largest value 0
#   jpeg2000 shape (48, 64, 3), largest value 0
#   jpegxl shape (48, 64, 3), largest value 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check opencv-python-headless==5.0.0.93 \
  tifffile==2026.3.3 \
  imagecodecs==2026.3.6 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io
import os

os.environ["OPENCV_LOG_LEVEL"] = "OFF"
import cv2
import numpy as np
import tifffile

rng = np.random.default_rng(0)
truth = rng.integers(1, 256, (48, 64, 3)).astype("uint8")
found = {}
for compression in ("zstd", "lzma", "webp", "png", "jpeg2000", "jpegxl"):
    file = io.BytesIO()
    tifffile.imwrite(file, truth, photometric="rgb", compression=compression)
    image = cv2.imdecode(np.frombuffer(file.getvalue(), "uint8"), cv2.IMREAD_COLOR)
    found[compression] = None if image is None else (image.shape, int(image.max()))
    print(compression, "None" if image is None else f"shape {image.shape}, largest value {image.max()}")
assert found["zstd"] is found["lzma"] is found["webp"] is None
assert found["png"] == found["jpeg2000"] == found["jpegxl"] == ((48, 64, 3), 0)
EOF
