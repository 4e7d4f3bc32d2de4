#!/usr/bin/env bash
# Pillow and OpenCV: 16-bit RGB TIFF in planes is read as noise, where 8-bit is right
#
# Versions:  pillow 13.0.0, opencv-python-headless 5.0.0.93, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6;
#            Python 3.11 on Linux x86-64, November 2026
# Guess:     Planar RGB of 16 bits is either read rightly or refused with an error, as planar 8-bit RGB is read
#            rightly by both.
# Behaviour: OpenCV returns a picture of the right size, without a word, that has nothing to do with the file
#            (correlation with the truth, channel by channel), whatever the compression. Pillow does so where the
#            planes are not compressed, and is right where they are. Interleaved channels and 8-bit planes are right
#            in both.
# Output seen:
#   contig   None: correlation with the truth: Pillow 1.00, OpenCV 1.00
#   contig   zlib: correlation with the truth: Pillow 1.00, OpenCV 1.00
#   contig   lzw: correlation with the truth: Pillow 1.00, OpenCV 1.00
#   separate None: correlation with the truth: Pillow 0.16, OpenCV -0.11
#   separate zlib: correlation with the truth: Pillow 1.00, OpenCV -0.30
#   separate lzw: correlation with the truth: Pillow 1.00, OpenCV -0.20
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
import numpy as np
import tifffile
from PIL import Image

ys, xs = np.mgrid[0:48, 0:64]
truth = np.stack([xs * 1000, ys * 1300, 65535 - xs * 500 - ys * 600], -1).astype("uint16")
file = io.BytesIO()
tifffile.imwrite(file, np.moveaxis(truth >> 8, 2, 0).astype("uint8"), photometric="rgb", planarconfig="separate")
eight = np.asarray(Image.open(io.BytesIO(file.getvalue())))
assert np.array_equal(eight, truth >> 8)


def agreement(image):
    """Smallest correlation of a channel with the truth."""
    pairs = [(image[..., c].ravel().astype(float), truth[..., c].ravel().astype(float)) for c in range(3)]
    return min(np.corrcoef(*pair)[0, 1] for pair in pairs)


for layout in ("contig", "separate"):
    for compression in (None, "zlib", "lzw"):
        pixels = truth if layout == "contig" else np.moveaxis(truth, 2, 0).copy()
        file = io.BytesIO()
        tifffile.imwrite(file, pixels, photometric="rgb", planarconfig=layout, compression=compression)
        pillow = agreement(np.asarray(Image.open(io.BytesIO(file.getvalue())).convert("RGB")))
        opencv = agreement(cv2.imdecode(np.frombuffer(file.getvalue(), "uint8"), cv2.IMREAD_UNCHANGED)[..., ::-1])
        print(f"{layout:8} {compression}: correlation with the truth: Pillow {pillow:.2f}, OpenCV {opencv:.2f}")
        assert (pillow > 0.99) == (layout == "contig" or compression is not None)
        assert (opencv > 0.99) == (layout == "contig")
        if layout == "separate":
            assert opencv < 0.5 and (compression or pillow < 0.5)
EOF
