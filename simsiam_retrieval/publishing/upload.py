"""A folder -> a model repository on the Hub: one commit or pull request, there whole or not at all. No torch.

Files go up before the commit and are kept by their checksum, so that a second attempt sends only what is missing.
"""

import contextlib
import fnmatch
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import UserError
from ..core.text import printable
from ..encoder.hub import hub_api, quiet_client, refusal
from .repository_folder import File

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ATTEMPTS = 3  # at the commit; the client itself tries again where files are sent
# files of an earlier model that would be wrong beside the new one
STALE = ("onnx/model*.onnx", ".eval_results/*.yaml", "curves.png")
EMPTY = frozenset({".gitattributes"})  # what the Hub puts into a new repository


@dataclass(frozen=True)
class Outcome:
    """What became of an upload."""

    url: str
    what: str  # in words
    revision: str | None = None  # under which it can be loaded; None: of the main branch


def check_name(repository: str) -> None:
    """Raise :class:`UserError` unless ``repository`` is OWNER/NAME as the Hub permits it."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if repository.count("/") != 1:
        raise UserError("name the repository as OWNER/NAME: letters, digits and - _ . between them")


def check_token() -> None:
    """Raise :class:`UserError` when nobody is logged in."""
    from huggingface_hub import get_token

    if not get_token():
        raise UserError("not logged in to the Hub; run: hf auth login (or set HF_TOKEN); --dry-run needs no login")


def upload(
    folder: Path,
    files: Sequence[File],
    repository: str,
    *,
    public: bool = False,
    replace: bool = False,
    title: str = "Publish an encoder",
    say: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Bring ``files`` of ``folder`` into ``repository``.

    A repository that does not exist is made, private unless ``public``, and one without files is filled. Where there
    are files the upload becomes a pull request; with ``replace`` it goes onto the main branch, provided that nobody
    changes that meanwhile. Nothing happens where the files are there already, or in an open pull request of this user.

    Raises :class:`UserError` when the Hub cannot be reached or does not permit it; the folder stays as it is.
    """
    with _explained(repository, folder), quiet_client():
        api = hub_api()
        user = str(api.whoami()["name"])
        head, there = _main_branch(api, repository)
        new = head is None
        if head is None:
            say(f"making the {'public' if public else 'private'} repository {repository}")
            api.create_repo(repository, private=not public)
            head, there = _main_branch(api, repository)
        direct = replace or not set(there) - EMPTY
        if public and not new:
            say("note: --public is for new repositories; this one stays as visible as it is")
        stale = _stale(there, files)
        for attempt in range(ATTEMPTS):
            found = _found(api, repository, user, folder, files, stale, direct=direct)
            if found is not None:
                return found
            try:
                return _commit(api, repository, folder, files, stale, head, title, direct=direct, new=new)
            except Exception as error:
                if attempt + 1 == ATTEMPTS or not _passing(error):
                    raise
                say("the Hub did not answer; trying again")
                time.sleep(2**attempt)
    raise AssertionError("unreachable")


def _main_branch(api: "HfApi", repository: str) -> tuple[str | None, dict[str, str]]:
    """The commit of the main branch and its files with their digests; (None, {}) where there is no repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        head = api.model_info(repository).sha
    except RepositoryNotFoundError:
        return None, {}
    return head, _digests(api, repository, str(head))


def _digests(api: "HfApi", repository: str, revision: str) -> dict[str, str]:
    """Path -> SHA-256 of a large file's content, or git's SHA-1 of a small one's."""
    from huggingface_hub.hf_api import RepoFile

    tree = api.list_repo_tree(repository, recursive=True, revision=revision)
    return {
        entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id for entry in tree if isinstance(entry, RepoFile)
    }


def _stale(there: dict[str, str], files: Sequence[File]) -> list[str]:
    kept = {file.path for file in files}
    return [path for path in there if path not in kept and any(fnmatch.fnmatch(path, name) for name in STALE)]


def _found(
    api: "HfApi", repository: str, user: str, folder: Path, files: Sequence[File], stale: list[str], *, direct: bool
) -> Outcome | None:
    """The upload itself, where it was done before: by an attempt whose answer was lost, or by the same command."""
    if _equal(_digests(api, repository, "main"), folder, files, stale):
        return Outcome(f"{api.endpoint}/{repository}", "there already; nothing to change")
    if direct:
        return None
    for request in api.get_repo_discussions(
        repository, author=user, discussion_type="pull_request", discussion_status="open"
    ):
        if _equal(_digests(api, repository, f"refs/pr/{request.num}"), folder, files, stale):
            url = f"{api.endpoint}/{repository}/discussions/{request.num}"
            return Outcome(url, "proposed already, waiting to be merged", f"refs/pr/{request.num}")
    return None


def _equal(there: dict[str, str], folder: Path, files: Sequence[File], stale: list[str]) -> bool:
    if any(path in there for path in stale):
        return False
    return all(there.get(file.path) in (file.sha256, _git_digest(folder / file.path)) for file in files)


def _git_digest(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _commit(
    api: "HfApi",
    repository: str,
    folder: Path,
    files: Sequence[File],
    stale: list[str],
    head: str | None,
    title: str,
    *,
    direct: bool,
    new: bool,
) -> Outcome:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    operations = [
        *(CommitOperationAdd(file.path, folder / file.path) for file in files),
        *(CommitOperationDelete(path) for path in stale),
    ]
    done = api.create_commit(
        repository, operations, commit_message=title, create_pr=not direct, parent_commit=head, num_threads=2
    )
    if not direct and done.pr_url is not None:
        return Outcome(done.pr_url, "proposed as a pull request; merge it on the Hub", done.pr_revision)
    return Outcome(f"{api.endpoint}/{repository}", "published" if new else "published on the main branch")


def _passing(error: Exception) -> bool:
    """Whether another attempt may go well."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError)


@contextlib.contextmanager
def _explained(repository: str, folder: Path) -> Iterator[None]:
    """Turn what goes wrong into one line, which says how to go on."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    # what the client raises has many roots, down to RuntimeError
    except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as caught:
        # a file that cannot be sent is a RuntimeError with the reason behind it
        error = caught.__cause__ if type(caught) is RuntimeError and caught.__cause__ is not None else caught
        if isinstance(error, errors.LocalTokenNotFoundError):
            reason = "not logged in to the Hub; run: hf auth login (or set HF_TOKEN)"
        elif isinstance(error, errors.HfHubHTTPError):
            reason = refusal(error)
        elif isinstance(error, errors.OfflineModeIsEnabled):
            reason = "the Hub's client is told to stay offline; unset HF_HUB_OFFLINE"
        elif isinstance(error, httpx2.TransportError):
            reason = f"cannot reach the Hub ({hub_api().endpoint}), or the connection broke off"
        else:
            reason = _without_token(f"the Hub refuses it ({' '.join(str(error).split())[:160]})")
        raise UserError(
            f"{repository}: {printable(reason)}. The files are in {folder}; the same command goes on from there"
        ) from None


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "…") if token else text
