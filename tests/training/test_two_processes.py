"""Two processes must be one: same statistics, gradients, weights; a lost process costs no finished work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.data_split import make_plan
from simsiam_retrieval.training.sync_batch_norm import GlobalBatchNorm, synchronise
from simsiam_retrieval.training.torchrun_processes import ALONE, Processes
from tests.support.commands import Run
from tests.support.two_processes import in_two_processes

# in float32, where equality can be told from rounding
TINY = (
    *("--recipe", "simsiam", "--image-size", 24, "--batch-size", 8, "--projector-dim", 64, "--predictor-dim", 32),
    *("--workers", 0, "--device", "cpu", "--no-bfloat16"),
)
# two epochs of four steps; a checkpoint after every step
EIGHT_STEPS = (*TINY, "--epochs", 2, "--checkpoint-minutes", 0)


def launch(cwd: Path, *arguments: object, restarts: int = 0) -> subprocess.Popen[str]:
    """``pretrain`` in two processes, as a user would start them."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("--max-restarts", str(restarts), "-m", "simsiam_retrieval.pretrain"),
            *map(str, arguments),
        ],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # its workers, too
        raise
    return process.returncode, out, err


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoint.pt", weights_only=True)["model"]


@pytest.fixture(scope="module")
def undisturbed(few_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of ``EIGHT_STEPS`` in two processes; read only."""
    folder = tmp_path_factory.mktemp("two")
    code, out, err = finish(launch(folder, few_photos, "--out", "two", *EIGHT_STEPS))
    assert code == 0, err
    assert out == "two\n"  # said once
    assert err.count("in 2 processes, 4 images each") == 1
    return folder / "two"


def network() -> nn.Sequential:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4 * 6 * 6, 5, bias=False),
        nn.BatchNorm1d(5, affine=False),
    )
    for parameter in model[1].parameters():
        nn.init.uniform_(parameter)
    return model


def images() -> torch.Tensor:
    # far from zero mean, where E[x^2] - E[x]^2 would lose its digits
    return 30 + torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2))


def measured(model: nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    y = model(x)
    y.pow(3).mean().backward()
    gradients = {f"grad {name}": p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**gradients, **{name: b.clone() for name, b in model.named_buffers()}, "y": y.detach()}


def half(rank: int) -> dict[str, torch.Tensor]:
    model = synchronise(network(), torch.device("cpu"))
    assert sum(isinstance(module, GlobalBatchNorm) for module in model.modules()) == 2
    alone = {"y": measured(model.eval(), images())["y"]}  # eval mode needs no other process
    model.train().zero_grad()
    both = Processes(rank=rank, local_rank=rank, count=2)
    result = measured(nn.parallel.DistributedDataParallel(model, forward_sync_buffers=False), images()[both.part(6)])
    return {**{name.replace("module.", ""): tensor for name, tensor in result.items()}, "eval y": alone["y"]}


def test_bn_and_gradients_over_two_processes_are_those_of_one(tmp_path: Path) -> None:
    """Against torch's own BN in one process."""
    expected = measured(network().train(), images())
    model = network().eval()
    expected_eval = model(images()).detach()
    parts = in_two_processes(half, tmp_path)
    for rank, part in enumerate(parts):
        torch.testing.assert_close(part.pop("y"), expected["y"][3 * rank : 3 * rank + 3], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(part.pop("eval y"), expected_eval)
        assert set(part) == set(expected) - {"y"}
        for name, tensor in part.items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


def talk(rank: int) -> dict[str, torch.Tensor]:
    both = Processes(rank=rank, local_rank=rank, count=2)
    entered = []
    with both.one_by_machine() as leads:
        time.sleep(0.2 if leads else 0)
        entered.append(time.monotonic())
    return {
        "average": both.average(torch.tensor([1.0, 10.0]) * (rank + 1)),
        "any": torch.tensor(both.any(rank == 0, False, rank == 1)),
        "from first": torch.tensor(both.from_first([3, 4][rank])),
        "entered": torch.tensor(entered, dtype=torch.float64),
    }


def test_processes_agree(tmp_path: Path) -> None:
    first, second = in_two_processes(talk, tmp_path)
    for part in (first, second):
        assert part["average"].tolist() == [1.5, 15.0]
        assert part["any"].tolist() == [True, False, True]
        assert part["from first"].item() == 3
    assert first["entered"].item() <= second["entered"].item()


def test_alone_nothing_is_asked() -> None:
    assert ALONE.first and ALONE.part(7) == slice(0, 7)
    assert ALONE.any(True, False) == [True, False]
    assert ALONE.from_first("x") == "x"
    model = nn.Linear(1, 1)
    assert ALONE.together(model, torch.device("cpu")) is model


@pytest.mark.parametrize(("images", "processes"), [(100, 3), (10, 4)])
def test_a_batch_that_does_not_divide(images: int, processes: int) -> None:
    config = Config(batch_size=64)
    with pytest.raises(UserError, match="does not divide among"):
        make_plan(config, images, processes)
    fitting = make_plan(Config(batch_size=processes * 2), images, processes)
    assert fitting.batch_size == processes * 2


def test_two_processes_equal_one(undisturbed: Path, few_photos: Path, tmp_path: Path, run: Run) -> None:
    """``--batch-size`` is of all processes together: same images, views, BN statistics, steps."""
    one = run("pretrain", few_photos, "--out", "one", *EIGHT_STEPS)
    assert one.returncode == 0, one.stderr
    first, second = weights(tmp_path / "one"), weights(undisturbed)
    assert list(first) == list(second)
    before = fresh()
    assert step_of(tmp_path / "one" / "checkpoint.pt") == 8
    moved = {name: (tensor - before[name]).norm() for name, tensor in first.items() if "num_batches" not in name}
    for name, distance in moved.items():
        assert (second[name] - first[name]).norm() <= 0.01 * distance + 1e-5, name
    assert moved["projector.0.weight"] > 0.01  # or equality would say nothing
    rows = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "one", undisturbed)
    ]
    assert rows[1][-1]["step"] == rows[0][-1]["step"] == 8
    assert rows[1][-1]["rankme"] == pytest.approx(rows[0][-1]["rankme"], rel=1e-2)


