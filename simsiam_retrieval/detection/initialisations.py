"""The backbones that a comparison starts from."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..conversion.layouts import read_network
from ..conversion.read_checkpoint import read_weights
from ..core import cli
from ..core.errors import UserError
from ..core.text import printable
from ..encoder.find_encoder import find_encoder
from ..encoder.hub import PREFIX
from ..evaluation.extractors import normalisation_of, weights_hash
from ..images.normalisation import IMAGENET, Normalisation
from ..methods.backbone import build_backbone, whole_network, with_stages_of
from ..methods.bn_folding import backbone_from_onnx
from ..training.initial_weights import SHIPPED
from ..training.run_folder import load_backbone

RANDOM = "random"  # name of random initial weights


@dataclass(frozen=True)
class Initialisation:
    """The weights that a fine-tuning starts from.

    Attributes:
        name: Name in tables and folders; unique in a comparison.
        given: The name that the user gave.
        backbone: The weights; None for random weights, which depend on the seed.
        network: Name of the network.
        stem: Its stem.
        normalisation: Normalisation that it expects.
        identity: Hash of the weights.
    """

    name: str
    given: str
    backbone: nn.Module | None
    network: str
    stem: str
    normalisation: Normalisation
    identity: str

    def start(self, seed: int) -> nn.Module:
        """Return a copy of the weights to train.

        Args:
            seed: Seed of random weights.

        Returns:
            The backbone.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            backbone = build_backbone(self.network, self.stem, self.normalisation)
        if self.backbone is not None:
            backbone.load_state_dict(self.backbone.state_dict())
        return backbone


def open_initialisations(given: list[str], network: str | None = None) -> list[Initialisation]:
    """Load initialisations.

    Random weights get the network and the normalisation of the first other initialisation.

    Args:
        given: Run folders, ``.onnx`` encoders of this package, ``hf://…``, "default", checkpoint files that ``convert``
            reads, and "random".
        network: Network of random weights if there is no other initialisation.

    Returns:
        The initialisations.

    Raises:
        UserError: One cannot be loaded or used for detection, or the same weights are named twice.
    """
    loaded = {name: _whole(_load(name)) for name in given if name != RANDOM}
    first = next(iter(loaded.values()), None)
    found: list[Initialisation] = []
    for name in given:
        if name == RANDOM:
            model = network or (str(first.name) if first is not None else "resnet50")
            stem = str(first.stem) if first is not None else "imagenet"
            scaled = normalisation_of(first) if first is not None else IMAGENET
            one = Initialisation(RANDOM, name, None, model, stem, scaled, RANDOM)
        else:
            backbone = loaded[name]
            if backbone.stem == "cifar-pad2":
                raise UserError(
                    f"{printable(name)}: its first convolution pads by 2 pixels, which would shift the boxes; "
                    "use a network with another stem"
                )
            missing = getattr(backbone, "missing", ())
            if missing:
                cli.remark(f"{printable(name)}: has only the first stages; random weights in: {', '.join(missing)}")
            title = _title(name)
            taken = {other.name for other in found}
            title = next(free for free in (title, *(f"{title}-{n}" for n in range(2, 1000))) if free not in taken)
            one = Initialisation(
                title, name, backbone, str(backbone.name), str(backbone.stem), normalisation_of(backbone),
                weights_hash(backbone),
            )  # fmt: skip
        if any(one.identity == other.identity for other in found):
            raise UserError(f"{printable(name)}: the same weights twice")
        found.append(one)
    return found


def _title(given: str) -> str:
    if given == SHIPPED:
        return "shipped encoder"
    if given.startswith(PREFIX):
        return given.removeprefix(PREFIX).replace("/", "-")
    path = Path(given).expanduser().resolve()
    stem = path.name if path.is_dir() else path.stem
    return path.parent.name if stem in ("encoder", "checkpoint") else stem  # RUN/encoder.onnx


def _load(given: str) -> nn.Module:
    if given == SHIPPED:
        return backbone_from_onnx(find_encoder(None))
    if given.startswith(PREFIX):
        return backbone_from_onnx(find_encoder(given))
    path = Path(given).expanduser()
    if (path / "checkpoint.pt").exists():
        return load_backbone(path)[0]
    if path.is_file() and path.suffix != ".onnx":
        return _from_checkpoint(path)
    return backbone_from_onnx(find_encoder(path))


def _whole(backbone: nn.Module) -> nn.Module:
    """Add the stages that a shortened network lacks, with random weights: a detector needs all stages."""
    return with_stages_of(backbone, whole_network(str(backbone.name)))


def _from_checkpoint(file: Path) -> nn.Module:
    try:
        found = read_network(read_weights(file).tensors)
        backbone = build_backbone(found.backbone.name, found.stem)
        backbone.load_state_dict(found.backbone.state)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(str(file)) else f"{file}: {text}") from None
    except RuntimeError:
        raise UserError(f"{file}: not all of a ResNet's weights; try: python -m simsiam_retrieval.convert") from None
    return backbone
