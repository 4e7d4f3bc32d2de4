"""Everything that wants a GPU, in the order of its worth, in pieces: ``gpu_set.py --data DATA --out OUT --minutes 9``.

Runs what is not done yet until the minutes are over, then stops; the same command goes on. Training is stopped as by
Ctrl-C and resumed from its checkpoint; anything else is only begun where its time is left, and repeated if it was cut.
``--list`` shows the pieces. Results and logs lie in OUT (``results/`` is what belongs into ``benchmarks/results/``).
DATA is as benchmarks/README.md describes it; a piece whose images are not there is left out, and said.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESERVE_SECONDS = 20  # to write a checkpoint and come to an end
GENERAL = ("imagenette-160/train", "caltech101-128", "imagenet-singles-160")
# lightly's settings for Imagenette, whose figure stands beside ours
IMAGENETTE = ["--image-size", "128", "--batch-size", "256", "--base-lr", "0.06", "--weight-decay", "5e-4"]
LABELLED = {
    "imagenette-160": ("train", "val"),
    "clothing-160": ("train", "test"),
    "fashion-mnist": ("train", "test"),
    "cifar10": ("train", "test"),
}


@dataclass(frozen=True)
class Step:
    """One command of a piece."""

    name: str
    command: list[str]
    minutes: float = 0  # that it needs; 0: it can be stopped and resumed at any time
    needs: tuple[Path, ...] = ()


class Pieces:
    """All steps, for one folder of data and one of results."""

    def __init__(self, data: Path, out: Path, epochs: int, cases: list[str]) -> None:
        self.data, self.out, self.epochs, self.cases = data, out, epochs, cases
        self.results = out / "results"

    def __iter__(self) -> Iterator[Step]:
        yield self._tests()
        yield from self._default_encoder()
        yield from self._own_folder()
        yield from self._known_figures()
        yield from self._speed()
        yield from self._tables()

    def _tests(self) -> Step:
        report = str(self.results / "gpu-tests.xml")
        return Step(
            "tests",
            [*_python("pytest"), "-o", "addopts=", "-m", "gpu", f"--junitxml={report}", str(HERE.parent / "tests")],
            4,
        )

    def _pretrain(self, name: str, folders: tuple[str, ...], *options: str) -> Step:
        needs = tuple(self.data / folder for folder in folders)
        fixed = ["--checkpoint-minutes", "1", "--cache", str(self.out / "cache")]
        command = [*_command("pretrain"), *map(str, needs), *fixed, "--out", str(self.out / name), *options]
        return Step(f"pretrain-{name}", command, 0, needs)

    def _probe(self, encoder: str, name: str, sets: list[str], *options: str) -> Iterator[Step]:
        """Features of a run, or an encoder's name, on labelled images."""
        subject = self.out / encoder
        for labelled in sets:
            train, test = (self.data / labelled / side for side in LABELLED[labelled])
            result = self.results / name / f"{labelled}.json"
            sides = ["--train", str(train), "--test", str(test), "--out", str(result)]
            yield Step(
                f"probe-{name}-{labelled}", [*_command("probe"), str(subject), *sides, *options], 3, (train, test)
            )

    def _default_encoder(self) -> Iterator[Step]:
        yield self._pretrain("general", GENERAL, *IMAGENETTE, "--epochs", str(self.epochs))
        held_out = self.data / "imagenette-160" / "val"
        files = ["--precision", "fp32,fp16,int8", "--held-out", str(held_out)]
        yield Step("export-general", [*_command("export"), str(self.out / "general"), *files], 4, (held_out,))
        # the one to ship: half whitened, as benchmarks/whitening.py recommends; int8 does not go with it
        whitened = self.out / "general" / "encoder_whitened.onnx"
        files = ["--precision", "fp16", "--whiten", "--whiten-power", "0.5", "--held-out", str(held_out)]
        files += ["--out", str(whitened)]
        yield Step("export-general-whitened", [*_command("export"), str(self.out / "general"), *files], 4, (held_out,))
        shots = ("--shots", "1,5,10,100")
        yield from self._probe("general", "default-encoder-features", list(LABELLED), *shots)
        yield from self._probe("general/encoder_whitened.onnx", "default-encoder", list(LABELLED), *shots)

    def _own_folder(self) -> Iterator[Step]:
        """What pretraining on one's own folder adds to the default encoder."""
        train = ("clothing-160/train",)
        own = ["--image-size", "128", "--batch-size", "128", "--base-lr", "0.06", "--weight-decay", "5e-4"]
        start = ["--init", str(self.out / "general")]
        yield self._pretrain("clothing-from-general", train, *own, *start, "--epochs", "200")
        yield self._pretrain("clothing-from-scratch", train, *own, "--epochs", "400")
        for name in ("clothing-from-general", "clothing-from-scratch"):
            yield from self._probe(name, name, ["clothing-160"])

    def _known_figures(self) -> Iterator[Step]:
        yield self._pretrain("imagenette-800", ("imagenette-160/train",), *IMAGENETTE, "--epochs", "800")
        yield from self._probe("imagenette-800", "imagenette-800", ["imagenette-160"])
        yield self._pretrain("cifar-800", ("cifar10/train",), "--recipe", "cifar")
        yield from self._probe("cifar-800", "cifar-800", ["cifar10"])

    def _speed(self) -> Iterator[Step]:
        images, small = self.data / "imagenette-160" / "train", self.data / "cifar10" / "train"
        for case in self.cases:
            out = self.results / "train-throughput" / f"{case}.json"
            options = ["--small-images", str(small), "--cases", case, "--out", str(out), "--seconds", "5"]
            command = [sys.executable, str(HERE / "train_throughput.py"), str(images), *options]
            yield Step(f"throughput-{case}", command, 5, (images, small))
        for millions in (1, 10):
            out, count = self.results / "search" / f"gpu-{millions}m.json", f"{millions}000000"
            yield Step(
                f"search-{millions}m", [sys.executable, str(HERE / "gpu_search.py"), str(out), "--counts", count], 6
            )
        out = self.results / "export-speed" / "gpu.json"
        yield Step("inference", [sys.executable, str(HERE / "gpu_inference.py"), str(out)], 6)

    def _tables(self) -> Iterator[Step]:
        data = self.data / "imagenette-160"
        for table in ("figure-2", "table-1", "symmetry", "table-4"):
            options = ["--data", str(data), "--scale", "imagenette", "--out", str(self.out / "reproduce")]
            yield Step(f"reproduce-{table}", [*_command("reproduce"), table, *options], 0, (data,))


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _command(name: str) -> list[str]:
    return _python(f"simsiam_retrieval.{name}")


