"""Finding a torchvision-like ResNet among the tensors of a file, and determining which one it is."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import UserError
from ..methods.backbone import build_backbone

# (bottleneck blocks, blocks per stage) -> depth: He et al. 2016, table 1
DEPTHS = {
    (False, (2, 2, 2, 2)): 18,
    (False, (3, 4, 6, 3)): 34,
    (True, (3, 4, 6, 3)): 50,
    (True, (3, 4, 23, 3)): 101,
    (True, (3, 8, 36, 3)): 152,
}
OURS = (18, 34, 50)
HAS = "this package has ResNet-18, 34 and 50"
NAMED = 3  # tensors that one message names at most
COUNTER = "num_batches_tracked"  # a buffer of BN; old files lack it, and nothing here depends on it

_FIRST_BLOCK = re.compile(r"(?P<prefix>(?:.*\.)?)(?:layer1|\d+)\.0\.conv1\.weight")
_STAGES = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")  # children that have tensors, in order
_INSIDE = re.compile(rf"({'|'.join(_STAGES)})\.")
_COPY = re.compile(r"momentum|teacher|target|encoder_k|(^|[._])ema[._]")


@dataclass(frozen=True)
class ResNet:
    """A backbone found in a file.

    Attributes:
        name: As in ``build_backbone``.
        kernel: Size of the first convolution: 7 or 3 pixels.
        relu: Whether a ReLU follows the first BN.
        prefix: Prefix of its tensors' names in the file: "" or ending in a dot.
        state: float32 tensors under torchvision's names, without a classifier.
        sources: torchvision's name -> the name in the file, for every tensor of ``state`` that the file has.
    """

    name: str
    kernel: int
    relu: bool
    prefix: str
    state: dict[str, Tensor]
    sources: dict[str, str]

    @property
    def feature_dim(self) -> int:
        """Width of the features: 512 or 2048."""
        return 2048 if self.name == "resnet50" else 512


def find_resnets(names: Iterable[str]) -> list[str]:
    """Find the prefixes of all ResNets in a state_dict.

    Args:
        names: Names of tensors.

    Returns:
        Prefixes, sorted. Copies that only follow another network (momentum, teacher) come last.
    """
    found = {match["prefix"] for match in map(_FIRST_BLOCK.fullmatch, names) if match}
    return sorted(found, key=lambda prefix: (is_copy(prefix), prefix))


def is_copy(name: str) -> bool:
    """Return whether a tensor's name says that it belongs to a momentum or teacher network.

    Args:
        name: Name of a tensor, or its prefix.

    Returns:
        True for a copy.
    """
    return bool(_COPY.search(name))


def choose_resnet(names: Iterable[str]) -> str:
    """Find the prefix of the one trained ResNet in a file.

    Args:
        names: Names of all tensors in the file.

    Returns:
        The prefix.

    Raises:
        UserError: There is no ResNet, or more than one.
    """
    names = list(names)
    found = find_resnets(names)
    trained = [prefix for prefix in found if not is_copy(prefix)] or found
    if not trained:
        raise UserError(_not_a_resnet(names))
    if len(trained) > 1:
        listed = ", ".join(prefix or "(no prefix)" for prefix in trained[:NAMED])
        raise UserError(f"contains {len(trained)} ResNets ({listed}); save the state_dict of the one that you want")
    return trained[0]


def _not_a_resnet(names: list[str]) -> str:
    if any(word in name for name in names for word in ("attn", "self_attention", "cls_token", "patch_embed")):
        return f"a transformer, not a ResNet; {HAS}"
    return f"no ResNet in it (first of {len(names)} tensors: {', '.join(names[:NAMED])}); {HAS}"


def read_resnet(tensors: dict[str, Tensor], prefix: str) -> ResNet:
    """Read the ResNet below a prefix.

    Its children may have torchvision's names or numbers (in an ``nn.Sequential``). Shortcuts may be called "downsample"
    or "shortcut". Other tensors (a classifier, heads) are ignored.

    Args:
        tensors: The file's state_dict.
        prefix: From ``choose_resnet``.

    Returns:
        The ResNet.

    Raises:
        UserError: It is not a plain ResNet-18, 34 or 50 (other depth; tensors missing, additional, or of other shapes),
            or a weight is not finite.
    """
    sources, positions = _by_our_names([name for name in tensors if name.startswith(prefix)], prefix)
    if "conv1.0.weight" in sources:
        raise UserError(f"a ResNet with a deep stem (as timm's resnet50d), not a plain one; {HAS}")
    name, title = _which(sources)
    kernel = _kernel(tensors, sources)
    relu = _relu(positions, kernel)
    with torch.device("meta"):
        wanted = build_backbone(name, "imagenet" if kernel == 7 else "cifar").state_dict()
    inside = {ours: source for ours, source in sources.items() if _INSIDE.match(ours)}
    _check_shapes(title, wanted, {ours: tensors[source] for ours, source in inside.items()})
    state = {ours: _as_ours(source, tensors[source]) for ours, source in inside.items() if not ours.endswith(COUNTER)}
    for ours, value in wanted.items():
        if ours.endswith(COUNTER):
            count = tensors[inside[ours]].reshape(()) if ours in inside else torch.tensor(0)
            state[ours] = count.to(value.dtype)
    return ResNet(name, kernel, relu, prefix, {ours: state[ours] for ours in wanted}, inside)


def _by_our_names(names: list[str], prefix: str) -> tuple[dict[str, str], list[int]]:
    """Map torchvision's names to the file's; also return the positions of ``_STAGES`` if they are numbered."""
    inner = {name: name[len(prefix) :].split(".") for name in names}
    renamed: dict[str, str] = {}
    positions: list[int] = []
    if not any(parts[0] == "layer1" for parts in inner.values()):
        positions = sorted({int(parts[0]) for parts in inner.values() if parts[0].isdecimal()})[: len(_STAGES)]
        renamed = {str(position): stage for position, stage in zip(positions, _STAGES, strict=False)}
    found = {}
    for name, (child, *rest) in inner.items():
        parts = ["downsample" if part == "shortcut" else part for part in rest]
        found[".".join([renamed.get(child, child), *parts])] = name
    return found, positions


def _relu(positions: list[int], kernel: int) -> bool:
    """Whether a ReLU follows the first BN: layers without weights leave gaps between the numbers."""
    if not positions:
        return True  # named children: the ReLU is in the network's forward()
    offsets = [position - positions[0] for position in positions]
    if offsets == [0, 1, 4, 5, 6, 7] or (kernel == 3 and offsets == [0, 1, 3, 4, 5, 6]):  # ReLU, with or without a pool
        return True
    if kernel == 3 and offsets == [0, 1, 2, 3, 4, 5]:
        return False
    numbers = ", ".join(map(str, positions))
    raise UserError(f"its layers are numbered {numbers} in a Sequential; no known program numbers them so")


def _which(sources: dict[str, str]) -> tuple[str, str]:
    blocks = [set(), set(), set(), set()]
    for name in sources:
        match = re.match(r"layer([1-4])\.(\d+)\.", name)
        if match:
            blocks[int(match[1]) - 1].add(match[2])
    counts = tuple(map(len, blocks))
    bottleneck = "layer1.0.conv3.weight" in sources
    depth = DEPTHS.get((bottleneck, counts))  # type: ignore[arg-type]
    if depth is None:
        kind = "bottleneck" if bottleneck else "basic"
        raise UserError(f"a ResNet with {', '.join(map(str, counts))} {kind} blocks in its four stages; {HAS}")
    if depth not in OURS:
        raise UserError(f"a ResNet-{depth}; {HAS}")
    return f"resnet{depth}", f"ResNet-{depth}"


def _kernel(tensors: dict[str, Tensor], sources: dict[str, str]) -> int:
    if "conv1.weight" not in sources:
        raise UserError("a ResNet without its first convolution, conv1")
    shape = tuple(tensors[sources["conv1.weight"]].shape)
    if shape not in ((64, 3, 7, 7), (64, 3, 3, 3)):
        raise UserError(f"its first convolution is {shape}; this package's are (64, 3, 7, 7) and (64, 3, 3, 3)")
    return shape[-1]


def _check_shapes(title: str, wanted: dict[str, Tensor], found: dict[str, Tensor]) -> None:
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    extra = [name for name in found if name not in wanted]
    other = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and found[name].shape != value.shape and not name.endswith(COUNTER)
    ]
    parts = [f"{does} {_listed(names)}" for does, names in (("it lacks", missing), ("it also has", extra)) if names]
    if other:
        parts.append(other[0] + (f", and so on ({len(other)} tensors)" if len(other) > 1 else ""))
    if parts:
        raise UserError(f"not a plain {title}: {'; '.join(parts)}")


def _listed(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def _as_ours(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        raise UserError(f"{name} contains {str(tensor.dtype).removeprefix('torch.')}, not floating-point weights")
    value = tensor.detach().float().contiguous()
    if not bool(torch.isfinite(value).all()):
        raise UserError(f"{name} contains NaN or infinite values; the training that wrote it had failed")
    if name.endswith("running_var") and bool((value < 0).any()):
        raise UserError(f"{name} contains negative variances; the file is damaged")
    return value
