"""What an update is asked for.

``UpdateOptions`` and ``IndexOptions`` are the one description of these options: the command line is made from them, and
``Collection.update`` and ``index_folders`` take the same names as keywords.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Fixed, Suppress, UseAppendAction, arg

if TYPE_CHECKING:  # nothing heavy: `index --help` needs this module
    from ...encoder.onnx_encoder import Encoder
    from .patterns import Patterns


@dataclass(frozen=True)
class UpdateOptions:
    """Options of an update.

    Raises:
        UserError: A value cannot work.
    """

    include: UseAppendAction[tuple[str, ...]] = ()
    """Take only files that match this pattern, such as '*.jpg'. Stored for later updates; may be repeated."""
    exclude: UseAppendAction[tuple[str, ...]] = ()
    """Leave out what matches this pattern, such as 'private' or 'raw/**'. Stored for later updates; may be repeated."""
    prune: bool = False
    """Forget the images of a folder or drive that is missing or has no images, instead of keeping them."""
    reread: bool = False
    """Read every file, even if its size and times are unchanged."""
    follow_links: Suppress[Annotated[bool | None, Fixed]] = None
    """Whether to follow links to folders. Stored for later updates; None is as before."""
    pages: str | None = None
    """Pages of TIFF files and frames of DICOM files: first (of frames, the middle one), or all, each an image of its
    own. Stored for later updates. Default: first."""
    regions: Suppress[Annotated[bool | None, Fixed]] = None
    """Whether to store vectors of regions, too. Stored for later updates; None is as before."""
    workers: int | None = None
    """Number of worker processes. Default: one a core."""

    def __post_init__(self) -> None:
        # imported where a value is given, so that --help is fast
        for name in ("include", "exclude"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.workers is not None:
            from ...images.worker_pool import check_workers

            check_workers(self.workers)
        if self.pages is not None:
            from ...images.page_choice import check_pages

            check_pages(self.pages)

    @property
    def patterns(self) -> "Patterns":
        """``include`` and ``exclude``; if there are any, they replace those recorded with the roots."""
        from .patterns import Patterns

        return Patterns(self.include, self.exclude)


@dataclass(frozen=True)
class IndexOptions(UpdateOptions):
    """Options of an update that creates the collection if there is none.

    Raises:
        UserError: A value cannot work.
    """

    encoder: str | None = None
    """Encoder: a run folder, an .onnx file or hf://OWNER/NAME. Default: the shipped one."""
    index: str | None = None
    """FAISS index type: auto, flat (exact), float16, ivf, ivf-sq8 or hnsw. Stored with the collection.
    Default: auto for a new collection."""
    recall: float | None = None
    """Target recall@10 of an approximate index. Stored with the collection. Default: 0.95."""
    value_range: Annotated[str | None, arg(name="range", metavar="TEXT", help_behavior_hint="")] = None
    """Values that become black and white, beyond 8 bits: auto (as the file declares, else as it uses), per-image,
    or LOW HIGH for all images, as for elevation. Stored with a new collection. Default: auto."""
    bands: str | None = None
    """Bands of TIFF files used as red, green and blue, such as 4,3,2; the first is 1. Stored with a new collection."""
    device: str | None = None
    """Device of the encoder: auto, cpu, cuda or tensorrt. A GPU that is asked for and not used is an error.
    Default: auto."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.device is not None:
            from ...encoder.onnx_session import check_device

            check_device(self.device)
        if self.recall is not None:  # which types of index there are depends on the store
            from ..index.tuning import check_recall

            check_recall(self.recall)


@dataclass(frozen=True)
class Hooks:
    """Functions that an update calls.

    Attributes:
        on_wait: Called with a message before waiting for another process's update; None: raise an error instead.
        on_start: Called with the number of files to read.
        on_progress: Called with the number of further files that were read.
        on_device: Called with the encoder, on the device that computes.
        on_stage: On a cluster: called with stage, done and total while the index is built.
        on_remark: On a cluster: called with messages.
    """

    on_wait: Callable[[str], None] | None = None
    on_start: Callable[[int], None] = lambda total: None
    on_progress: Callable[[int], None] = lambda done: None
    on_device: Callable[["Encoder"], None] = lambda encoder: None
    on_stage: Callable[[str, int, int], None] = lambda stage, done, total: None
    on_remark: Callable[[str], None] = lambda remark: None


UPDATE, NO_HOOKS = UpdateOptions(), Hooks()
