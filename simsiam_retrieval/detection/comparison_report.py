"""The results of a comparison: means and standard deviations over seeds, and a table. Imports no torch."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..evaluation.probe_table import NONE, markdown_table

if TYPE_CHECKING:
    from .initialisations import Initialisation

FORMAT = "simsiam-retrieval-transfer/1"
SHOWN = ("AP", "AP50", "AP75")


def summary(
    initialisations: "Sequence[Initialisation]",
    fits: Sequence[dict[str, Any]],
    chosen: dict[str, float],
    lrs: Sequence[float],
) -> dict[str, Any]:
    """Summarise the fine-tunings so far, for ``results.json``.

    Args:
        initialisations: The initialisations.
        fits: Results of the fine-tunings.
        chosen: Initialisation -> chosen learning rate. Without one, there are no means yet.
        lrs: All learning rates.

    Returns:
        The summary.
    """
    rows = []
    for one in initialisations:
        own = [fit for fit in fits if fit["name"] == one.name]
        used = [fit for fit in own if fit["lr"] == chosen.get(one.name)]
        rows.append(
            {
                "name": one.name,
                "given": one.given,
                "identity": one.identity,
                "backbone": one.network,
                "stem": one.stem,
                "normalisation": one.normalisation._asdict(),
                "lr": chosen.get(one.name),
                "test": _spread(used),
                "diverged": sum(fit["diverged"] for fit in used),
                "fits": [{name: value for name, value in fit.items() if name not in ("name", "fit")} for fit in own],
            }
        )
    return {"lrs": list(lrs), "initialisations": rows}


def _spread(fits: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation (n - 1) over seeds of each metric, of fine-tunings that did not diverge."""
    measured = [fit["test"] for fit in fits if fit["test"] is not None]
    spread: dict[str, Any] = {}
    for kind in measured[0] if measured else ():
        spread[kind] = {}
        for name in SHOWN:
            values = [one[kind][name] for one in measured if one[kind][name] is not None]
            if values:
                std = statistics.stdev(values) if len(values) > 1 else None
                spread[kind][name] = {"mean": statistics.fmean(values), "std": std, "seeds": len(values)}
    return spread


def markdown(content: dict[str, Any]) -> str:
    """Format the results as a table in percent: mean ± standard deviation over seeds.

    Args:
        content: Content of ``results.json``.

    Returns:
        Markdown.
    """
    rows = content["initialisations"]
    kinds = [kind for kind in ("box", "mask") if any(kind in row["test"] for row in rows)] or ["box"]
    header = ["initialisation", "lr"]
    header += [name if kind == "box" else f"mask {name}" for kind in kinds for name in SHOWN] + ["seeds"]
    networks = {(row["backbone"], row["stem"]) for row in rows}
    body = []
    for row in rows:
        name = str(row["name"]).replace("|", "\\|")
        title = name if len(networks) == 1 else f"{name} ({row['backbone']}, {row['stem']} stem)"
        cells = [_cell(row["test"].get(kind, {}).get(metric)) for kind in kinds for metric in SHOWN]
        seeds = max((one["seeds"] for one in row["test"].get("box", {}).values()), default=0)
        ended = f"{seeds}, {row['diverged']} diverged" if row["diverged"] else str(seeds)
        body.append([title, NONE if row["lr"] is None else f"{row['lr']:g}", *cells, ended])
    return f"{_heading(content)}\n\n{markdown_table(header, body)}"


def _heading(content: dict[str, Any]) -> str:
    settings, data = content["settings"], content["data"]
    model = "Mask R-CNN" if settings["masks"] else "Faster R-CNN"
    heads = {"c4": "C4", "fpn": "FPN"}
    network = content["initialisations"][0]["backbone"].replace("resnet", "ResNet-")
    return (
        f"**{data['test']['title']}**: {data['test']['images']} test images, {data['train']['images']} training "
        f"images, {len(content['classes'])} classes; {model} {heads[settings['head']]}, {network}, short side "
        f"{settings['image_size']} px, {settings['steps']} steps of {settings['batch_size']} images.\n"
        "COCO metrics in %, mean ± standard deviation over seeds."
    )


def _cell(found: dict[str, Any] | None) -> str:
    if found is None:
        return NONE
    spread = "" if found["std"] is None else f" ± {100 * found['std']:.1f}"
    return f"{100 * found['mean']:.1f}{spread}"
