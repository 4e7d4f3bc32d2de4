"""The versions of all decoders."""

import PIL

from . import dicom, jxl, raw, tiff_pages
from .pillow_files import pi_heif

# versions of all decoders, stored with the verdict that a file is damaged: another version may read it
DECODER = ", ".join(
    f"{name} {version}"
    for name, version in (
        ("Pillow", PIL.__version__),
        ("pi-heif", pi_heif and pi_heif.__version__),
        ("imagecodecs", jxl.version()),
        ("tifffile", tiff_pages.version()),
        ("pydicom", dicom.version()),
        ("rawpy", raw.version()),
    )
    if version
)
