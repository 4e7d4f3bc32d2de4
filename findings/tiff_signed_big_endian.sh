#!/usr/bin/env bash
# Pillow: compressed big-endian TIFF of floats or signed integers comes out byte-swapped
#
# Versions:  pillow 13.0.0, tifffile 2026.3.3, imagecodecs 2026.3.6, numpy 2.4.6; Python 3.11 on Linux x86-64,
#            November 2026
# Guess:     Pillow reads compressed TIFF of 16- and 32-bit numbers rightly in both byte orders, since libtiff, which
#            it calls, does (guessed for floats with deflate and predictor 3).
# Behaviour: Uncompressed files are right, and unsigned 16-bit ones with any compression. Compressed big-endian
#            float32, int32 and int16 open without a word and every value is wrong (output: no compression, zlib, lzw,
#            packbits): libtiff gives numbers in the order of the machine, and Pillow swaps their bytes once more.
#            Programs in Java usually write big-endian files; elevation and Hounsfield units are signed.
# Output seen:
#   uint16: wrong values: little-endian 0%, 0%, 0%, 0%; big-endian 0%, 0%, 0%, 0%;
#   int16: wrong values: little-endian 0%, 0%, 0%, 0%; big-endian 0%, 100%, 100%, 100%;
#   int32: wrong values: little-endian 0%, 0%, 0%, 0%; big-endian 0%, 100%, 100%, 100%;
#   float32: wrong values: little-endian 0%, 0%, 0%, 0%; big-endian 0%, 100%, 100%, 100%;
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check pillow==13.0.0 \
  tifffile==2026.3.3 \
  imagecodecs==2026.3.6 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import io

import numpy as np
import tifffile
from PIL import Image

ys, xs = np.mgrid[0:48, 0:64]
wrong = {}
for kind in ("uint16", "int16", "int32", "float32"):
    truth = (xs / 4 + ys + 1).astype(kind)
    for compression in (None, "zlib", "lzw", "packbits"):
        for order in "<>":
            file = io.BytesIO()
            tifffile.imwrite(file, truth, compression=compression, byteorder=order)
            image = np.asarray(Image.open(io.BytesIO(file.getvalue()))).astype(float)
            assert np.array_equal(tifffile.imread(io.BytesIO(file.getvalue())), truth)
            wrong[kind, compression, order] = float((image != truth).mean())
    print(f"{kind}: wrong values:", end="")
    for order, name in (("<", "little-endian"), (">", "big-endian")):
        shares = [f"{wrong[kind, c, order]:.0%}" for c in (None, "zlib", "lzw", "packbits")]
        print(f" {name} {', '.join(shares)};", end="")
    print()
for (kind, compression, order), share in wrong.items():
    swapped = kind != "uint16" and compression and order == ">"
    assert (share > 0.9) if swapped else (share == 0), (kind, compression, order)
EOF
