"""The model card: README.md with YAML metadata, made from a run's own files. Unknown facts are left out."""

from collections.abc import Mapping
from typing import Any

from ..core.text import printable
from ..evaluation.probe_table import markdown, markdown_table
from ..images.centre_crop import LONG
from ..training.config_limits import belongs
from .card_metadata import PAPERS, Stated, front_matter, licence_of, method_of
from .card_usage import usage
from .evaluation_results import HubDataset
from .run_facts import Facts, OnnxFile, public_name

# settings that the card shows -> their names in plain English
SETTINGS = {
    "recipe": "recipe",
    "method": "method",
    "backbone": "backbone",
    "stem": "stem",
    "image_size": "image size, px",
    "batch_size": "batch size",
    "epochs": "epochs",
    "base_lr": "learning rate at batch 256",
    "momentum": "momentum",
    "weight_decay": "weight decay",
    "projector_layers": "projector layers",
    "projector_dim": "projector width",
    "predictor_dim": "predictor width",
    "min_scale": "smallest crop, part of the area",
    "blur": "blur probability",
    "stop_gradient": "stop-gradient",
    "temperature": "temperature",
    "target_momentum": "momentum of the second encoder",
    "queue_size": "keys in the queue",
    "prototypes": "prototypes",
    "seed": "seed",
}
# name in the card -> (key in export's report, number format)
PARITY = {
    "images": ("images", "{:.0f}"),
    "largest difference": ("largest_difference", "{:.1e}"),
    "mean difference": ("mean_difference", "{:.1e}"),
    "smallest cosine": ("smallest_cosine", "{:.6f}"),
    "recall@10": ("recall_at_10", "{:.3f}"),
    "kNN top-1": ("knn", "{:.3f}"),
    "torch's": ("knn_torch", "{:.3f}"),
}


def model_card(
    facts: Facts,
    stated: Stated,
    datasets: Mapping[str, HubDataset],
    checksums: Mapping[str, str],
    *,
    picture: str | None,
) -> str:
    """Write the complete README.md.

    Args:
        facts: The run.
        stated: The publisher's statements.
        datasets: Data sets on the Hub, by test folder.
        checksums: Path in the repository -> SHA-256.
        picture: Path of the training curves in the repository; None without curves.

    Returns:
        Markdown with YAML metadata.
    """
    sections = [
        _introduction(facts, stated),
        usage(facts, stated),
        _data(facts, stated),
        _recipe(facts, picture),
        _evaluation(facts),
        _files(facts, checksums),
        _use_and_limits(facts),
        _licence(facts, stated),
    ]
    front = front_matter(facts, stated, dict(datasets))
    return f"---\n{front}\n---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def _introduction(facts: Facts, stated: Stated) -> str:
    encoder, beyond = facts.default.encoder, facts.default.beyond_backbone
    network = facts.config.backbone.replace("resnet", "ResNet-").replace("-3stages", " without its last stage")
    network += "" if facts.config.stem == "imagenet" else ", 3x3 stem"
    method = method_of(facts)
    if method in PAPERS:
        trained = f"trained without labels by [{PAPERS[method].name}]({PAPERS[method].address})"
        if facts.converted is None and "images" in facts.described.get("data", {}):
            trained += f" on {facts.described['data']['images']:,} images"
    else:
        trained = f"converted from weights of another program; trained by: {printable(method)}"
    return (
        f"# {stated.repository.split('/')[1]}\n\n"
        f"An image encoder: {network}, {trained}. Pictures go in, vectors of "
        f"length 1 with {encoder.dim} numbers come out. The more similar two pictures are to the encoder, the larger "
        f"is the cosine of their vectors. Images are resized to {encoder.image_size} x {encoder.image_size} pixels."
        f"{f' The vectors are made of: {printable(beyond)}.' if beyond else ''}\n\n"
        f"Identity `{encoder.identity}`. Made with simsiam-retrieval "
        f"{facts.described.get('versions', {}).get('simsiam-retrieval', '')}".rstrip()
        + "."
    )


def _data(facts: Facts, stated: Stated) -> str:
    lines = []
    data = facts.described.get("data", {})
    if stated.data:
        lines.append(printable(stated.data))
    elif data.get("roots"):
        folders = ", ".join(f"`{public_name(root)}`" for root in data["roots"])
        lines.append(f"Folders of images on the publisher's machine: {folders}. Their licence is not stated.")
    if "images" in data:
        rejected = f", {data['rejected']:,} more could not be read" if data.get("rejected") else ""
        lines.append(f"{data['images']:,} images, labels unused{rejected}. Fingerprint: `{data['fingerprint']}`.")
    converted = facts.converted
    if converted is not None:
        lines.append(
            f"The weights are from `{printable(str(converted.get('file')))}` (SHA-256 `{converted.get('sha256')}`, "
            f"{converted.get('layout')} layout). What they were trained on is not in that file."
        )
    return "## Training data\n\n" + "\n\n".join(lines) if lines else ""


