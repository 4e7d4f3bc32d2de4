"""Write a run's ``encoder.onnx``, once it has been shown to be right."""

from collections.abc import Sequence
from pathlib import Path

from simsiam_retrieval._version import __version__
from simsiam_retrieval.encoder import Encoder
from simsiam_retrieval.errors import UserError
from simsiam_retrieval.examples_folder import example_photos
from simsiam_retrieval.files import replacing, write_json
from simsiam_retrieval.images.decode import ImageError, decode
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.run import Run, load_backbone

from .graph import build_graph, save, store_half
from .parity import Parity, measure

TOLERANCE = {"fp32": 1e-4, "fp16": 5e-3}  # largest difference of a component of a unit vector
WHOLE_COSINE = 0.999  # at least, between a vector from Pillow's crop and one from the graph's own
CHECKED_IMAGES = 32


def export_run(run: Path, file: Path, *, precision: str = "fp32", image_size: int | None = None) -> Parity:
    """Export the backbone of ``run`` to ``file``, with preprocessing and l2-normalisation in the graph.

    ``precision``: "fp32", or "fp16" for weights stored in half the space and computed in float32.
    ``image_size``: side at which images are embedded; by default the one trained at.

    Checks the file against torch on the run's own images (the example photos where those are gone) and keeps it
    only within ``TOLERANCE``. Raises :class:`UserError` otherwise, or when the run is damaged.
    """
    if precision not in TOLERANCE:
        raise UserError(f"--precision {precision}: choose {' or '.join(TOLERANCE)}")
    backbone, config = load_backbone(run)
    described = Run(run).read()
    size = config.image_size if image_size is None else image_size
    if not 8 <= size <= 2048:
        raise UserError(f"--image-size {size} is out of range; give 8 to 2048")
    metadata = {
        "backbone": config.backbone,
        "stem": config.stem,
        **_training(config, described),
        "precision": precision,
        "data_fingerprint": str(described.get("data", {}).get("fingerprint", "unknown")),
        "version": __version__,
    }
    graph = build_graph(backbone, size, metadata)
    if precision == "fp16":
        graph = store_half(graph)
    try:
        with replacing(file) as temporary:
            save(graph, temporary)
            parity = measure(backbone, Encoder(temporary, device="cpu"), _real_images(described))
            if parity.largest_difference > TOLERANCE[precision] or parity.smallest_cosine_whole < WHOLE_COSINE:
                raise UserError(
                    f"{file}: not written: it differs from the torch model by {parity.largest_difference:.2g} "
                    f"(limit {TOLERANCE[precision]:.2g}), cosine of whole images {parity.smallest_cosine_whole:.5f} "
                    f"(limit {WHOLE_COSINE}); please report this"
                )
    except OSError as error:
        raise UserError(f"{file}: cannot write the encoder ({error.strerror})") from None
    write_json(file.with_suffix(".json"), {**metadata, "image_size": size, "parity": parity.as_dict()})
    return parity


def _training(config: Config, described: dict) -> dict[str, str]:
    """What the file says of its training; of converted weights only what is known."""
    converted = described.get("converted")
    if converted is None:
        return {"method": config.method, "recipe": config.recipe, "trained_at": str(config.image_size)}
    return {
        "method": converted.get("method", "unknown"),
        "recipe": config.recipe,
        "trained_at": "unknown",
        "converted_from": f"{converted.get('file')} (sha256 {converted.get('sha256')})",
        "licence": converted.get("licence") or "not stated",
    }


def _real_images(described: dict) -> Sequence[Path]:
    roots = [Path(root) for root in described.get("data", {}).get("roots", [])]
    found = [image.path for image in list_images([root for root in roots if root.exists()]).images]
    every = max(1, len(found) // CHECKED_IMAGES)
    usable = [path for path in found[::every][:CHECKED_IMAGES] if _decodes(path)]
    return usable or [image.path for image in list_images([example_photos()]).images[::4]]


def _decodes(path: Path) -> bool:
    try:
        decode(path, short_side=64)
    except ImageError:
        return False
    return True
