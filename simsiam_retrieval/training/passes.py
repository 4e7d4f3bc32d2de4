"""One step's forward and backward passes: of a pair of views together, and of each further view by itself."""

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
    """Leave the gradients of one step in ``model``; returns its loss and what the pair gave.

    The pair's projections are the targets of all further views. A pass ends before the next begins, so memory is that
    of the pair, however many views there are. The loss is the mean over the kinds of views, the pair's being one of
    them, whatever their numbers, as De Plaen et al. 2026 have it for SimSiam.

    Args:
        network: ``model``, or what stands for it where several processes train together.
        model: The method, in train mode, with no gradients yet.
        views: Each float (n, 3, h, w): the pair or pairs, then a view for each of ``kinds``.
        kinds: Of the further views.
        step: Where training stands.
        precision: Makes the context of a forward pass.
        processes: Who trains together.
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
        output = model(*pairs, step=step)  # not through the network: gradients are averaged once, below
    (share * output.loss).backward()
    losses = [share * output.loss.detach()]
    for x, kind in zip(further, kinds, strict=True):
        with precision():
            loss = share / views_of[kind] * model.further(x, kind, output.targets)
        loss.backward()
        losses.append(loss.detach())
    processes.average_gradients(model.parameters())
    return output._replace(loss=torch.stack(losses).sum())
