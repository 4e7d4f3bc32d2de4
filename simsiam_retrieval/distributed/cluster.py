"""A Ray cluster: an existing one, or one on this machine for the duration of a command."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..core.errors import UserError
from ..core.version import __version__
from ..images.worker_pool import available_cpus
from .actor import Counter, Embedder, EncoderCopy, packed
from .cluster_errors import cause, explained
from .pieces import Piece

OBJECT_STORE = 512 << 20  # bytes of shared memory for a cluster on this machine
CONNECT_SECONDS = 10
ROUND = 1000  # pieces that are given to Ray at once
LOOK_SECONDS = 0.5  # time between two queries of the progress
OWNER_FILE = "owner.lock"  # in Ray's folder, held by the process that started it
INSTALL = "pip install 'simsiam-retrieval[distributed]'"


class Cluster:
    """A connected cluster; ``connected`` creates it."""

    def __init__(self) -> None:
        import ray

        self._ray: Any = ray
        resources = ray.cluster_resources()
        self.cpus, self.gpus = max(1, int(resources.get("CPU", 1))), resources.get("GPU", 0.0)

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """Call a function for each item as Ray tasks.

        Args:
            function: A function of a module, or a partial of one.
            items: The items.

        Yields:
            The results, in order.
        """
        task = self._ray.remote(_call)
        shared = self._ray.put(function)
        ahead: deque[Any] = deque()
        with explained():
            for item in items:
                ahead.append(task.remote(shared, item))
                if len(ahead) >= 2 * self.cpus:
                    yield self._ray.get(ahead.popleft())
            while ahead:
                yield self._ray.get(ahead.popleft())

    def all_see(self, file: Path) -> bool:
        """Return whether every machine of the cluster sees a file.

        Args:
            file: The file.

        Returns:
            True if all see it under this name.
        """
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        there = self._ray.remote(_exists)
        machines = [node["NodeID"] for node in self._ray.nodes() if node["Alive"]]
        pinned = [NodeAffinitySchedulingStrategy(machine, soft=False) for machine in machines]
        with explained():
            return all(
                self._ray.get([there.options(num_cpus=0, scheduling_strategy=one).remote(str(file)) for one in pinned])
            )

    def embed(
        self,
        pieces: Sequence[Piece],
        collection: Path,
        encoder: str,
        *,
        device: str = "cpu",
        workers: int | None = None,
        num_gpus: float = 0,
        on_progress: Callable[[int], None] = lambda done: None,
        on_remark: Callable[[str], None] = lambda remark: None,
    ) -> Iterator[tuple[int, bytes]]:
        """Embed pieces. Ray restarts an actor that is lost, and repeats its piece.

        Args:
            pieces: The pieces.
            collection: The collection's folder.
            encoder: Identity of the collection's encoder.
            device: Device of the encoder.
            workers: Number of decoding processes on all machines together; None is one per CPU.
            num_gpus: GPUs of each actor.
            on_progress: Called from another thread, from time to time, with the number of finished images.
            on_remark: Called with messages.

        Yields:
            Number of the piece and bytes of its shard's file, as pieces are finished.

        Raises:
            UserError: A machine cannot work.
        """
        workers = workers or self.cpus
        actors = min(workers if num_gpus == 0 else int(self.gpus / num_gpus), len(pieces))
        if actors < 1:
            raise UserError(f"--num-gpus {num_gpus:g}: the cluster has {self.gpus:g} GPUs")
        each = 1 if num_gpus == 0 else max(1, min(workers, self.cpus) // actors)
        content = self._ray.put((collection / "encoder.onnx").read_bytes())
        counter = self._ray.remote(Counter).options(num_cpus=0, max_restarts=-1).remote()
        arguments = (__version__, EncoderCopy(collection, encoder, content), device, each, counter)
        resources: dict[str, Any] = {"num_cpus": each} | ({"num_gpus": num_gpus} if num_gpus else {})
        with _watched(self._ray, counter, on_progress), explained():
            for start in range(0, len(pieces), ROUND):
                numbers = range(start, min(start + ROUND, len(pieces)))
                rows = [{"number": number, "piece": packed(pieces[number])} for number in numbers]
                shards = self._ray.data.from_items(rows, override_num_blocks=len(rows)).map(
                    Embedder,
                    fn_constructor_args=arguments,
                    compute=self._ray.data.ActorPoolStrategy(
                        min_size=1,
                        max_size=actors,
                        initial_size=min(actors, len(rows), self.cpus),
                        max_tasks_in_flight_per_actor=2,
                    ),
                    **resources,
                )
                for row in shards.iter_rows():
                    if row["problem"]:
                        raise UserError(row["problem"])
                    yield row["number"], row["shard"]
            on_progress(sum(map(len, pieces)))
            if repeated := self._ray.get(counter.repeated.remote()):
                on_remark(f"shards that were begun again, since the process that made them was lost: {repeated}")


def remove_leftovers(above: Path) -> None:
    """Remove the folders that Ray had for processes which were killed: nobody holds their lock any more.

    Args:
        above: The folder that they are in.
    """
    for lock in above.glob(f"ray-*/{OWNER_FILE}"):
        with contextlib.suppress(OSError, Timeout):
            with FileLock(lock, timeout=0):
                pass
            shutil.rmtree(lock.parent, ignore_errors=True)


def _exists(file: str) -> bool:
    return os.path.exists(file)  # noqa: PTH110 -- of another machine


def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


@contextlib.contextmanager
def connected(address: str | None = None, cpus: int | None = None) -> Iterator[Cluster]:
    """Join a Ray cluster, or start one on this machine that ends with the block.

    Inside the block, Ray prints nothing, and nothing that is printed to stdout is visible.

    Args:
        address: ``HOST:PORT``, ``ray://HOST:PORT`` or ``auto``; None starts a cluster.
        cpus: Number of processes of a started cluster.

    Yields:
        The cluster.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be joined.
    """
    if address is not None:
        _check_address(address)
    # these must be set before Ray is imported
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # errors are raised anyway
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage data leaves the machine
    if address is None and "RAY_AUTH_TOKEN" not in os.environ:
        # other users of this machine can reach its ports; by default Ray would store a token in the home folder
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UserError(f"--engine ray: Ray is not installed ({error.name}); {INSTALL}") from None
    with contextlib.ExitStack() as stack:
        # Ray prints messages about lost workers to stdout, which is for results
        stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        options: dict[str, Any] = {"address": address}
        if address is None:
            folder = stack.enter_context(
                # a short path: it contains sockets, whose paths can have at most 107 bytes
                tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True)
            )
            remove_leftovers(Path(folder).parent)
            stack.enter_context(FileLock(Path(folder) / OWNER_FILE))  # ends with this process, however that ends
            options = {
                "address": "local",
                "num_cpus": cpus or available_cpus(),
                "object_store_memory": OBJECT_STORE,
                "include_dashboard": False,
                "_temp_dir": folder,
            }
        stack.callback(ray.shutdown)  # also if Ctrl-C comes during the start
        try:
            with _silent_stderr():
                ray.init(**options, log_to_driver=False, logging_level=logging.CRITICAL)
        # for a wrong address or version Ray raises ConnectionError, RuntimeError or ValueError
        except Exception as error:  # noqa: BLE001
            where = f"--address {address}: cannot join this Ray cluster" if address else "cannot start Ray here"
            raise UserError(f"{where} ({cause(error)})") from None
        settings = ray.data.DataContext.get_current()
        settings.enable_progress_bars = False
        settings.print_on_execution_start = False
        for handler in logging.getLogger("ray.data").handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setLevel(logging.CRITICAL)
        yield Cluster()


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Silence Ray's C++ messages about its own settings."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nothing:
            os.dup2(nothing.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _check_address(address: str) -> None:
    """Check the address first: Ray itself would try for a minute and then end the process."""
    if address == "auto":
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
            return
    except (ValueError, OverflowError):
        raise UserError(f"--address {address}: give HOST:PORT, ray://HOST:PORT or auto") from None
    except OSError as error:
        said = error.strerror or str(error)
        raise UserError(f"--address {address}: nobody answers there ({said}); is the cluster running?") from None


@contextlib.contextmanager
def _watched(ray: Any, counter: Any, on_progress: Callable[[int], None]) -> Iterator[None]:
    """Inside the block, call ``on_progress`` regularly with the counter's total."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            with contextlib.suppress(ray.exceptions.RayError):
                on_progress(ray.get(counter.total.remote(), timeout=10))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
