"""Encoders on the Hugging Face Hub: ``hf://OWNER/NAME[@REVISION][/FILE]`` -> a verified file in the Hub's cache.

Only JSON and ONNX files are downloaded, and nothing is unpickled. Imports no torch.
"""

import contextlib
import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.atomic_files import parse_json
from ..core.errors import UserError
from ..core.text import printable
from ..core.version import __version__

if TYPE_CHECKING:
    from huggingface_hub import HfApi

PREFIX = "hf://"
SECTION = "simsiam_retrieval"  # this package's section of the repository's config.json
FORMAT = "simsiam-retrieval-hub/1"
DEFAULT_FILE = "onnx/model.onnx"
TIMEOUT = 10  # seconds to wait for the Hub's first answer; after that the cache is used


def hub_api() -> "HfApi":
    """Create the Hub's client, with server, token and cache from the user's environment and login.

    Returns:
        The client; ``HF_ENDPOINT`` sets the server.
    """
    from huggingface_hub import HfApi

    endpoint = os.environ.get("HF_ENDPOINT") or None
    return HfApi(endpoint=endpoint, library_name="simsiam-retrieval", library_version=__version__)


def fetch(reference: str) -> Path:
    """Download an encoder from the Hub, unless it is cached, and verify its checksum.

    All files come from one commit; ``source_of`` reads it from the path. A cached commit needs no network. If the Hub
    cannot be reached, the cached commit of a branch is used.

    Args:
        reference: ``hf://OWNER/NAME`` is the fp32 file of the main branch. ``@REVISION`` names a branch, tag, commit or
            pull request (``@refs/pr/1``). A path chooses another file (``/onnx/model_int8.onnx``).

    Returns:
        The ONNX file in the cache.

    Raises:
        UserError: There is no such encoder, the Hub cannot be reached, or the file does not match ``config.json``.
    """
    repo, revision, name = _parsed(reference)
    with _explained(reference), quiet_client():
        config_file = _download(repo, "config.json", revision)
        commit = config_file.parent.name
        files, default = _listing(reference, config_file)
        name = name or default
        if not name.endswith(".onnx"):
            raise UserError(f"{reference}: {printable(name)} is not an .onnx file; there are {_named(files)}")
        if name not in files:
            raise UserError(f"{reference}: no {printable(name)} in it; there are {_named(files)}")
        file = _download(repo, name, commit)
        _verify(reference, file, name, files[name])
    return file


def source_of(file: Path) -> str | None:
    """Return the reference of a file in the Hub's cache.

    Args:
        file: A path.

    Returns:
        ``hf://OWNER/NAME@COMMIT/FILE``, or None if the file is not in the Hub's cache.
    """
    parts = file.parts
    for at, part in enumerate(parts[:-2]):
        if part == "snapshots" and at and parts[at - 1].startswith("models--"):
            owner_and_name = parts[at - 1].removeprefix("models--").replace("--", "/")
            return f"{PREFIX}{owner_and_name}@{parts[at + 1]}/{'/'.join(parts[at + 2 :])}"
    return None


def _parsed(reference: str) -> tuple[str, str, str]:
    from huggingface_hub.errors import HfUriError
    from huggingface_hub.utils import parse_hf_uri

    try:
        uri = parse_hf_uri(reference)
    except HfUriError:
        uri = None
    if uri is None or uri.type != "model" or ".." in uri.path_in_repo.split("/"):
        raise UserError(
            f"{reference}: not a model on the Hub; write hf://OWNER/NAME, hf://OWNER/NAME@REVISION"
        ) from None
    if uri.revision and uri.path_in_repo and not uri.path_in_repo.endswith(".onnx"):
        return uri.id, f"{uri.revision}/{uri.path_in_repo}", ""  # no file of ours, so a branch with slashes in its name
    return uri.id, uri.revision or "main", uri.path_in_repo


def _download(repo: str, name: str, revision: str) -> Path:
    """A file in the Hub's cache. If the Hub cannot be asked about the revision, the cached one."""
    import httpx2
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.constants import is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError

    cached = try_to_load_from_cache(repo, name, revision=revision)
    known = Path(cached) if isinstance(cached, str) else None
    if known is not None and known.parts[-1 - len(Path(name).parts)] == revision:
        return known  # a commit does not change
    api = hub_api()
    try:
        # ask first: without a network the client itself tries for half a minute
        if not is_offline_mode():
            api.model_info(repo, revision=revision, timeout=TIMEOUT)
        return Path(api.hf_hub_download(repo, name, revision=revision, local_files_only=is_offline_mode()))
    except httpx2.TransportError:
        if known is None:
            raise
    except HfHubHTTPError as error:
        if known is None or error.response.status_code < 500:
            raise
    return known


