"""The interface between the training loop and a learning method, and the parts that all methods share."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads import predictor, projector


class Output(NamedTuple):
    """The result of one training step of a method.

    Attributes:
        loss: Scalar, float32.
        z: (n, dim) float32, detached: projections of the first view.
        targets: Each (n, dim), detached: what further views of the same images must predict.
    """

    loss: Tensor
    z: Tensor
    targets: tuple[Tensor, ...] = ()


class Step(NamedTuple):
    """The position in the training run. A method's randomness depends only on the seed and the step number.

    Attributes:
        number: Steps finished before this one.
        total: Steps of the whole run.
        per_epoch: Steps of one epoch.
        seed: Seed of the run.
        images: Number of images in the run's data.
        rows: int64 (n,), indices of the images that this process's views show.
    """

    number: int
    total: int
    per_epoch: int
    seed: int
    images: int
    rows: Tensor


class Method(nn.Module):
    """A Siamese network: a backbone, a projector, and a loss that compares two views of each image.

    Each method is a subclass with its own ``pair``. All methods keep the attribute names ``backbone``,
    ``projector`` and ``predictor``: checkpoints, the monitor and the export read them.

    Args:
        backbone: The network from ``build_backbone``.
        feature_dim: Width of its output.
        dim: Width of the projections z.
        projector_hidden_dim: Width of the projector's hidden layers.
        projector_layers: Number of the projector's linear layers.
        predictor_hidden_dim: Width of the predictor's hidden layer.
        predictor_kind: "mlp" is trained, "fixed" keeps its initial weights, "none" has no predictor.
        predictor_decays: Whether the predictor's learning rate follows the schedule.
        bn: Where the heads have BN; one of ``heads.BN_PLACEMENTS``.
        kinds: Kinds of further views (see ``further``) that have a predictor of their own.
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
        """Compute the loss of two views, or the mean loss of several pairs of views.

        The views pass the network one after the other, so BN statistics are per view.

        Args:
            *views: An even number of tensors, each float (n, 3, h, w). Neighbours form a pair.
            step: Position in the run; None outside a run.

        Returns:
            The first pair's output, with the loss averaged over the pairs.
        """
        outputs = [self.pair(x1, x2, step) for x1, x2 in zip(views[::2], views[1::2], strict=True)]
        return outputs[0]._replace(loss=torch.stack([output.loss for output in outputs]).mean())

    def pair(self, x1: Tensor, x2: Tensor, step: Step | None) -> Output:
        """Compute the loss of one pair of views.

        Args:
            x1: First view, float (n, 3, h, w).
            x2: Second view, float (n, 3, h, w).
            step: Position in the run; None outside a run.

        Returns:
            Loss, projections and targets.
        """
        raise NotImplementedError

    def further(self, x: Tensor, kind: str, targets: tuple[Tensor, ...]) -> Tensor:
        """Compute the loss of one further view of the same images. Only some methods define it.

        Args:
            x: The view, float (n, 3, h, w).
            kind: Kind of the view. A kind that was named in ``kinds`` has a predictor of its own.
            targets: The targets of the pair's ``Output``.

        Returns:
            A float32 scalar, averaged over the targets, in the same unit as the loss of ``pair``.
        """
        raise NotImplementedError

    def predict(self, z: Tensor, kind: str) -> Tensor:
        """Apply the predictor of a kind of view, or the common predictor if the kind has none of its own.

        Args:
            z: Projections (n, dim).
            kind: Kind of the view.

        Returns:
            Predictions (n, dim).
        """
        return self.predictors[kind](z) if kind in self.predictors else self.predictor(z)

    def project(self, x: Tensor) -> Tensor:
        """Compute the projections z of a view.

        Args:
            x: Float (n, 3, h, w).

        Returns:
            Float (n, dim).
        """
        return self.projector(self.backbone(x))

    def start_from(self, backbone: nn.Module) -> None:
        """Copy another backbone's weights before training begins.

        Args:
            backbone: A network of the same architecture.
        """
        self.backbone.load_state_dict(backbone.state_dict())

    def before_update(self, step: Step) -> None:
        """Hook: called after the backward pass, before the optimiser's step.

        Args:
            step: Position in the run.
        """

    def after_update(self, step: Step) -> None:
        """Hook: called after the optimiser's step.

        Args:
            step: Position in the run.
        """

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups for the optimiser.

        Returns:
            Dicts with "params" and "decay_lr". The latter says whether the group's learning rate follows the schedule.
        """
        predicting = [*self.predictor.parameters(), *self.predictors.parameters()]
        heads = {id(parameter) for parameter in predicting}
        rest = [parameter for parameter in self.parameters() if parameter.requires_grad and id(parameter) not in heads]
        groups: list[dict[str, Any]] = [{"params": rest, "decay_lr": True}]
        trained = [parameter for parameter in predicting if parameter.requires_grad]
        if trained:
            groups.append({"params": trained, "decay_lr": self.predictor_decays})
        return groups


def output_std(z: Tensor) -> Tensor:
    """Compute the standard deviation of the l2-normalised output, averaged over channels.

    Source: SimSiam, section 4.1, figure 2.

    Args:
        z: Float (n, dim), n >= 2.

    Returns:
        A scalar: about 1/sqrt(dim) if the outputs scatter over the sphere, 0 if all are the same.
    """
    return F.normalize(z.float(), dim=1).std(dim=0).mean()


def collapse_free_std(dim: int) -> float:
    """Return the value of ``output_std`` for an isotropic Gaussian output with mean zero: 1/sqrt(dim).

    Args:
        dim: Width of the output.

    Returns:
        1/sqrt(dim).
    """
    return dim**-0.5
