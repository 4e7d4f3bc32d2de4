"""What wants a GPU, in two commands of a few minutes that need nobody: ``gpu_set.py a|b --packs PACKS --out OUT``.

Written for a short lease of a bare machine: PyTorch, torchvision, timm, onnx, onnxscript and onnxruntime are there,
most other packages are not, and few small files come back. PACKS is what ``gpu_packs.py pack`` wrote.

- ``a`` (5 minutes): tests marked gpu; training speed beside the plain PyTorch loop, and lightly where it is installed;
  inference of PyTorch and ONNX Runtime; FAISS on the GPU where it is installed.
- ``b`` (8 minutes): an encoder trained on the packed images until the time is over, exported to ONNX.

Each step has its own limit, is cut when the time is over, and keeps what it wrote. OUT gets ``results-a.tar.gz`` or
``results-b.tar.gz`` (results, metrics, logs), and from ``b`` the weights in parts that ``gpu_packs.py join`` puts
together and checks. ``--toy`` runs everything at a size for a CPU, as a rehearsal.
"""

import argparse
import gzip
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from gpu_packs import split

HERE = Path(__file__).resolve().parent
END_SECONDS = 15  # to pack the results
EXPORT_SECONDS = 60  # kept free after the training
STOP_SECONDS = 20  # for a process that was asked to end
LARGEST_CHECKPOINT = 44 << 20  # all files that come back are 64 MiB at most
# the shipped encoder's recipe, at the larger size that a GPU allows
TRAINING = shlex.split(
    "--method simclr --backbone resnet18-3stages --image-size 64 --store-size 80 --min-scale 0.05 --batch-size 1024 "
    "--base-lr 0.1 --weight-decay 5e-4 --temperature 0.2 --projector-layers 2 --projector-hidden-dim 1024 "
    "--warmup-epochs 1"
)
TOY = shlex.split(
    "--image-size 32 --store-size 40 --batch-size 16 --projector-hidden-dim 32 --warmup-epochs 0 --min-scale 0.2"
)
FEATURES = "stage2@4x4,stage3@2x2,flip"


@dataclass(frozen=True)
class Step:
    """One command; ``seconds`` is the most that it may take."""

    name: str
    command: list[str]
    seconds: float


@dataclass
class Lease:
    """One call: what it reads, where it writes, and when it ends."""

    packs: Path
    out: Path
    ends: float  # by time.monotonic
    toy: bool
    device: str
    work: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="gpu-set-")))

    @property
    def results(self) -> Path:
        return self.work / "results"

    def left(self) -> float:
        return self.ends - time.monotonic()

    def carry_out(self, step: Step) -> bool:
        """Run one step and say how it ended; whether it ended by itself and well."""
        seconds = min(step.seconds, self.left())
        if seconds < 5:
            print(f"{step.name}: left out, no time is left", flush=True)
            return False
        log, begun = self.results / "logs" / f"{step.name}.log", time.monotonic()
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as file:
            process = subprocess.Popen(
                step.command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                cwd=self.work,
                start_new_session=True,
            )
            code = _ended(process, seconds)
        took = f"{time.monotonic() - begun:.0f} s"
        word = "done" if code == 0 else "stopped, its time was over" if code is None else f"failed with {code}"
        print(f"{step.name}: {word}, {took}", flush=True)
        if code != 0:
            print("    " + "\n    ".join(log.read_text(errors="replace").splitlines()[-8:]), flush=True)
        return code == 0

    def environment(self) -> dict[str, str]:
        """Commands find the package with export inside it, as an installation has it, and the tests."""
        paths = [str(self.work / "package"), str(HERE), os.environ.get("PYTHONPATH", "")]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}

    def lay_out(self) -> None:
        """Copy the package to where its parts stand as in an installation."""
        package = self.work / "package"
        unneeded = shutil.ignore_patterns("__pycache__")
        shutil.copytree(HERE.parent / "simsiam_retrieval", package / "simsiam_retrieval", ignore=unneeded)
        for part in ("export", "app"):
            shutil.copytree(HERE.parent / part, package / "simsiam_retrieval" / part, ignore=unneeded)
        shutil.copytree(HERE.parent / "tests", package / "tests", ignore=unneeded)
        shutil.copy(HERE.parent / "pyproject.toml", package)

    def unpack(self) -> Path:
        """The packed photos as files, for contenders that read files; returns their folder."""
        begun, folder = time.monotonic(), self.work / "photos"
        with tarfile.open(self.packs / "photos.tar.gz") as archive:
            archive.extractall(folder, filter="data")
        print(f"photos unpacked in {time.monotonic() - begun:.1f} s", flush=True)
        return folder

    def archives(self) -> list[Path]:
        """The packed images as plain tar archives, which ``pretrain`` reads."""
        begun, found = time.monotonic(), []
        for packed in sorted(self.packs.glob("*.tar.gz")):
            found.append(self.work / packed.stem)
            with gzip.open(packed) as source, found[-1].open("wb") as target:
                shutil.copyfileobj(source, target)
        print(f"{len(found)} archives unpacked in {time.monotonic() - begun:.1f} s", flush=True)
        return found

    def bring_back(self, name: str) -> None:
        """Pack results and logs into one file."""
        self.out.mkdir(parents=True, exist_ok=True)
        with tarfile.open(self.out / name, "w:gz") as archive:
            archive.add(self.results, arcname="results")