def _listing(reference: str, config_file: Path) -> tuple[dict[str, str], str]:
    """Paths and SHA-256 digests of the encoders in ``config.json``, and the path of the default encoder."""
    try:
        section = parse_json(config_file.read_text(encoding="utf-8"))[SECTION]
        files = {str(name): str(digest) for name, digest in section["files"].items() if name.endswith(".onnx")}
        default = str(section.get("default", DEFAULT_FILE))
        if not all(map(_is_inside, (*files, default))):
            raise UserError(f"{reference}: its config.json names files outside the repository; do not use it")
        if section["format"] == FORMAT and files:
            return files, default
        raise UserError(f"{reference}: its config.json has another format ({section['format']}); upgrade this package")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{reference}: not an encoder that this package published (by its config.json)") from None


def _is_inside(name: str) -> bool:
    """Whether this can be the path of a file in the repository."""
    parts = name.replace("\\", "/").split("/")
    return name.isprintable() and ":" not in name and all(part not in ("", ".", "..") for part in parts)


def _verify(reference: str, file: Path, name: str, expected: str) -> None:
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected:
        cache = file.parents[len(Path(name).parts) + 1]
        raise UserError(
            f"{reference}: {name} is not what config.json says (SHA-256 {found[:12]}, not {expected[:12]}); "
            f"delete {cache} and load it again, or ask its owner"
        )


def _named(files: dict[str, str]) -> str:
    return printable(", ".join(sorted(files)))


@contextlib.contextmanager
def _explained(reference: str) -> Iterator[None]:
    """Turn the client's errors into one line."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except errors.GatedRepoError:
        raise UserError(f"{reference}: its owner asks for consent; agree on its page, then: hf auth login") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{reference}: not on the Hub, or private; check the name, and for a private one: hf auth login"
        ) from None
    except errors.RevisionNotFoundError:
        raise UserError(f"{reference}: no such revision; name a branch, a tag or a commit") from None
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise UserError(
                f"{reference}: not in the cache, and the Hub cannot be asked; try again with a network"
            ) from None
        raise UserError(f"{reference}: not an encoder that this package published (a file is missing)") from None
    except errors.HfHubHTTPError as error:
        raise UserError(f"{reference}: {refusal(error)}") from None
    except (httpx2.TransportError, errors.OfflineModeIsEnabled):
        raise UserError(f"{reference}: cannot reach the Hub ({hub_api().endpoint}), and it is not cached") from None
    except OSError as error:
        raise UserError(f"{reference}: cannot be downloaded ({error.strerror or 'it broke off'}); try again") from None


def refusal(error: Any) -> str:
    """Explain the Hub's HTTP status to the user.

    Args:
        error: The client's ``HfHubHTTPError``.

    Returns:
        What is wrong and what to do.
    """
    status = error.response.status_code
    known = {
        401: "the Hub does not accept your token; log in again with: hf auth login (or set HF_TOKEN)",
        403: "you may not write there; check the owner's name, and that your token has write access",
        409: "the name is taken, or somebody is changing it; choose another name, or try again",
        412: "somebody changed it meanwhile; run it again",
        413: "too large for the Hub",
        429: "the Hub asks for a pause; run it again later",
    }
    if status >= 500:
        return f"the Hub has a problem (status {status}); run it again later"
    return known.get(status, f"the Hub refuses it (status {status})")


@contextlib.contextmanager
def quiet_client() -> Iterator[None]:
    """Suppress the client's warnings; also its progress bars if stderr is no terminal.

    Yields:
        None.
    """
    from huggingface_hub import logging as client_logging
    from huggingface_hub.utils import disable_progress_bars

    level, terminal = client_logging.get_verbosity(), sys.stderr is not None and sys.stderr.isatty()
    client_logging.set_verbosity(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            contextlib.nullcontext() if terminal else disable_progress_bars(),
        ):
            yield
    finally:
        client_logging.set_verbosity(level)
