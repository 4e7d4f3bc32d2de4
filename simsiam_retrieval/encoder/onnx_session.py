"""ONNX Runtime sessions: which device computes, and whether a GPU that was asked for does."""

import contextlib
import ctypes
import io
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import UserError

DEVICES = {"cpu": "CPU", "cuda": "GPU (CUDA)", "tensorrt": "GPU (TensorRT)"}
PROVIDERS = {"cuda": ["CUDAExecutionProvider"], "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}
HEAVY = ("Conv", "Gemm", "MatMul")  # operators that must run on the GPU


def check_device(device: str) -> None:
    """Check the value of ``--device``.

    Args:
        device: The value.

    Raises:
        UserError: It is unknown.
    """
    if device != "auto" and device not in DEVICES:
        raise UserError(f"--device {device}: choose auto, {', '.join(DEVICES)}")


def open_session(file: Path, content: bytes, device: str, threads: int | None) -> tuple[Any, str]:
    """Open an ONNX Runtime session.

    Args:
        file: The file's name, for messages.
        content: The model.
        device: See ``Encoder``.
        threads: Threads for one batch, or None.

    Returns:
        The session, and the device that computes.

    Raises:
        UserError: The model cannot be loaded, or the GPU that ``device`` requires is not used.
    """
    check_device(device)
    asked = device
    if device == "auto":
        device = "cuda" if gpu_present() else "cpu"
    session, reason = _try_session(file, content, device, threads)
    if device == "cpu" or reason is None:
        return session, device
    if asked == "auto":
        return _try_session(file, content, "cpu", threads)[0], "cpu"
    raise UserError(f"--device {device}: {reason}; leave it out, or check the GPU's libraries")


def _try_session(file: Path, content: bytes, device: str, threads: int | None) -> tuple[Any, str | None]:
    """Open a session; also return the reason if the GPU is not used."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # no logging to stderr: this module raises or checks the same problems
    if threads is not None:
        options.intra_op_num_threads = threads
    wanted = PROVIDERS.get(device, [])
    if wanted:
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds the CUDA libraries that pip installed
        if wanted[0] not in onnxruntime.get_available_providers():
            return None, f"this ONNX Runtime has no {wanted[0]}"
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        with _no_chatter(onnxruntime):  # also for damaged files
            session = onnxruntime.InferenceSession(content, options, providers=[*wanted, "CPUExecutionProvider"])
    # ONNX Runtime's exceptions have no common base class except Exception
    except Exception as error:  # noqa: BLE001
        reason = " ".join(str(error).split())[:120]
        if wanted:
            _try_session(file, content, "cpu", threads)  # raises if the file itself is damaged
            return None, f"ONNX Runtime fails there ({reason})"
        raise UserError(f"{file}: damaged, or not an ONNX model ({reason})") from None
    return session, unused(session, wanted[0]) if wanted else None


def unused(session: Any, provider: str) -> str | None:
    """Return why a provider does not compute the model.

    A registered provider proves nothing: operators that it lacks run on the CPU, with only a log line. So this checks
    on which device each operator was placed.

    Args:
        session: The session.
        provider: Name of the execution provider.

    Returns:
        The reason; None if the provider computes the model.
    """
    if provider not in session.get_providers():
        return "ONNX Runtime cannot use a GPU here"
    parts = session.get_provider_graph_assignment_info()
    placed = [(part.ep_name, node.op_type) for part in parts for node in part.get_nodes()]
    heavy = [name for name, operation in placed if operation in HEAVY]
    left = heavy.count("CPUExecutionProvider")
    if left or not any(name == provider for name, _ in placed):
        return (
            f"ONNX Runtime leaves {left or len(placed)} of {len(heavy or placed)} operations of this model to the CPU"
        )
    return None


@contextlib.contextmanager
def _no_chatter(onnxruntime: Any) -> Iterator[None]:
    """Suppress what ONNX Runtime prints and logs when a provider cannot be loaded; the problem is raised instead."""
    onnxruntime.set_default_logger_severity(4)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        onnxruntime.set_default_logger_severity(2)


def gpu_present() -> bool:
    """Return whether this machine has an NVIDIA GPU, without asking CUDA, which would take a second at every start.

    Returns:
        True if a device node exists, and always on Windows.
    """
    return any(Path(node).exists() for node in ("/dev/nvidia0", "/dev/dxg")) or os.name == "nt"


def return_freed_memory() -> None:
    """Return the memory that loading needed to the system: glibc would keep 100 MB in every process."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