def _recipe(facts: Facts, picture: str | None) -> str:
    rows = [
        [words, f"`{facts.known[key]}`"]
        for key, words in SETTINGS.items()
        if key in facts.known and belongs(key, str(facts.known.get("method", "simsiam")))
    ]
    parts = ["## Training", markdown_table(["setting", "value"], rows)]
    described, environment = facts.described, []
    if described.get("init"):
        init = str(described["init"])
        environment.append(f"started from `{init if init.startswith('hf://') else public_name(init)}`")
    if described.get("commit"):
        environment.append(f"code at commit `{described['commit']}`")
    versions = described.get("versions", {})
    environment += [f"{name} {versions[name]}" for name in ("torch", "torchvision", "python") if name in versions]
    if "device" in described:
        environment.append(f"on {printable(str(described['device'].get('name')))}")
    if environment:
        parts.append(f"Made with: {', '.join(environment)}.")
    last = _last(facts.metrics)
    if last:
        epochs = facts.known.get("epochs")
        ended = (
            f"after {last['epoch']:g} of {epochs} epochs" if epochs is not None else f"after {last['epoch']:g} epochs"
        )
        parts.append(
            f"At the end ({ended}): "
            + ", ".join(f"{words} {last[key]:.3g}" for key, words in _CURVES.items() if key in last)
            + "."
        )
    if picture is not None:
        parts.append(f"![Curves of the training run]({picture})")
        if any("rankme" in row for row in facts.metrics):
            parts.append("RankMe and view retrieval are measured on held-out images, without labels.")
    return "\n\n".join(parts)


_CURVES = {
    "loss": "loss",
    "std": "std of z (1 is healthy)",
    "rankme": "RankMe of z",
    "rankme_features": "RankMe of features",
    "view_retrieval": "view retrieval",
    "knn": "kNN top-1",
}


def _last(metrics: list[dict[str, Any]]) -> dict[str, Any]:
    """The newest value of every key."""
    merged: dict[str, Any] = {}
    for row in metrics:
        merged |= row
    return merged


def _evaluation(facts: Facts) -> str:
    if not facts.reports:
        return ""
    protocols = {key: text for report in facts.reports for key, text in report["protocols"].items()}
    listed = "\n".join(f"- {key}: {text}" for key, text in protocols.items())
    return (
        "## Evaluation\n\nAll numbers are measured on frozen features. The baselines are the same network with "
        f"random weights, and raw pixels.\n\n{markdown(facts.reports)}\n\nProtocols:\n\n{listed}"
    )


def _files(facts: Facts, checksums: Mapping[str, str]) -> str:
    rows = [[f"`{path}`", f"`{digest}`"] for path, digest in checksums.items()]
    parts = [
        "## Files",
        markdown_table(["file", "SHA-256"], rows),
        "`config.json` repeats the checksums; simsiam-retrieval verifies them when it loads a file.",
    ]
    figures = {encoder.precision: _parity(encoder) for encoder in facts.encoders}
    names = [name for name in PARITY if any(name in one for one in figures.values())]
    if names:
        body = [
            [
                f"`{encoder.path}`",
                f"{encoder.size / 1e6:.1f}",
                *(figures[encoder.precision].get(name, "–") for name in names),
            ]
            for encoder in facts.encoders
        ]
        images = printable(str(facts.default.report.get("checked_on", "real images")))
        parts += [f"The ONNX files against the torch model, on {images}:", markdown_table(["file", "MB", *names], body)]
    for encoder in facts.encoders:
        if encoder.report.get("below_bound"):
            reason = printable(str(encoder.report["below_bound"]))
            parts.append(f"`{encoder.path}` is below the bound that export requires: {reason}.")
    return "\n\n".join(parts)


def _parity(encoder: OnnxFile) -> dict[str, str]:
    report = encoder.report
    return {
        name: form.format(report[key])
        for name, (key, form) in PARITY.items()
        if isinstance(report.get(key), int | float)
    }


def _use_and_limits(facts: Facts) -> str:
    side = facts.default.encoder.image_size
    lines = [
        "Use it to find similar pictures, near-duplicates and groups in collections that resemble the training data, "
        "and as a basis for a classifier with few labels.",
        f"It sees the centre square at {side} px. Of pictures over {LONG} times as long as wide it sees the whole, "
        "squeezed into the square. Details that vanish at that size are invisible to it.",
        "Cosines are not calibrated. Choose the threshold for similar pictures on your own images.",
        "It was trained without labels and does not know names. Pictures that are similar to it may not be similar to "
        "a person. It repeats any bias of the training images.",
    ]
    if not facts.reports:
        lines.append("It was not evaluated on labelled images.")
    else:
        lines.append("It was measured only on the data in the tables above.")
    lines.append(
        "Do not use it to recognise people. Do not use it for medical or safety decisions without your own validation."
    )
    return "## Intended use and limits\n\n" + "\n".join(f"- {line}" for line in lines)


def _licence(facts: Facts, stated: Stated) -> str:
    licence = licence_of(facts, stated)
    if licence is None:
        return "## Licence\n\nNot stated: ask the owner before you use the weights."
    return f"## Licence\n\nWeights: {printable(licence)}."