def resumed(step: Step) -> list[str]:
    """A training command as it goes on: with ``--resume`` where the run has begun."""
    if "--out" not in step.command or not step.name.startswith("pretrain-"):
        return step.command
    run = Path(step.command[step.command.index("--out") + 1])
    if not (run / "checkpoint.pt").exists():
        shutil.rmtree(run, ignore_errors=True)  # cut before its first step
        return step.command
    return [*_command("pretrain"), "--resume", str(run), "--checkpoint-minutes", "1"]


def carry_out(step: Step, log: Path, deadline: float) -> int | None:
    """Its exit code; None where the time was over."""
    with log.open("ab") as file:
        process = subprocess.Popen(resumed(step), stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT)
        try:
            return process.wait(timeout=max(1.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT if step.minutes == 0 else signal.SIGTERM)
            try:
                code = process.wait(timeout=RESERVE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                code = process.wait()
            return 0 if code == 0 else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--epochs", type=int, default=400, help="of the default encoder")
    parser.add_argument("--only", nargs="*", help="pieces whose names begin so")
    parser.add_argument(
        "--cases", nargs="*", default=["resnet18-32", "resnet18-128", "resnet50-224"], help="throughput"
    )
    parser.add_argument("--list", action="store_true")
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes - RESERVE_SECONDS
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))

    done, logs = given.out / "done", given.out / "logs"
    steps = list(Pieces(given.data, given.out, given.epochs, given.cases))
    if given.only:
        steps = [step for step in steps if step.name.startswith(tuple(given.only))]
    if given.list:
        for step in steps:
            mark = "done" if (done / step.name).exists() else "    "
            print(f"{mark}  {step.name:40}  {'in parts' if not step.minutes else f'{step.minutes:g} min'}")
        return 0
    for folder in (done, logs, given.out / "results"):
        folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for step in steps:
        if (done / step.name).exists():
            continue
        missing = [str(path) for path in step.needs if not path.exists()]
        if missing:
            print(f"{step.name}: left out, {', '.join(missing)} is not there", flush=True)
            continue
        if time.monotonic() + max(30.0, 60 * step.minutes) > deadline:
            print(f"{step.name}: not enough time is left; the same command goes on", flush=True)
            return 3
        begun = time.monotonic()
        code = carry_out(step, logs / f"{step.name}.log", deadline)
        took = f"{(time.monotonic() - begun) / 60:.1f} min"
        if code is None:
            print(f"{step.name}: stopped after {took}; the same command goes on", flush=True)
            return 3
        if code:
            failed += 1
            print(f"{step.name}: failed with {code} after {took}, see {logs / step.name}.log", flush=True)
            continue  # what follows may not depend on it
        (done / step.name).touch()
        print(f"{step.name}: done in {took}", flush=True)
    print(f"{failed} pieces failed" if failed else "all pieces are done")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
