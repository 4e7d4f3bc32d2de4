"""``python -m simsiam_retrieval.convert CHECKPOINT RUN``."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from .core import cli
from .core.text import printable
from .images.normalisation import IMAGENET, Channels, Normalisation

if TYPE_CHECKING:
    from .conversion.write_run import Conversion

STEMS = {
    "cifar": "taken as padding 1, ReLU, no max-pool",
    "cifar-pad2": "taken as padding 2, ReLU, no max-pool",
    "cifar-norelu": "taken as padding 1, no ReLU, no max-pool",
}
LISTED = 8  # tensors left out for the same reason that are named; of more, only their number


EXAMPLES = """examples:
  convert checkpoint.pth.tar runs/theirs"""


@dataclass(frozen=True)
class Arguments:
    """Turn the weights of another program into a run folder, for export, pretrain --init and the other commands.

    Reads SimSiam checkpoints of the reference implementation, lightly and solo-learn, and state dicts of torchvision's
    and timm's ResNet-18, 34 and 50, written by torch.save or as safetensors. Nothing in the file is executed.
    """

    checkpoint: tyro.conf.Positional[Path]
    """File with the weights."""
    run: tyro.conf.Positional[Path]
    """Run folder to create."""
    layout: Literal["auto", "reference", "lightly", "solo-learn", "resnet"] = "auto"
    """Program that wrote the file; resnet takes the backbone alone. auto recognises it."""
    stem: Literal["cifar", "cifar-pad2", "cifar-norelu"] | None = None
    """What is around a 3x3 first convolution (docs/convert.md). Default: as the layout tells."""
    image_size: int | None = None
    """Side at which images are embedded, in pixels. Default: 224, or 32 with a 3x3 first convolution."""
    mean: Channels = IMAGENET.mean
    """Red, green and blue that the source subtracted from pixels in [0, 1]; ImageNet's by default."""
    std: Channels = IMAGENET.std
    """Red, green and blue that the source divided by after that; ImageNet's by default."""
    licence: str | None = None
    """Licence of the weights, stored with them, such as CC-BY-NC-4.0. Default: not stated."""


def main() -> None:
    """Run the command."""
    arguments = cli.parse(Arguments, "convert", examples=EXAMPLES)
    # imported here, because torch takes seconds and --help must be fast
    from .conversion.write_run import convert

    converted = convert(
        arguments.checkpoint,
        arguments.run,
        layout=arguments.layout,
        stem=arguments.stem,
        image_size=arguments.image_size,
        normalisation=Normalisation(arguments.mean, arguments.std),
        licence=arguments.licence,
    )
    report(converted)
    cli.remark(f"next: python -m simsiam_retrieval.export {arguments.run}")
    print(printable(arguments.run))


def report(converted: "Conversion") -> None:
    """Print what was found, and every tensor that was not used, on stderr.

    Args:
        converted: The result of the conversion.
    """
    network = converted.network
    title = network.backbone.name.replace("resnet", "ResNet-")
    cli.remark(f"{network.layout} layout: {title}, {network.stem} stem, images at {converted.image_size} px")
    if network.heads is None:
        unfit = any(reason.startswith("head: ") for reason in network.left_out.values())
        cli.remark(f"heads: {'none that fit' if unfit else 'none in it'}; the run has only the backbone")
    else:
        sizes = network.heads.settings
        cli.remark(
            f"heads: projector of {sizes['projector_layers']} layers, {sizes['projector_hidden_dim'] or ''}"
            f"{' -> ' if sizes['projector_hidden_dim'] else ''}{sizes['projector_dim']} wide, "
            f"predictor {sizes['predictor_dim']}"
        )
    if network.stem != "imagenet":
        cli.remark(f"note: weights show neither what is around a 3x3 convolution ({STEMS[network.stem]}; --stem)")
        cli.remark("      nor the normalisation (--mean, --std); features are the source's only if both are right")
    left_out, total = network.left_out, len(converted.shapes)
    cli.remark(f"used: {total - len(left_out)} of {total} tensors" + (", left out:" if left_out else ""))
    for line in left_out_lines(left_out, converted.shapes):
        cli.remark(f"  {line}")
    for entry, count in converted.beside.items():
        cli.remark(f"beside the network, not read: {printable(entry)} ({count} tensors)")


def left_out_lines(left_out: dict[str, str], shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Format the tensors that were not used: one line each, or one line for many with the same reason.

    Args:
        left_out: Name of the tensor -> reason.
        shapes: Name of the tensor -> shape.

    Returns:
        The lines.
    """
    by_reason: dict[str, list[str]] = defaultdict(list)
    for name, reason in left_out.items():
        by_reason[reason].append(name)
    lines = []
    for reason, names in by_reason.items():
        if len(names) <= LISTED:
            lines += [f"{name} {shapes[name]}: {reason}" for name in names]
        else:
            groups = Counter(name.partition(".")[0] for name in names)
            lines += [f"{group}.* ({count} tensors): {reason}" for group, count in groups.items()]
    return [printable(line) for line in lines]


if __name__ == "__main__":
    cli.run(main)
