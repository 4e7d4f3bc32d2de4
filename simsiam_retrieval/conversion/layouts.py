"""How training programs name their tensors: reference SimSiam, lightly, solo-learn, and bare ResNets."""

import re
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..core.errors import UserError
from .find_resnet import ResNet, choose_resnet, is_copy, read_resnet
from .mlp_heads import Heads, Unfit, read_heads

WRAPPERS = {"module", "_orig_mod"}  # parts of names added by DistributedDataParallel and torch.compile


@dataclass(frozen=True)
class Layout:
    """Where one program keeps the parts of SimSiam. Prefixes end in a dot.

    Attributes:
        name: Name of the program.
        backbone: Prefix of the backbone.
        projector: Prefix of the projector.
        predictor: Prefix of the predictor.
        small_stem: The stem that a 3x3 convolution means in this program.
    """

    name: str
    backbone: str
    projector: str
    predictor: str
    small_stem: str = "cifar"


LAYOUTS = (
    Layout("reference", "encoder.", "encoder.fc.", "predictor."),
    Layout("lightly", "backbone.", "projection_head.layers.", "prediction_head.layers."),
    Layout("lightly", "backbone.", "projection_mlp.layers.", "prediction_mlp.layers."),  # before lightly 1.2
    # solo-learn pads its 3x3 convolution by 2 pixels; its first versions called the backbone "encoder"
    Layout("solo-learn", "backbone.", "projector.", "predictor.", small_stem="cifar-pad2"),
    Layout("solo-learn", "encoder.", "projector.", "predictor.", small_stem="cifar-pad2"),
)
BARE = "resnet"  # torchvision, timm, or a backbone saved alone

_REASONS = (
    (re.compile(r"(^|[._])(fc|linear|head|classifier|last_linear)\d*\."), "classifier"),
    (re.compile(r"queue|memory_bank|feature_bank"), "memory bank"),
)


@dataclass(frozen=True)
class Network:
    """The network that was found in a file.

    Attributes:
        layout: Name of the layout.
        backbone: The ResNet.
        stem: As in ``build_backbone``.
        heads: Projector and predictor, if the file has heads like SimSiam's.
        left_out: The file's name of a tensor -> why it is not used.
    """

    layout: str
    backbone: ResNet
    stem: str
    heads: Heads | None
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> dict[str, Tensor]:
        """The state_dict of this package's SimSiam, without heads if the file has none that fit."""
        backbone = {f"backbone.{name}": value for name, value in self.backbone.state.items()}
        return backbone | (self.heads.state if self.heads else {})

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that can be derived from the tensors, named as in ``Config``."""
        return {"backbone": self.backbone.name, "stem": self.stem, **(self.heads.settings if self.heads else {})}


def read_network(tensors: dict[str, Tensor], layout: str = "auto", stem: str | None = None) -> Network:
    """Recognise a state_dict. Every tensor is either used or listed in ``left_out``.

    Args:
        tensors: The file's state_dict.
        layout: "auto", "reference", "lightly", "solo-learn" or "resnet".
        stem: "cifar", "cifar-pad2" or "cifar-norelu" for a 3x3 first convolution. The weights do not always show which
            one it is. None: the layout decides.

    Returns:
        The network.

    Raises:
        UserError: There is no ResNet that this package has, ``layout`` is not the file's, or ``stem`` does not fit.
    """
    originals = _without_wrappers(tensors)
    named = {name: tensors[original] for name, original in originals.items()}
    prefix = choose_resnet(named)
    resnet = read_resnet(named, prefix)
    found = next((known for known in LAYOUTS if _matches(known, layout, named, prefix)), None)
    if found is None and layout not in ("auto", BARE):
        raise UserError(f"not in the {layout} layout (its ResNet is at {prefix or 'the top'}); leave out --layout")
    heads, used, left_out = None, set(resnet.sources.values()), {}
    if found is not None:
        root = prefix.removesuffix(found.backbone)
        parts = [_below(named, root + head) for head in (found.projector, found.predictor)]
        names = {name for part in parts for name in part.values()}
        try:
            first, second = ({key: named[name] for key, name in part.items()} for part in parts)
            heads = read_heads(first, second, resnet.feature_dim)
            used |= names
        except Unfit as unfit:
            left_out = {name: f"head: {unfit}" for name in names}
    for name in named:
        if name not in used:
            left_out.setdefault(name, _reason(name))
    return Network(
        layout=found.name if found else BARE,
        backbone=resnet,
        stem=_stem(resnet, stem, found.small_stem if found else "cifar"),
        heads=heads,
        left_out={originals[name]: left_out[name] for name in named if name in left_out},
    )


def _without_wrappers(tensors: dict[str, Tensor]) -> dict[str, str]:
    """Map names without wrappers to the names in the file."""
    found: dict[str, str] = {}
    for original in tensors:
        name = ".".join(part for part in original.split(".") if part not in WRAPPERS)
        if name in found:
            raise UserError(f"contains {found[name]} and {original}: the same weights twice; save only one of them")
        found[name] = original
    return found


def _matches(known: Layout, wanted: str, names: dict[str, Tensor], prefix: str) -> bool:
    if wanted not in ("auto", known.name) or not (prefix == known.backbone or prefix.endswith("." + known.backbone)):
        return False
    # if the user names the layout, a backbone without heads is enough
    return wanted == known.name or bool(_below(names, prefix.removesuffix(known.backbone) + known.projector))


def _below(names: dict[str, Tensor], prefix: str) -> dict[str, str]:
    """Map the rest of each name that begins with ``prefix`` to the name. A single layer ("fc.weight") is no MLP."""
    found = {name[len(prefix) :]: name for name in names if name.startswith(prefix)}
    return found if any("." in rest for rest in found) else {}


def _stem(resnet: ResNet, wanted: str | None, small: str) -> str:
    if resnet.kernel == 7:
        if wanted is not None:
            raise UserError(f"its first convolution is 7x7, the imagenet stem; leave out --stem {wanted}")
        return "imagenet"
    return wanted or (small if resnet.relu else "cifar-norelu")


def _reason(name: str) -> str:
    if is_copy(name):
        return "momentum copy"
    return next((reason for pattern, reason in _REASONS if pattern.search(name)), "no part of the backbone")
