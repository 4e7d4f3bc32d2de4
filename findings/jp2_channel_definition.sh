#!/usr/bin/env bash
# Pillow: a JPEG 2000 whose channels are stored as blue, green, red is shown with red and blue swapped
#
# Versions:  pillow 13.0.0, opencv-python-headless 5.0.0.93, imagecodecs 2026.3.6, numpy 2.4.6; Python 3.11 on Linux
#            x86-64, November 2026
# Guess:     Pillow applies the channel definition box (cdef) of a JP2 file, since OpenJPEG does so while it decodes.
# Behaviour: Pillow ignores the order that the box gives, without a word: red and blue change places. OpenCV and
#            imagecodecs, which use OpenJPEG too, give the right colours. The box is part of the JP2 standard (ISO
#            15444-1, I.5.3.6).
# Output seen:
#   truth [200, 40, 10]: Pillow [10, 40, 200], OpenCV [200, 40, 10], imagecodecs [200, 40, 10]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check pillow==13.0.0 \
  opencv-python-headless==5.0.0.93 \
  imagecodecs==2026.3.6 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io
import struct

import cv2
import imagecodecs
import numpy as np
from PIL import Image

truth = np.empty((32, 48, 3), "uint8")
truth[:] = (200, 40, 10)  # red
file = imagecodecs.jpeg2k_encode(truth[..., ::-1].copy(), level=0, codecformat="jp2")  # stored: blue, green, red
start = file.find(b"jp2h") - 4
length = struct.unpack(">I", file[start : start + 4])[0]
# channel 0 is colour 3 (blue), channel 1 colour 2 (green), channel 2 colour 1 (red)
box = struct.pack(">I4sH9H", 28, b"cdef", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)
end = start + length
file = file[:start] + struct.pack(">I", length + len(box)) + file[start + 4 : end] + box + file[end:]

pillow = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))[5, 5].tolist()
opencv = cv2.imdecode(np.frombuffer(file, "uint8"), cv2.IMREAD_COLOR)[5, 5, ::-1].tolist()
codecs = imagecodecs.jpeg2k_decode(file)[5, 5].tolist()
print(f"truth {truth[5, 5].tolist()}: Pillow {pillow}, OpenCV {opencv}, imagecodecs {codecs}")
assert opencv == codecs == [200, 40, 10]
assert pillow == [10, 40, 200]
EOF
