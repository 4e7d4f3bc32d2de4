"""A backbone that was exported can be trained on: unfolding BatchNorm gives the network back."""

from pathlib import Path

import pytest
import torch
from simsiam_retrieval.export.exported_network import UnitVectors  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.graph import build_graph, save  # pyright: ignore[reportMissingImports]
from simsiam_retrieval.export.half_precision import in_half  # pyright: ignore[reportMissingImports]
from torch import nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.backbone import build_backbone
from simsiam_retrieval.methods.bn_folding import backbone_from_onnx


def trained_looking(name: str, stem: str) -> nn.Module:
    """A backbone whose BN layers are far from their initial values, with a few dead channels."""
    torch.manual_seed(0)
    backbone = build_backbone(name, stem)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.2, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            nn.init.normal_(module.running_mean, std=0.3)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            module.weight.data[3] = 0
    return backbone.eval()


@pytest.mark.parametrize(("stem", "half"), [("imagenet", False), ("imagenet", True), ("cifar", False)])
def test_unfolding_gives_the_network_back(stem: str, half: bool, tmp_path: Path) -> None:
    backbone = trained_looking("resnet18", stem)
    graph = build_graph(UnitVectors(backbone), 32, {"backbone": "resnet18", "stem": stem})
    save(in_half(graph) if half else graph, tmp_path / "encoder.onnx")
    restored = backbone_from_onnx(tmp_path / "encoder.onnx")
    assert restored.training
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = backbone(x), restored.eval()(x)
    tolerance = 3e-3 if half else 1e-5
    assert ((found - expected).norm() / expected.norm()).item() < tolerance
    for name, weight in backbone.named_parameters():
        if "conv" in name and not half:
            alive = torch.arange(len(weight)) != 3
            torch.testing.assert_close(restored.get_parameter(name)[alive], weight[alive], rtol=1e-4, atol=1e-6)


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such"):
        backbone_from_onnx(tmp_path / "none.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"not protobuf at all")
    with pytest.raises(UserError, match=r"damaged|contains no weights"):
        backbone_from_onnx(tmp_path / "bad.onnx")
