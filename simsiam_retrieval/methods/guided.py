"""Guided stop-gradient (Lee & Lee 2023, "Implicit Contrastive Representation Learning with Guided Stop-gradient")."""

import torch
from torch import Tensor


@torch.no_grad()
def guided_shares(z1: Tensor, z2: Tensor) -> Tensor:
    """Decide which view of each image predicts the other one and gets the gradient (section 3 of the paper).

    Each image has another image as its reference. There are four pairs of projections: one view of the image and one
    view of the reference. The two views of the nearest pair predict. They move away from each other, towards the other
    views of their own images. The paper draws further views for the references. Here the references are the same batch
    shifted by one, so that no view is computed twice; the order of a batch is random.

    Args:
        z1: Projections of the first views, (n, dim).
        z2: Projections of the second views, (n, dim).

    Returns:
        float32 (n, 2), rows that sum to 1: the share of the first and of the second view in the image's loss. Each
        image occurs twice, once as a reference, so shares are 0, 1/2 or 1.
    """
    z = torch.stack([z1, z2], dim=1).float()
    reference = z.roll(-1, dims=0)
    distance = (z[:, :, None] - reference[:, None, :]).norm(dim=3)  # (n, own view, reference's view)
    nearest = distance.flatten(1).argmin(dim=1)
    own, other = nearest // 2, nearest % 2
    one_hot = torch.eye(2, device=z.device)
    return (one_hot[own] + one_hot[other.roll(1)]) / 2
