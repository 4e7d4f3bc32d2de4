"""The PyTorch network behind an exported encoder, for protocols that train on views."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..core.errors import UserError
from ..encoder.onnx_encoder import Encoder
from ..methods.feature_description import described
from ..metrics.whitening import Whitening
from .extractors import EncoderExtractor, Extractor, NetworkExtractor, unit_rows


def network_behind(extractor: Extractor, encoder: str | Path | None) -> nn.Module | None:
    """Load the torch backbone of an extractor.

    Args:
        extractor: The extractor.
        encoder: The ENCODER argument that it was opened with.

    Returns:
        The backbone; None if there is none.

    Raises:
        UserError: The encoder's weights are not available, or are not those of its run's checkpoint.
    """
    if isinstance(extractor, NetworkExtractor):
        return extractor.network
    if not isinstance(extractor, EncoderExtractor):
        return None
    from ..methods.bn_folding import backbone_from_onnx
    from ..methods.pooling import PooledStages
    from ..training.run_folder import load_backbone

    run = None if encoder is None else Path(encoder).expanduser()
    if run is not None and (run / "checkpoint.pt").exists():
        backbone = load_backbone(run)[0]
    else:
        backbone = backbone_from_onnx(extractor.encoder.file).eval()
    features = described(extractor.encoder.metadata)
    if features is not None and not features.plain:
        backbone = PooledStages(backbone, features, extractor.encoder.image_size)
    _same_network(backbone, extractor.encoder)
    return backbone


def _same_network(backbone: nn.Module, encoder: Encoder) -> None:
    from ..methods.bn_folding import reduction_from_onnx

    shape = (4, encoder.image_size, encoder.image_size, encoder.channels)
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    features = unit_rows(NetworkExtractor(backbone, encoder.image_size, "", "").embed_squares(noise))
    reduction = reduction_from_onnx(encoder.file)
    if reduction is not None and len(reduction[0]) == features.shape[1]:
        features = Whitening(*reduction)(features)
    vectors = torch.from_numpy(encoder.embed_pixels(noise))
    if features.shape != vectors.shape or float((features * vectors).sum(dim=1).min()) < 0.999:
        raise UserError(f"{encoder.file}: not the network of this run's checkpoint; run export again")
