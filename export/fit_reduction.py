"""PCA and whitening inside the exported graph: which is asked for, and fitting it to a folder's vectors."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.methods.feature_description import Features
from simsiam_retrieval.metrics.whitening import COMPONENTS, FEWEST, Whitening, fit_whitening, power_for

from .export_settings import Settings


@dataclass(frozen=True)
class AskedReduction:
    """A reduction that is asked for.

    Attributes:
        dim: Numbers to keep; None for ``COMPONENTS``.
        power: Power of the whitening; None for ``power_for``.
        at_most: Whether fewer axes than ``dim`` are enough.
    """

    dim: int | None
    power: float | None
    at_most: bool = False


def asked_reduction(settings: Settings, features: Features | None) -> AskedReduction | None:
    """Return the reduction that the options or the feature description ask for.

    Args:
        settings: The options.
        features: The feature description; None for the backbone's usual features.

    Returns:
        The reduction; None for none.
    """
    if features is not None and features.dim is not None:
        if settings.features is None:  # another run's numbers, and perhaps of many more images
            return AskedReduction(features.dim, None, at_most=True)
        return AskedReduction(features.dim, features.power)
    if settings.whiten:
        return AskedReduction(settings.dim, settings.whiten_power)
    return None if settings.dim is None else AskedReduction(settings.dim, 0.0)


def fitted_reduction(
    vectors: torch.Tensor, asked: AskedReduction, say: Callable[[str], None]
) -> tuple[Whitening | None, float]:
    """Fit a reduction.

    Args:
        vectors: float (n, d), of the images to fit to.
        asked: What is asked for.
        say: Called with messages about decisions.

    Returns:
        The reduction and its power; None if there are too few images.

    Raises:
        UserError: There are fewer principal axes than the numbers asked for.
    """
    images, dim, power = len(vectors), asked.dim or COMPONENTS, asked.power
    if power is None:
        power = power_for(images)
        if power is not None:
            say(f"whitening of power {power:g}; --whiten-power chooses another")
        elif asked.dim is None or asked.at_most:
            say(f"PCA left out: {images} images are fewer than {FEWEST}; --fit names others")
            return None, 0.0
        else:
            say(f"PCA without whitening: {images} images are fewer than {FEWEST}; --fit names others")
            power = 0.0
    reduction = fit_whitening(vectors, dim, power=power)
    found = reduction.projection.shape[1]
    if found == 0 or (found < dim and asked.dim is not None and not asked.at_most):
        raise UserError(
            f"PCA to {dim} numbers: {images} images of {vectors.shape[1]} features have {found} "
            "principal axes; ask for fewer numbers, or fit to more images with --fit"
        )
    if found < dim:
        say(f"{found} numbers instead of {dim}: {images} images have no more principal axes; --fit names more images")
    return reduction, power
