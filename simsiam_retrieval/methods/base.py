"""What the loop asks of a learning method, and what the methods have in common."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads import predictor, projector


class Output(NamedTuple):
    """What one training step of a method gives back."""

    loss: Tensor  # scalar, float32
    z: Tensor  # (n, dim) float32, projections of the first view, detached
    targets: tuple[Tensor, ...] = ()  # each (n, dim), detached: what further views of the same images are to predict


class Step(NamedTuple):
    """Where training stands, for methods that depend on it."""

    number: int  # steps done before this one
    total: int  # of the run
    per_epoch: int
    seed: int  # of the run
    images: int  # in the run's data
    rows: Tensor  # int64 (n,), which of them this process's views show


class Method(nn.Module):
    """A Siamese network: two views of each image through a backbone and a projector, and a loss that compares them.

    A method is a subclass with its own :meth:`pair`. All keep the names ``backbone``, ``projector`` and ``predictor``,
    which checkpoints, monitor and export rely on.
    """

    def __init__(
        self,
        backbone: nn.Module,
        feature_dim: int,
        *,
        dim: int = 2048,
        projector_hidden_dim: int = 2048,
        projector_layers: int = 3,
        predictor_hidden_dim: int = 512,
        predictor_kind: str = "mlp",
        predictor_decays: bool = True,
        bn: str = "default",
        kinds: tuple[str, ...] = (),
    ) -> None:
        """``predictor_kind``: "mlp", "none", or "fixed" at its initialisation; ``bn``: see :mod:`.heads`.

        ``kinds``: of further views, for :meth:`further`, that have a predictor of their own.
        """
        super().__init__()
        self.backbone = backbone
        self.projector = projector(feature_dim, projector_hidden_dim, dim, projector_layers, bn)
        self.predictor: nn.Module = nn.Identity()
        own: dict[str, nn.Module] = {}
        if predictor_kind != "none":
            self.predictor, *others = (predictor(dim, predictor_hidden_dim, bn) for _ in range(1 + len(kinds)))
            own = dict(zip(kinds, others, strict=True))
            for head in (self.predictor, *others):
                head.requires_grad_(predictor_kind == "mlp")
        self.predictors = nn.ModuleDict(own)
        self.predictor_decays = predictor_decays

    def forward(self, *views: Tensor, step: Step | None = None) -> Output:
        """The loss for two views, each float (n, 3, h, w); of more pairs of views, the mean.

        The views pass the network one after the other, so BN statistics are per view.
        """
        outputs = [self.pair(x1, x2, step) for x1, x2 in zip(views[::2], views[1::2], strict=True)]
        return outputs[0]._replace(loss=torch.stack([output.loss for output in outputs]).mean())

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """The loss for one pair of views."""
        raise NotImplementedError

    def further(self, x: Tensor, kind: str, targets: tuple[Tensor, ...]) -> Tensor:
        """The loss of one more view, of a kind of its own, against a pair's targets, mean over them.

        A float32 scalar in the unit of :meth:`pair`. The methods that can have such views define it.
        """
        raise NotImplementedError

    def predict(self, z: Tensor, kind: str) -> Tensor:
        """Predictions of a kind of view: by its own predictor where it has one, else by the one of all."""
        return self.predictors[kind](z) if kind in self.predictors else self.predictor(z)

    def project(self, x: Tensor) -> Tensor:
        """Projections z of a view: (n, dim)."""
        return self.projector(self.backbone(x))

    def start_from(self, backbone: nn.Module) -> None:
        """Take over another backbone's weights before training begins."""
        self.backbone.load_state_dict(backbone.state_dict())

    def before_update(self, step: Step) -> None:
        """Called when gradients are there, before the optimiser uses them."""

    def after_update(self, step: Step) -> None:
        """Called when the optimiser has changed the weights."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Optimiser groups; ``decay_lr`` says whether a group's learning rate follows the schedule."""
        predicting = [*self.predictor.parameters(), *self.predictors.parameters()]
        heads = {id(parameter) for parameter in predicting}
        rest = [parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in heads]
        groups: list[dict[str, Any]] = [{"params": rest, "decay_lr": True}]
        trained = [parameter for parameter in predicting if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "decay_lr": self.predictor_decays})
        return groups


def output_std(z: Tensor) -> Tensor:
    """Std of the l2-normalised output, averaged over channels (SimSiam, section 4.1, figure 2).

    ``z``: (n, dim), n >= 2. About 1/sqrt(dim) when outputs scatter over the sphere, 0 when all are the same.
    """
    return F.normalize(z.float(), dim=1).std(dim=0).mean()


def collapse_free_std(dim: int) -> float:
    """The value of :func:`output_std` for an isotropic zero-mean Gaussian output: 1/sqrt(dim)."""
    return dim**-0.5
