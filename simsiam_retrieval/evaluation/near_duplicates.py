"""Near-duplicate detection: whether altered copies of a picture are closer to it than other pictures are."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..images.decode import centre_square, decode
from ..images.files import ImageFile
from .centre_squares import decode_side
from .extractors import Extractor, unit_rows

KINDS = ("rescaled", "recompressed", "cropped", "EXIF-rotated")
PRECISION = 0.99

# (rotation of the stored pixels, EXIF orientation that makes viewers turn them upright)
_TURNS = ((Image.Transpose.ROTATE_90, 6), (Image.Transpose.ROTATE_180, 3), (Image.Transpose.ROTATE_270, 8))


def altered(image: Image.Image, rng: np.random.Generator) -> dict[str, bytes]:
    """Make one near-duplicate of each of ``KINDS``.

    - rescaled to 0.3 to 0.8 of its size;
    - recompressed as JPEG of quality 15 to 60;
    - cropped to 0.8 to 0.95 of each side, at a random position;
    - pixels rotated by 90, 180 or 270 degrees, with the EXIF tag that says so (JPEG, quality 90).

    Args:
        image: Upright RGB.
        rng: Source of the random numbers.

    Returns:
        Kind -> encoded file.
    """
    width, height = image.size
    factor = rng.uniform(0.3, 0.8)
    small = image.resize((max(1, round(width * factor)), max(1, round(height * factor))), Image.Resampling.LANCZOS)
    w, h = (max(1, round(side * rng.uniform(0.8, 0.95))) for side in (width, height))
    left, top = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
    turn, orientation = _TURNS[int(rng.integers(len(_TURNS)))]
    exif = Image.Exif()
    exif[0x0112] = orientation
    return {
        "rescaled": _encoded(small, "PNG"),
        "recompressed": _encoded(image, "JPEG", quality=int(rng.integers(15, 61))),
        "cropped": _encoded(image.crop((left, top, left + w, top + h)), "PNG"),
        "EXIF-rotated": _encoded(image.transpose(turn), "JPEG", quality=90, exif=exif),
    }


def _encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


@dataclass(frozen=True)
class Pairs:
    """Pictures and their altered copies, as encoded files.

    Attributes:
        originals: The pictures.
        copies: Kind -> one copy of each picture.
    """

    originals: list[bytes]
    copies: dict[str, list[bytes]]


def make_pairs(files: Sequence[ImageFile], images: int, seed: int = 0) -> Pairs:
    """Make altered copies of random files. Files with equal bytes count once.

    Args:
        files: The files to draw from.
        images: Number of files.
        seed: Seed.

    Returns:
        The pictures and their copies.
    """
    rng = np.random.default_rng(seed)
    originals: dict[bytes, None] = {}
    copies: dict[str, list[bytes]] = {kind: [] for kind in KINDS}
    for index in rng.permutation(len(files)):
        if len(originals) == images:
            break
        content = files[index].path.read_bytes()
        if content not in originals:
            originals[content] = None
            for kind, copy in altered(decode(content), rng).items():
                copies[kind].append(copy)
    return Pairs(list(originals), copies)


def embed_bytes(extractor: Extractor, contents: Sequence[bytes]) -> Tensor:
    """Embed encoded images.

    Args:
        extractor: The extractor.
        contents: Encoded images.

    Returns:
        Unit rows, float32 (n, d).
    """
    side = extractor.side
    squares: list[NDArray[np.uint8]] = [
        np.asarray(centre_square(decode(content, short_side=decode_side(side)), side)) for content in contents
    ]
    return unit_rows(extractor.embed_squares(np.stack(squares)))


@dataclass(frozen=True)
class Detection:
    """Precision and recall if every pair whose cosine reaches a threshold is called a near-duplicate.

    Attributes:
        average_precision: Average precision.
        best_f1: Largest F1 over all thresholds.
        best_threshold: Its threshold.
        threshold: Lowest threshold with precision ``PRECISION`` or more; None if there is none.
        recall: Recall at ``threshold``; 0 if there is none.
        recall_by_kind: Recall at ``threshold`` for each kind of copy.
        positives: Number of near-duplicate pairs.
        pairs: Number of all pairs.
    """

    average_precision: float
    best_f1: float
    best_threshold: float
    threshold: float | None
    recall: float
    recall_by_kind: dict[str, float]
    positives: int
    pairs: int

    @property
    def prevalence(self) -> float:
        """Fraction of the pairs that are near-duplicates."""
        return self.positives / self.pairs


def detect(originals: Tensor, copies: dict[str, Tensor]) -> Detection:
    """Compare each original with each copy: n * kinds pairs are near-duplicates, n * (n - 1) * kinds are not.

    Precision depends on the prevalence 1/n of near-duplicates among the pairs: in a larger collection it is lower at
    the same threshold. Average precision is the sum over thresholds of precision times the increase in recall; equal
    scores are one threshold.

    Args:
        originals: Unit rows, float32 (n, d).
        copies: Kind -> unit rows, float32 (n, d). Row i is a copy of original i.

    Returns:
        Precision and recall.
    """
    own = {kind: (originals * features).sum(dim=1).double() for kind, features in copies.items()}
    n = len(originals)
    other = ~torch.eye(n, dtype=torch.bool)
    negatives = torch.cat([(originals @ features.T)[other].double() for features in copies.values()])
    positives = torch.cat(list(own.values()))
    threshold, precision, recall = precision_recall(positives, negatives)
    f1 = 2 * precision * recall / (precision + recall).clamp(min=1e-12)
    best = int(f1.argmax())
    steps = torch.diff(recall, prepend=torch.zeros(1, dtype=recall.dtype))
    good = (precision >= PRECISION).nonzero()[:, 0]
    chosen = float(threshold[good[-1]]) if len(good) else None
    by_kind = {
        kind: 0.0 if chosen is None else float((cosine >= chosen).double().mean()) for kind, cosine in own.items()
    }
    return Detection(
        average_precision=float((precision * steps).sum()),
        best_f1=float(f1[best]),
        best_threshold=float(threshold[best]),
        threshold=chosen,
        recall=float(recall[good[-1]]) if len(good) else 0.0,
        recall_by_kind=by_kind,
        positives=len(positives),
        pairs=len(positives) + len(negatives),
    )


def precision_recall(positives: Tensor, negatives: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute precision and recall of "score >= threshold" for each distinct score.

    Args:
        positives: Scores of near-duplicate pairs.
        negatives: Scores of other pairs.

    Returns:
        Thresholds, falling; precision; recall; all of the same length.
    """
    from sklearn.metrics import precision_recall_curve  # its import takes most of a second

    truth = np.repeat([1, 0], [len(positives), len(negatives)])
    precision, recall, threshold = precision_recall_curve(truth, torch.cat([positives, negatives]).double().numpy())
    # scikit-learn's thresholds rise; precision 1 at recall 0, which has no threshold, comes last
    falling = slice(len(threshold) - 1, None, -1)
    threshold, precision, recall = (torch.from_numpy(each[falling].copy()) for each in (threshold, precision, recall))
    return threshold, precision, recall
