"""Data sets in Pascal VOC's layout: JPEGImages, Annotations (XML), ImageSets/Main/SPLIT.txt."""

from pathlib import Path
from xml.etree import ElementTree

from ..core.errors import UserError
from ..core.text import printable
from ..images.files import SUFFIXES
from .annotations import Annotated, AnnotatedSet, Annotation


def is_voc(folder: Path) -> bool:
    """Return whether a folder has VOC's layout.

    Args:
        folder: The folder.

    Returns:
        True for VOC's layout.
    """
    return (folder / "Annotations").is_dir() and (folder / "ImageSets" / "Main").is_dir()


def splits(folder: Path) -> list[str]:
    """List the image sets, including lists of single classes (``cat_train.txt``).

    Args:
        folder: Folder of the data set.

    Returns:
        Names, sorted.
    """
    return sorted(file.stem for file in (folder / "ImageSets" / "Main").glob("*.txt"))


def read_voc(folder: Path, split: str) -> AnnotatedSet:
    """Read the images of ``ImageSets/Main/SPLIT.txt``, in its order, and their objects.

    VOC counts pixels from 1, and a box includes its last column and row: xmin..xmax becomes [xmin - 1, xmax].

    Args:
        folder: Folder of the data set.
        split: Name of the image set.

    Returns:
        The part.

    Raises:
        UserError: A file is missing or damaged; the message names it.
    """
    listed = folder / "ImageSets" / "Main" / f"{split}.txt"
    try:
        lines = listed.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        found = ", ".join(splits(folder)[:10]) or "none"
        raise UserError(f"{printable(listed)}: no such image set; there are: {printable(found)}") from None
    except UnicodeDecodeError:
        raise UserError(f"{printable(listed)}: not text; it must contain one image name per line") from None
    names = [line.split()[0] for line in lines if line.strip()]
    if not names:
        raise UserError(f"{printable(listed)}: names no images")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{printable(listed)}: names {printable(twice)} twice")
    stored = _images(folder)
    images = []
    for name in names:
        if name not in stored:
            raise UserError(f"{printable(listed)}: no image of {printable(name)} in {printable(folder / 'JPEGImages')}")
        images.append(_read(folder / "Annotations" / f"{name}.xml", stored[name]))
    return AnnotatedSet(f"{folder} ({split})", "voc", images)


def _images(folder: Path) -> dict[str, Path]:
    try:
        files = sorted((folder / "JPEGImages").iterdir())
    except OSError:
        raise UserError(f"{folder / 'JPEGImages'}: no such folder, or no permission to read it") from None
    return {file.stem: file for file in files if file.suffix.lower() in SUFFIXES}


def _read(file: Path, image: Path) -> Annotated:
    try:
        root = ElementTree.parse(file).getroot()  # safe: external entities are not read, and expat limits internal ones
        size = [_number(root, f"size/{side}") for side in ("width", "height")]
        return Annotated(
            file=image,
            source=file,
            width=int(size[0]) if size[0] else None,  # 0: the annotation tool did not know it
            height=int(size[1]) if size[1] else None,
            objects=[_object(element) for element in root.iter("object")],
        )
    except FileNotFoundError:
        raise UserError(f"{printable(file)}: no annotation of {printable(image.name)}") from None
    except ElementTree.ParseError:
        raise UserError(f"{printable(file)}: damaged, not XML") from None
    except (ValueError, OverflowError) as error:
        raise UserError(f"{printable(file)}: {printable(str(error))}") from None


def _object(element: ElementTree.Element) -> Annotation:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    left, top, right, bottom = (_side(element, side) for side in ("xmin", "ymin", "xmax", "ymax"))
    difficult = _number(element, "difficult") not in (None, 0)
    return Annotation(name, (left - 1, top - 1, right, bottom), difficult=difficult)


def _side(element: ElementTree.Element, side: str) -> float:
    number = _number(element, f"bndbox/{side}")
    if number is None:
        raise ValueError(f"an object's box lacks its {side}")
    return number


def _number(element: ElementTree.Element, path: str) -> float | None:
    text = element.findtext(path)
    if text is None or not text.strip():
        return None
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path} is {text!r}, not a number") from None
