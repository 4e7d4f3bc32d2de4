#!/usr/bin/env bash
# Pillow: 12-bit grey is 0 to 4095 from a TIFF, and 0 to 65520 from a JPEG 2000
#
# Versions:  pillow 13.0.0, opencv-python-headless 5.0.0.93, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6;
#            Python 3.11 on Linux x86-64, November 2026
# Guess:     A 12-bit grey JPEG 2000 opens in mode I;16 with the stored values, as a 12-bit TIFF does and as OpenCV
#            reads it.
# Behaviour: Both open in mode I;16, but Pillow multiplies the JPEG 2000 by 16 (to the top of 16 bits) and leaves the
#            TIFF alone. One rule for "12 bits in I;16" is wrong for one of them, and thresholds or Hounsfield units
#            carried from one to the other are off by 16. OpenCV and imagecodecs give the stored values.
# Output seen:
#   maximum stored 4015
#   Pillow, TIFF: mode I;16, maximum 4015
#   Pillow, JPEG 2000: mode I;16, maximum 64240; OpenCV 4015
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check pillow==13.0.0 \
  opencv-python-headless==5.0.0.93 \
  tifffile==2026.3.3 \
  imagecodecs==2026.3.6 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io

import cv2
import imagecodecs
import numpy as np
import tifffile
from PIL import Image

ys, xs = np.mgrid[0:48, 0:64]
truth = (xs * 60 + ys * 5).astype("uint16")  # at most 4015: 12 bits
tiff = io.BytesIO()
tifffile.imwrite(tiff, truth, bitspersample=12)
jp2 = imagecodecs.jpeg2k_encode(truth, level=0, bitspersample=12, codecformat="jp2")
from_tiff, from_jp2 = Image.open(tiff), Image.open(io.BytesIO(jp2))
opencv = cv2.imdecode(np.frombuffer(jp2, "uint8"), cv2.IMREAD_UNCHANGED)
print(f"maximum stored {truth.max()}")
print(f"Pillow, TIFF: mode {from_tiff.mode}, maximum {np.asarray(from_tiff).max()}")
print(f"Pillow, JPEG 2000: mode {from_jp2.mode}, maximum {np.asarray(from_jp2).max()}; OpenCV {opencv.max()}")
assert from_tiff.mode == from_jp2.mode == "I;16"
assert np.array_equal(np.asarray(from_tiff), truth) and np.array_equal(opencv, truth)
assert np.array_equal(np.asarray(from_jp2), truth * 16)
EOF
