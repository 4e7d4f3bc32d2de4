"""What all tests share: one tiny run, its encoder and a collection, made once; commands in a subprocess."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from filelock import FileLock

from tests.support.commands import Run, runner
from tests.support.small_encoder import paint

HOME = "SIMSIAM_RETRIEVAL_HOME"
COMMAND_SECONDS = 300

# The networks here are tiny: threads waiting for each other cost more than they give, most on a busy machine.
# Set before anything imports torch, and inherited by commands; it also keeps sums in one order, run after run.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what this machine cannot show."""
    if any("gpu" in item.keywords for item in items):
        import torch

        if not torch.cuda.is_available():
            _skip(items, "gpu", "needs a CUDA device")
    if shutil.which("chromium") is None:
        _skip(items, "browser", "needs Chromium")


def _skip(items: list[pytest.Item], marker: str, reason: str) -> None:
    for item in items:
        if item.get_closest_marker(marker) is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _home_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Session fixtures, too, stay out of the user's data directory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME, str(tmp_path_factory.mktemp("session-home")))
        yield


@pytest.fixture(autouse=True)
def home_dir(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, _home_of_the_session: None
) -> Path:
    """An empty data directory for each test, outside its ``tmp_path``."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv(HOME, str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_workers_unless_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test does not say how many worker processes, there are none: starting one takes longer than its work."""
    from simsiam_retrieval.images import worker_pool

    monkeypatch.setattr(worker_pool, "default_workers", lambda: 0)


@pytest.fixture
def each_chunk_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates store each chunk in a transaction of its own, instead of a second's work."""
    from simsiam_retrieval.collection.update import catalog_entries

    monkeypatch.setattr(catalog_entries, "BATCH_SECONDS", 0.0)


@pytest.fixture(scope="session")
def photos() -> Path:
    """The shipped example photos; read only."""
    from simsiam_retrieval.core.example_photos import example_photos

    return example_photos()


MadeOnce = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """``made_once(name, make)``: what ``make(path)`` leaves at ``path``, once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent

    def once(name: str, make: Callable[[Path], object]) -> Path:
        path, flat = shared / name, name.replace("/", "-")
        done = shared / f"{flat}.made"
        with FileLock(shared / f"{flat}.lock"):
            if not done.exists():
                if path.exists():  # another worker failed to make it
                    shutil.rmtree(path)
                path.parent.mkdir(exist_ok=True)
                make(path)
                done.touch()
        return path

    return once


@pytest.fixture(scope="session")
def few_photos(photos: Path, made_once: MadeOnce) -> Path:
    """Two example photos of each kind, 38 in all, in folders as the originals; read only."""

    def make(folder: Path) -> None:
        for kind in sorted(path for path in photos.iterdir() if path.is_dir()):
            (folder / kind.name).mkdir(parents=True)
            for photo in sorted(kind.glob("*.jpg"))[:2]:
                shutil.copy(photo, folder / kind.name)

    return made_once("few-photos", make)


@pytest.fixture(scope="session")
def run_dir(few_photos: Path, made_once: MadeOnce) -> Path:
    """A finished run of two epochs (four steps) of a ResNet-18 at 32 px on ``few_photos``, and its fp32
    ``encoder.onnx``, which few tests can do without; read only.
    """

    def make(run: Path) -> None:
        from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]

        from simsiam_retrieval.training.config import Config
        from simsiam_retrieval.training.run_options import Options
        from simsiam_retrieval.training.trainer import pretrain

        config = Config(image_size=32, batch_size=16, epochs=2, projector_dim=64, predictor_dim=32)
        assert pretrain(config, [few_photos], Options(out=run, device="cpu", workers=0))
        export_run(run, run / "encoder.onnx")

    return made_once("runs/tiny", make)


@pytest.fixture(scope="session")
def encoder_file(run_dir: Path) -> Path:
    """The fp32 ``encoder.onnx`` of ``run_dir``, in its place there; read only."""
    return run_dir / "encoder.onnx"


@pytest.fixture(scope="session")
def collection_dir(photos: Path, encoder_file: Path, made_once: MadeOnce) -> Path:
    """A collection of all example photos, made with ``encoder_file``; read only: copy it to change it."""

    def make(folder: Path) -> None:
        from simsiam_retrieval.collection.update.index_folders import index_folders

        update = index_folders([photos], folder, str(encoder_file), workers=0)
        assert update.finished and not update.failed

    return made_once("collections/photos", make)


@pytest.fixture(scope="session")
def published_run(run_dir: Path, encoder_file: Path, few_photos: Path, made_once: MadeOnce) -> Path:
    """A copy of the tiny run as it is before publishing: fp32, fp16 and int8 encoders and a probe; read only."""

    def make(run: Path) -> None:
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from simsiam_retrieval.export.export_run import export_run  # pyright: ignore[reportMissingImports]

        from simsiam_retrieval.evaluation.labelled import labelled_files
        from simsiam_retrieval.evaluation.probe_reports import save_report
        from simsiam_retrieval.evaluation.run_probe import run_probe

        shutil.copytree(run_dir, run, ignore=shutil.ignore_patterns(".lock", "eval"))
        export_run(run, run / "encoder_fp16.onnx", precision="fp16")
        graph = onnx.load(encoder_file)
        properties = {entry.key: entry.value for entry in graph.metadata_props}
        del graph.opset_import[1:]  # the quantiser insists on one
        quantize_dynamic(graph, run / "encoder_int8.onnx", weight_type=QuantType.QUInt8)
        quantised = onnx.load(run / "encoder_int8.onnx")  # without the metadata, and so no encoder of this package yet
        onnx.helper.set_model_props(quantised, properties)
        onnx.save(quantised, run / "encoder_int8.onnx")
        labelled = labelled_files(few_photos, None)
        save_report(run, run_probe(run, labelled, labelled, cached=False, workers=0)[0])

    return made_once("published/tiny", make)


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run_command(tmp_path: Path) -> Command:
    """``run_command(name, *args, **env)`` runs ``python -m simsiam_retrieval.NAME ARGS`` in ``tmp_path``."""

    def run(name: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", f"simsiam_retrieval.{name}", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "120", **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    return run


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(tmp_path, capsys, monkeypatch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with five pictures, one of them in a subfolder."""
    root = tmp_path / "pictures"
    for number, name in enumerate(["a.jpg", "b.jpg", "c.jpg", "d.jpg", "sub/e.jpg"]):
        paint(root / name, number)
    return root


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """An empty folder that every user can reach; ``tmp_path`` can only be reached by its owner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def unprivileged() -> Callable[[], AbstractContextManager[None]]:
    """``with unprivileged():`` file permissions count, even where the tests run as root."""

    @contextmanager
    def nobody() -> Iterator[None]:
        if os.getuid() != 0:
            yield
            return
        os.setresuid(65534, 65534, 0)
        try:
            yield
        finally:
            os.setresuid(0, 0, 0)

    return nobody
