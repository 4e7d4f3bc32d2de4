"""Files that a selection is written to: none twice, none over an input, all of them possible before the first one."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.errors import UserError
from ...core.paths import absolute
from ...images.page_paths import page_of
from .select_images import Selected

CONFIG_BEGINS = b"<View"  # so that a labelling configuration is told from another XML file


def labelling_config_of(tasks: Path) -> Path:
    """Name the labelling configuration that is written beside Label Studio's tasks.

    Args:
        tasks: The JSON file.

    Returns:
        The XML file.

    Raises:
        UserError: ``tasks`` is named as an XML file.
    """
    config = tasks.with_suffix(".xml")
    if config == tasks:
        raise UserError(f"{tasks}: name a .json file; the configuration is written beside it as .xml")
    return config


def labels_file_of(annotations: Path) -> Path:
    """Name the file of labels that is written beside CVAT's annotations.

    Args:
        annotations: The XML file.

    Returns:
        The JSON file.
    """
    return annotations.with_name(f"{annotations.stem}.labels.json")


def check_outputs(out: Path | None, label_studio: Path | None, cvat: Path | None, inputs: Iterable[Path]) -> None:
    """Refuse files that cannot all be written, before anything is chosen or written.

    Args:
        out: The list.
        label_studio: Tasks for Label Studio.
        cvat: Annotations for CVAT.
        inputs: Files that are read.

    Raises:
        UserError: Two outputs are one file, one is an input or a folder, its folder does not exist, or another XML file
            lies where the labelling configuration belongs.
    """
    written = [file for file in (out, label_studio, cvat) if file is not None]
    if label_studio is not None:
        config = labelling_config_of(label_studio)
        written.append(config)
        if config.is_file() and not config.read_bytes()[:100].lstrip().startswith(CONFIG_BEGINS):
            raise UserError(f"{config}: exists, and the labelling configuration would replace it; name another file")
    if cvat is not None:
        written.append(labels_file_of(cvat))
    read = {absolute(file) for file in inputs}
    seen: set[Path] = set()
    for file in map(absolute, written):
        if file in seen:
            raise UserError(f"{file}: would be written twice; name other files")
        if file in read:
            raise UserError(f"{file}: is read, too, and would be lost; name another file to write")
        if file.is_dir() or not file.parent.is_dir():
            raise UserError(f"{file}: {'a folder' if file.is_dir() else 'its folder does not exist'}; name a file")
        seen.add(file)


def check_no_pages(selected: Sequence[Selected], what: str) -> None:
    """Refuse pages of files where only whole files can be handed over.

    Args:
        selected: The images.
        what: What the files are for.

    Raises:
        UserError: An image is a page of a file.
    """
    pages = [one.path for one in selected if page_of(one.path)[1] != 1]
    if pages:
        raise UserError(
            f"{what}: {len(pages)} of the images are pages of a file, such as {pages[0]}, and only whole files can be "
            "handed over; choose from other folders, or write a list (--out)"
        )