def _ended(process: subprocess.Popen, seconds: float) -> int | None:
    """The exit code; None where the time was over. Everything that the process started ends with it."""
    code = None
    for wait, ask in ((seconds, signal.SIGINT), (STOP_SECONDS, signal.SIGKILL), (STOP_SECONDS, None)):
        try:
            late, code = ask is not signal.SIGINT, process.wait(timeout=wait)
            break
        except subprocess.TimeoutExpired:
            if ask is not None:
                os.killpg(process.pid, ask)
    else:
        late = True
    return None if late and code != 0 else code


def first(lease: Lease) -> None:
    """Call a: does it work, and how fast is it?"""
    photos = lease.unpack()
    results, python = lease.results, sys.executable
    tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=", "-m", "gpu"]
    tests += ["--continue-on-collection-errors", f"--junitxml={results / 'gpu-tests.xml'}"]
    tests += [str(file) for file in sorted((lease.work / "package" / "tests").rglob("test_*.py")) if _marked(file)]
    cases = ["resnet18-64"] if lease.toy else ["resnet18-32-small-maps", "resnet18-64", "resnet18-128", "resnet50-224"]
    seconds = (
        ["--rounds", "1", "--seconds", "0.1", "--batch-size", "8"] if lease.toy else ["--rounds", "3", "--seconds", "2"]
    )
    speed = [python, str(HERE / "train_throughput.py"), str(photos), "--device", lease.device, *seconds]
    contenders = ["ours", "plain", *(["lightly"] if _there("lightly") else [])]
    speed += ["--cases", *cases, "--contenders", *contenders, "--out", str(results / "train-throughput.json")]
    inference = [python, str(HERE / "gpu_inference.py"), str(results / "inference.json"), "--device", lease.device]
    inference += [
        "--networks",
        "resnet18",
        "--rounds",
        "1" if lease.toy else "3",
        "--seconds",
        "0.05" if lease.toy else "1",
    ]
    inference += ["--size", "32", "--batches", "1", "2"] if lease.toy else ["--size", "224"]
    search = [python, str(HERE / "gpu_search.py"), str(results / "search.json"), "--device", lease.device]
    search += ["--rounds", "3", "--counts", "2000" if lease.toy else "1000000"]
    steps = [Step("tests", tests, 75), Step("training-speed", speed, 130), Step("inference", inference, 60)]
    if _there("faiss"):
        steps.append(Step("search", search, 60))
    else:
        print("search: left out, FAISS is not installed", flush=True)
    for step in steps:
        lease.carry_out(step)


def second(lease: Lease, options: list[str]) -> None:
    """Call b: an encoder, trained until the time is over."""
    run, results = lease.work / "encoder", lease.results
    archives = [str(archive) for archive in lease.archives()]
    training = lease.left() - EXPORT_SECONDS
    command = [
        sys.executable,
        "-m",
        "simsiam_retrieval.pretrain",
        *archives,
        "--out",
        str(run),
        "--device",
        lease.device,
    ]
    command += [*TRAINING, *(TOY if lease.toy else []), *options, "--checkpoint-minutes", "1"]
    if "--epochs" not in options:
        command += ["--minutes", f"{max(training - STOP_SECONDS, 5) / 60:.3f}"]
    lease.carry_out(Step("pretrain", command, training))
    if not (run / "checkpoint.pt").exists():
        return
    for name in ("config.json", "metrics.jsonl", "views.jpg"):
        if (run / name).exists():
            shutil.copy(run / name, results)
    export = [sys.executable, "-m", "simsiam_retrieval.export", str(run), "--precision", "fp16"]
    export += ["--features", FEATURES, "--out", str(run / "encoder.onnx")]
    lease.carry_out(Step("export", export, EXPORT_SECONDS))
    files = [run / "encoder.onnx"]
    if (run / "checkpoint.pt").stat().st_size <= LARGEST_CHECKPOINT:
        files.append(run / "checkpoint.pt")
    split([file for file in files if file.exists()], lease.out)


def _marked(file: Path) -> bool:
    """Whether a file of tests has some for a GPU; the others may ask for packages that are not there."""
    return "mark.gpu" in file.read_text(encoding="utf-8")


def _there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("call", choices=["a", "b"])
    parser.add_argument("--packs", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, help="of the whole call; by default 5 for a, 8 for b")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--toy", action="store_true", help="a size for a CPU")
    given, options = parser.parse_known_args()  # further options are pretrain's
    if options and given.call == "a":
        parser.error(f"unrecognized: {' '.join(options)}")
    minutes = given.minutes or {"a": 5, "b": 8}[given.call]
    lease = Lease(
        given.packs.resolve(), given.out.resolve(), begun + 60 * minutes - END_SECONDS, given.toy, given.device
    )
    lease.results.mkdir(parents=True)
    try:
        lease.lay_out()
        if given.call == "a":
            first(lease)
        else:
            second(lease, options)
    finally:
        lease.bring_back(f"results-{given.call}.tar.gz")
        shutil.rmtree(lease.work, ignore_errors=True)
    print(f"{time.monotonic() - begun:.0f} s in all", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
