"""MoCo v2 (Chen, Fan, Girshick & He 2020, "Improved Baselines with Momentum Contrastive Learning")."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.randomness import generator
from .all_gather import gather, own
from .base import Method, Output, Step
from .ema_encoder import Target
from .grouped_batch_norm import GroupedBatchNorm

SHUFFLING = 3  # key of the random generator for shuffling; the training loop uses 0 to 2


def info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """Compute InfoNCE (He et al. 2020, equation 1): each query against its own key and the queue, mean over queries.

    All inputs are l2-normalised.

    Args:
        q: Queries (n, dim).
        k: Their keys (n, dim).
        queue: Keys of other images (length, dim).
        temperature: Temperature tau.

    Returns:
        A float32 scalar.
    """
    with torch.autocast(q.device.type, enabled=False):
        positive = (q * k).sum(dim=1, keepdim=True)
        logits = torch.cat([positive, q @ queue.T], dim=1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(q), dtype=torch.int64, device=q.device))


class MoCoV2(Method):
    """MoCo v2: two views, a momentum encoder for the keys, and a queue of earlier keys as negatives.

    BN sees the batch in ``groups``. The key encoder's groups are another, random division of the batch. With common
    statistics, BN would reveal which key belongs to a query (He et al. 2020, section 3.3).

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        momentum: Momentum of the key encoder.
        temperature: Temperature of the InfoNCE loss.
        queue_size: Number of keys in the queue.
        groups: Number of BN groups in the batch of all processes.
        symmetric: Whether each view is the query once and the two losses are averaged. This is the SimSiam paper's
            improved reproduction (table 4).
        dim: Width of the projections.
        predictor_kind: See ``Method``.
        **heads: See ``Method``.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        momentum: float = 0.999,
        temperature: float = 0.2,
        queue_size: int = 65536,
        groups: int = 8,
        symmetric: bool = True,
        dim: int = 128,
        predictor_kind: str = "none",
        **heads: Any,
    ) -> None:
        super().__init__(backbone, feature_dim, dim=dim, predictor_kind=predictor_kind, **heads)
        GroupedBatchNorm.replace(self, groups)
        self.target = Target(self.backbone, self.projector)
        self.momentum, self.temperature, self.symmetric = momentum, temperature, symmetric
        # the queue begins with random directions, as in the authors' code
        self.register_buffer("queue", F.normalize(torch.randn(queue_size, dim), dim=1))
        self.register_buffer("position", torch.zeros((), dtype=torch.int64))
        self.queue: Tensor
        self.position: Tensor

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the InfoNCE loss and put the new keys into the queue. See ``Method.pair``."""
        z1, queue = self.project(x1), self.queue.clone()  # the queue changes before the backward pass
        k2 = self._keys(x2, step, 0)
        loss = self._contrast(z1, k2, queue)
        keys = [k2]
        if self.symmetric:
            k1 = self._keys(x1, step, 1)
            loss = (loss + self._contrast(self.project(x2), k1, queue)) / 2
            keys.append(k1)
        self._enqueue(torch.cat([gather(k) for k in keys]))
        return Output(loss, z1.detach().float())

    def _contrast(self, z: Tensor, k: Tensor, queue: Tensor) -> Tensor:
        return info_nce(F.normalize(self.predictor(z).float(), dim=1), k, queue, self.temperature)

    @torch.no_grad()
    def _keys(self, x: Tensor, step: Step | None, view: int) -> Tensor:
        """Compute the keys of this process's rows in a shuffled batch, so that BN groups differ from the queries'."""
        everyone = gather(x)
        draw = None if step is None else generator(step.seed, step.number, SHUFFLING, view)
        order = torch.randperm(len(everyone), generator=draw).to(x.device)
        k = F.normalize(self.target(own(everyone[order])).float(), dim=1)
        back = torch.empty_like(order)
        back[order] = torch.arange(len(order), device=x.device)
        return own(gather(k)[back])

    @torch.no_grad()
    def _enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys of the queue by the newest."""
        keys = keys[-len(self.queue) :]
        places = (self.position + torch.arange(len(keys), device=keys.device)) % len(self.queue)
        self.queue[places] = keys
        self.position.add_(len(keys)).remainder_(len(self.queue))

    def start_from(self, backbone: nn.Module) -> None:
        """Copy another backbone's weights into the encoder and the key encoder."""
        super().start_from(backbone)
        self.target.copy(self.backbone, self.projector)

    def after_update(self, step: Step) -> None:
        """Move the key encoder towards the encoder."""
        self.target.follow(self.backbone, self.projector, self.momentum)
