#!/usr/bin/env bash
# OpenCV and Pillow: "white is zero" TIFF is inverted at 8 bits and left negative at 16
#
# Versions:  opencv-python-headless 5.0.0.93, pillow 13.0.0, tifffile 2026.3.3, numpy 2.4.6; Python 3.11 on Linux
#            x86-64, November 2026
# Guess:     A reader that honours PhotometricInterpretation 0 (WhiteIsZero) does so at 8 and at 16 bits: OpenCV
#            inverts both.
# Behaviour: OpenCV and Pillow invert 8-bit pictures and leave 16-bit ones as they are, so a radiograph saved at both
#            depths is a positive and a negative. Pillow does not open the big-endian 16-bit one at all. tifffile
#            inverts neither, and says so.
# Output seen:
#   8 bits, byte order <: Pillow right, OpenCV right
#   16 bits, byte order <: Pillow negative, OpenCV negative
#   16 bits, byte order >: Pillow refused, OpenCV negative
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check opencv-python-headless==5.0.0.93 \
  pillow==13.0.0 \
  tifffile==2026.3.3 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io

import cv2
import numpy as np
import tifffile
from PIL import Image

ys, xs = np.mgrid[0:48, 0:64]
picture = (xs * 2 + ys * 2).astype("uint8")  # what a viewer shows: dark left, bright right


def reading(pixels, largest):
    if pixels is None:
        return "refused"
    shown = pixels.astype(int)
    return "right" if np.array_equal(shown, truth) else "negative" if np.array_equal(largest - shown, truth) else "?"


found = {}
for bits, order in ((8, "<"), (16, "<"), (16, ">")):
    truth = picture.astype(int) * (1 if bits == 8 else 257)
    largest = 2**bits - 1
    file = io.BytesIO()
    stored = (largest - truth).astype(f"uint{bits}")
    tifffile.imwrite(file, stored, photometric="miniswhite", byteorder=order)
    try:
        pillow = np.asarray(Image.open(io.BytesIO(file.getvalue())))
    except OSError:
        pillow = None
    opencv = cv2.imdecode(np.frombuffer(file.getvalue(), "uint8"), cv2.IMREAD_UNCHANGED)
    found[bits, order] = reading(pillow, largest), reading(opencv, largest)
    print(f"{bits} bits, byte order {order}: Pillow {found[bits, order][0]}, OpenCV {found[bits, order][1]}")
assert found == {
    (8, "<"): ("right", "right"),
    (16, "<"): ("negative", "negative"),
    (16, ">"): ("refused", "negative"),
}, found
EOF
