"""The results of an update and of a preview."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Update:
    """What an update did."""

    added: int = 0  # new files that can be found now
    changed: int = 0  # known files with new content
    removed: int = 0  # files forgotten, because they are gone
    images: int = 0  # in the whole collection, afterwards
    other_files: int = 0  # below the roots, not images by their name
    failed: list[tuple[Path, str]] = field(default_factory=list)  # below the roots; known broken files too
    finished: bool = True  # False after Ctrl-C; what was done is kept
    moved: int = 0  # of those added and removed: the same content under another name
    reused: int = 0  # of those added and changed: content that was known, so nothing was computed
    left_out: int = 0  # image files below the roots that the patterns leave out
    kinds: dict[str, int] = field(default_factory=dict)  # suffix -> how many of other_files, the most frequent first
    companions: int = 0  # those of other_files that belong to an image: sidecars, clips of live photos
    system_folders: dict[str, int] = field(default_factory=dict)  # trash, thumbnails, ... -> how many were passed over
    linked_folders: int = 0  # links to folders that were passed over
    held: list[tuple[Path, int]] = field(default_factory=list)  # places that may be unmounted -> items that were kept
    regions_added: int = 0  # images that were known, whose regions are stored now
    without_regions: int = 0  # images of a collection with regions that have none: their files were not there
    rebuilt: bool = False  # whether the FAISS index was made anew
    pages_left_out: int = 0  # of the files that were read now, beyond those that are items
    paged_files: int = 0  # how many of these files have such pages
    damaged: list[Path] = field(default_factory=list)  # what was stored of them did not fit its checksum
    still_damaged: list[Path] = field(default_factory=list)  # those of them whose files were not there to be read again


@dataclass
class Preview:
    """What an update would do."""

    new: list[Path] = field(default_factory=list)
    changed: list[Path] = field(default_factory=list)  # by size or time
    moved: list[tuple[Path, Path]] = field(default_factory=list)  # from, to; neither new nor gone
    gone: list[Path] = field(default_factory=list)  # would be forgotten
    unusable: list[tuple[Path, str]] = field(default_factory=list)  # cannot even be looked at
    left_out: int = 0
    held: list[tuple[Path, int]] = field(default_factory=list)
    regions_added: int = 0  # known images whose files would be read once more for their regions
    drops_regions: bool = False
