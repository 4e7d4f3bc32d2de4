"""The card's metadata: what the Hub itself reads of a model. No torch."""

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from .evaluation_results import HubDataset, model_index
from .run_facts import Facts

# licences that the Hub knows by their identifier; any other is "other", with a name
KNOWN_LICENCES = frozenset(
    [
        *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "unlicense", "mpl-2.0", "openrail"),
        *("gpl-3.0", "lgpl-3.0", "agpl-3.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nd-4.0"),
        *("cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nc-nd-4.0"),
    ]
)
NOT_STATED = "not stated"  # what export writes for a licence that it was not told


@dataclass(frozen=True)
class Stated:
    """What only the publisher can say."""

    repository: str  # OWNER/NAME
    licence: str | None = None  # of the weights
    data: str | None = None  # what the training images are, and their licence


class Paper(NamedTuple):
    """Where a learning method comes from."""

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
    """The weights' licence: as stated now, or when they were exported or converted."""
    exported = facts.default.encoder.metadata.get("licence")
    known = exported if exported != NOT_STATED else None
    return stated.licence or known or (facts.converted or {}).get("licence") or None


def method_of(facts: Facts) -> str:
    """The learning method, or "unknown" for other people's weights that do not show it."""
    if facts.converted is not None:
        return str(facts.converted.get("method", "unknown"))
    return facts.config.method


def front_matter(facts: Facts, stated: Stated, datasets: dict[str, HubDataset]) -> str:
    """The YAML in front of the card, without its rules of dashes."""
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
