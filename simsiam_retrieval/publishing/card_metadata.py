"""The metadata of the model card that the Hub reads. Imports no torch."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from .evaluation_results import HubDataset, model_index
from .run_facts import Facts

# licences that the Hub knows by their identifier; any other becomes "other" with a name
KNOWN_LICENCES = frozenset(
    [
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "mpl-2.0", "openrail"),
        *("gpl-3.0", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    ]
)
NOT_STATED = "not stated"  # export writes this if no licence was given


@dataclass(frozen=True)
class Stated:
    """Facts that only the publisher knows.

    Attributes:
        repository: OWNER/NAME.
        licence: Licence of the weights.
        data: What the training images are, and their licence.
    """

    repository: str
    licence: str | None = None
    data: str | None = None


class Paper(NamedTuple):
    """The paper of a learning method."""

    name: str
    address: str


PAPERS = {
    "simsiam": Paper("SimSiam", "https://arxiv.org/abs/2011.10566"),
    "simclr": Paper("SimCLR", "https://arxiv.org/abs/2002.05709"),
    "moco-v2": Paper("MoCo v2", "https://arxiv.org/abs/2003.04297"),
    "byol": Paper("BYOL", "https://arxiv.org/abs/2006.07733"),
    "swav": Paper("SwAV", "https://arxiv.org/abs/2006.09882"),
}


def licence_of(facts: Facts, stated: Stated) -> str | None:
    """Return the licence of the weights.

    Args:
        facts: The run.
        stated: The publisher's statements.

    Returns:
        The licence stated now; otherwise the one stated at export, or at conversion; otherwise None.
    """
    exported = facts.default.encoder.metadata.get("licence")
    known = exported if exported != NOT_STATED else None
    return stated.licence or known or (facts.converted or {}).get("licence") or None


def method_of(facts: Facts) -> str:
    """Return the learning method of a run.

    Args:
        facts: The run.

    Returns:
        The method's name; "unknown" for converted weights that do not show it.
    """
    if facts.converted is not None:
        return str(facts.converted.get("method", "unknown"))
    return facts.config.method


def front_matter(facts: Facts, stated: Stated, datasets: dict[str, HubDataset]) -> str:
    """Build the YAML metadata of the card, without the lines of dashes around it.

    Args:
        facts: The run.
        stated: The publisher's statements.
        datasets: Data sets on the Hub, by test folder.

    Returns:
        YAML.
    """
    from huggingface_hub import ModelCardData

    licence = licence_of(facts, stated)
    fields: dict[str, Any] = {}
    if licence is not None and licence.lower() in KNOWN_LICENCES:
        fields["license"] = licence.lower()
    elif licence is not None:
        slug = re.sub(r"[^a-z0-9.]+", "-", licence.lower()).strip("-.")[:60]
        fields |= {"license": "other", "license_name": slug or "see-card"}
    results = model_index(facts.reports, datasets)
    if results:
        fields |= {"eval_results": results, "model_name": stated.repository.split("/")[1], "metrics": ["accuracy"]}
    data = ModelCardData(
        library_name="timm" if facts.timm else "onnx",
        pipeline_tag="image-feature-extraction",
        tags=[
            "self-supervised-learning",
            *([method_of(facts)] if method_of(facts) in PAPERS else []),
            "image-retrieval",
            "onnx",
        ],
        **fields,
    )
    return data.to_yaml()
