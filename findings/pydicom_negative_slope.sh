#!/usr/bin/env bash
# pydicom: windowing shows a picture with negative rescale slope as its negative
#
# Versions:  pydicom 3.0.2, numpy 2.4.6; Python 3.11 on Linux x86-64, November 2026
# Guess:     apply_windowing returns values from 0 to 2^bits - 1, brighter where the rescaled value is larger, for
#            every valid rescale.
# Behaviour: The output has the range of the rescaled values (0 to 4.095 for a slope of 0.001, -1024 to 3071 for CT),
#            so a cast to 8 bits leaves five grey levels or wraps. With a negative slope, which DICOM allows, the ends
#            of that range change places and the picture is inverted: the largest value comes out darkest.
# Output seen:
#   slope 1, intercept 0: values 0 to 4095, shown 0 to 4095, correlation +1.00
#   slope 1, intercept -1024: values -1024 to 3071, shown -1024 to 3071, correlation +1.00
#   slope 0.001, intercept 0: values 0 to 4.095, shown 0 to 4.095, correlation +0.98
#   slope -1, intercept 4095: values 0 to 4095, shown 0 to 4095, correlation -1.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/python -m pip install --quiet --no-compile --disable-pip-version-check pydicom==3.0.2 \
  numpy==2.4.6 >pip.log 2>&1 ||
  { cat pip.log >&2; echo "not run: packages could not be installed" >&2; exit 2; }
venv/bin/python - <<'EOF'
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_windowing
from pydicom.uid import ExplicitVRLittleEndian

stored = (np.arange(64) * 65).astype("uint16").reshape(8, 8)  # 0 to 4095


def windowed(slope, intercept, centre, width):
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.Rows = data.Columns = 8
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.RescaleSlope, data.RescaleIntercept = slope, intercept
    data.WindowCenter, data.WindowWidth = centre, width
    data.PixelData = stored.tobytes()
    values = apply_modality_lut(data.pixel_array, data)
    shown = apply_windowing(values, data)
    agreement = float(np.corrcoef(values.ravel(), shown.ravel())[0, 1])
    print(f"slope {slope}, intercept {intercept}: values {values.min():g} to {values.max():g},", end=" ")
    print(f"shown {shown.min():g} to {shown.max():g}, correlation {agreement:+.2f}")
    return shown.min(), shown.max(), agreement


low, high, plain = windowed(1, 0, 2048, 4096)
assert (low, high) == (0, 4095) and plain > 0.99
low, high, ct = windowed(1, -1024, 1024, 4096)
assert low == -1024 and high == 3071 and ct > 0.99
low, high, small = windowed(0.001, 0, 2.048, 4.096)
assert low >= 0 and high < 5
low, high, inverted = windowed(-1, 4095, 2048, 4096)
assert inverted < -0.99
EOF
