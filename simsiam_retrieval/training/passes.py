"""The forward and backward passes of one step: one for the pair of views, and one for each further view."""

import contextlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..methods.base import Method, Output, Step
from .torchrun_processes import Processes


def learn(
    network: nn.Module,
    model: Method,
    views: Sequence[Tensor],
    kinds: Sequence[str],
    step: Step,
    *,
    precision: Callable[[], contextlib.AbstractContextManager[Any]],
    processes: Processes,
) -> Output:
    """Compute the gradients of one step.

    The pair's projections are the targets of all further views. Each pass ends before the next begins, so the memory is
    that of the pair, for any number of views. The loss is the mean over the kinds of views, independent of their
    numbers; the pair counts as one kind. Source: De Plaen et al. 2026, for SimSiam.

    Args:
        network: ``model``, or its wrapper if several processes train together.
        model: The method, in train mode, without gradients.
        views: Each float (n, 3, h, w): the pair or pairs, then one view for each of ``kinds``.
        kinds: Kinds of the further views.
        step: Position in the run.
        precision: Creates the context of a forward pass.
        processes: The processes that train together.

    Returns:
        The loss, and the pair's projections and targets. The gradients are in ``model``.
    """
    pairs, further = views[: len(views) - len(kinds)], views[len(views) - len(kinds) :]
    if not further:
        with precision():
            output = network(*pairs, step=step)
        output.loss.backward()
        return output
    views_of = Counter(kinds)
    share = 1 / (1 + len(views_of))
    with precision():
        output = model(*pairs, step=step)  # not through ``network``: gradients are averaged once, below
    (share * output.loss).backward()
    losses = [share * output.loss.detach()]
    for x, kind in zip(further, kinds, strict=True):
        with precision():
            loss = share / views_of[kind] * model.further(x, kind, output.targets)
        loss.backward()
        losses.append(loss.detach())
    processes.average_gradients(model.parameters())
    return output._replace(loss=torch.stack(losses).sum())
