"""Every method in two processes must be what it is in one: same losses, weights, momentum encoders, queues, codes."""

from pathlib import Path

import pytest
import torch
from torch import nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.recipes import recipe
from simsiam_retrieval.training.torchrun_processes import ALONE, Processes
from tests.methods.test_methods import KINDS, step, tiny, views
from tests.support.two_processes import in_two_processes

STEPS = 4


def trained(name: str, processes: Processes) -> dict[str, torch.Tensor]:
    """State and mean losses after some steps in which each process sees its part of the batch."""
    model = tiny(name)
    network: nn.Module = processes.together(model, torch.device("cpu"))
    optimizer = torch.optim.SGD(model.parameter_groups(), lr=0.05, momentum=0.9)
    part, losses = processes.part(8), []
    for number in range(STEPS):
        now = step(number, ((torch.arange(8) + 8 * number) % 20)[part], total=STEPS)
        output = network(*(x[part] for x in views(number)), step=now)
        optimizer.zero_grad()
        output.loss.backward()
        model.before_update(now)
        optimizer.step()
        model.after_update(now)
        losses.append(processes.average(output.loss.detach().double()))
    return {
        **{f"{name} {key}": value for key, value in model.state_dict().items()},
        f"{name} loss": torch.stack(losses),
    }


def in_both(rank: int) -> dict[str, torch.Tensor]:
    both = Processes(rank=rank, local_rank=rank, count=2)
    return {key: value for name in KINDS for key, value in trained(name, both).items()}


def test_two_processes_are_one(tmp_path: Path) -> None:
    expected = {key: value for name in KINDS for key, value in trained(name, ALONE).items()}
    for found in in_two_processes(in_both, tmp_path):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5, msg=lambda text, key=key: key + text)


def test_moco_s_groups_divide_batch_and_processes() -> None:
    config = recipe("simsiam", "moco-v2")
    assert make_plan(config, 1000).batch_size == 128
    with pytest.raises(UserError, match=r"a batch of 100 images does not fall into 8 groups .* --batch-size 96 does"):
        make_plan(config, 100)
    with pytest.raises(UserError, match=r"8 groups .* do not divide among 16 processes"):
        make_plan(config, 1000, 16)