def fresh() -> dict[str, torch.Tensor]:
    from simsiam_retrieval.training.build_model import build_model

    torch.manual_seed(0)
    return build_model(Config(projector_dim=64, predictor_dim=32)).state_dict()


def test_a_lost_process_costs_no_finished_work(undisturbed: Path, few_photos: Path, tmp_path: Path) -> None:
    """SIGKILL one of two on the way: the launcher starts both anew, and the end is an undisturbed run's."""
    process = launch(tmp_path, few_photos, "--out", "hit", *EIGHT_STEPS, restarts=1)
    checkpoint, deadline = tmp_path / "hit" / "checkpoint.pt", time.monotonic() + 200
    while not checkpoint.exists() or step_of(checkpoint) < 2:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(workers_of(process.pid)[-1], signal.SIGKILL)
    assert 2 <= step_of(checkpoint) < 8  # where they will go on
    code, out, err = finish(process)
    assert code == 0, err
    assert out.count("hit\n") == 1
    assert "go on" not in err
    assert step_of(checkpoint) == 8
    expected, hit = weights(undisturbed), weights(tmp_path / "hit")
    assert all(torch.equal(expected[name], hit[name]) for name in expected)
    steps = [json.loads(line)["step"] for line in (tmp_path / "hit" / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(set(steps)) and steps[-1] == 8


def step_of(checkpoint: Path) -> int:
    return torch.load(checkpoint, weights_only=True)["step"]


def workers_of(launcher: int) -> list[int]:
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(child) for child in children if b"simsiam_retrieval" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_asked_to_stop_both_stop_with_one_checkpoint(few_photos: Path, tmp_path: Path) -> None:
    process = launch(tmp_path, few_photos, "--out", "run", "--epochs", 400, "--checkpoint-minutes", 0, *TINY)
    checkpoint, deadline = tmp_path / "run" / "checkpoint.pt", time.monotonic() + 200
    while not checkpoint.exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, out, err = finish(process)
    assert "stopped; go on with: python -m simsiam_retrieval.pretrain --resume run" in err
    assert out == "run\n"
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 1 <= step < 800


def test_bad_input_is_one_line_each(tmp_path: Path, few_photos: Path) -> None:
    code, out, err = finish(launch(tmp_path, few_photos, "--out", "run", *TINY, "--batch-size", 15))
    assert code != 0 and out == ""
    assert "error: a batch of 15 images does not divide among 2 processes; --batch-size 14 does" in err
    assert "Error: " not in err.replace("ChildFailedError: ", "")
    assert not (tmp_path / "run").exists()


def test_restarts_on_several_machines_are_refused_where_torchrun_would_hang(run_command, few_photos: Path) -> None:
    machines = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2"}
    launcher = {"TORCHELASTIC_RUN_ID": "a", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "1"}
    done = run_command("pretrain", few_photos, "--out", "run", *TINY, **machines, **launcher)
    assert done.returncode == 2
    assert "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in done.stderr and done.stderr.count("\n") == 1
