"""Uploading a folder to a model repository of the Hub, as one commit or pull request. Imports no torch.

Files are uploaded before the commit, and the Hub keeps them by checksum. A second attempt therefore sends only the
missing files.
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

ATTEMPTS = 3  # attempts at the commit; the client itself repeats failed file transfers
# files of an earlier model that would be wrong together with the new one
STALE = ("onnx/model*.onnx", ".eval_results/*.yaml", "curves.png")
EMPTY = frozenset({".gitattributes"})  # files that the Hub puts into a new repository


@dataclass(frozen=True)
class Outcome:
    """The result of an upload.

    Attributes:
        url: Address of the repository or the pull request.
        what: What was done, in words.
        revision: Revision to load it with; None for the main branch.
    """

    url: str
    what: str
    revision: str | None = None


def check_name(repository: str) -> None:
    """Check that a repository's name is OWNER/NAME as the Hub permits it.

    Args:
        repository: The name.

    Raises:
        UserError: It is not.
    """
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repository)
    except HFValidationError:
        repository = ""
    if repository.count("/") != 1:
        raise UserError("name the repository as OWNER/NAME: letters, digits and - _ . between them")


def check_token() -> None:
    """Check that the user is logged in to the Hub.

    Raises:
        UserError: No token is stored.
    """
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
    """Upload the files of a folder to a repository.

    - If the repository does not exist, it is created, private unless ``public``.
    - If the repository is empty, the files go to the main branch.
    - If it contains files, the upload becomes a pull request. With ``replace`` it goes to the main branch, unless
      somebody changed that in the meantime.
    - If the same files are there already, or in an open pull request of this user, nothing is done.

    Args:
        folder: The folder.
        files: Its files.
        repository: OWNER/NAME.
        public: Whether a new repository is public.
        replace: Whether to write to the main branch of a repository that contains files.
        title: Title of the commit or pull request.
        say: Called with progress messages.

    Returns:
        What was done.

    Raises:
        UserError: The Hub cannot be reached, or does not permit it. The folder stays as it is.
    """
    with _explained(repository, folder), quiet_client():
        api = hub_api()
        user = str(api.whoami()["name"])
        head, there = _main_branch(api, repository)
        new = head is None
        if head is None:
            say(f"creating the {'public' if public else 'private'} repository {repository}")
            api.create_repo(repository, private=not public)
            head, there = _main_branch(api, repository)
        direct = replace or not set(there) - EMPTY
        if public and not new:
            say("note: --public applies to new repositories only; the visibility of this one is unchanged")
        stale = _stale(there, files)
        for attempt in range(ATTEMPTS):
            found = _found(api, repository, user, folder, files, stale, direct=direct)
            if found is not None:
                return found
            try:
                return _commit(api, repository, folder, files, stale, head, title, direct=direct, new=new)
            except Exception as error:
                if attempt + 1 == ATTEMPTS or not _is_transient(error):
                    raise
                say("the Hub did not answer; trying again")
                time.sleep(2**attempt)
    raise AssertionError("unreachable")


def _main_branch(api: "HfApi", repository: str) -> tuple[str | None, dict[str, str]]:
    """The commit of the main branch, and its files with their digests; (None, {}) if there is no repository."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        head = api.model_info(repository).sha
    except RepositoryNotFoundError:
        return None, {}
    return head, _digests(api, repository, str(head))


def _digests(api: "HfApi", repository: str, revision: str) -> dict[str, str]:
    """Map each path to the SHA-256 of a large file, or to the git SHA-1 of a small one."""
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
    """Find the same upload done earlier: by an attempt whose answer was lost, or by the same command."""
    if _equal(_digests(api, repository, "main"), folder, files, stale):
        return Outcome(f"{api.endpoint}/{repository}", "uploaded already; nothing to change")
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


def _is_transient(error: Exception) -> bool:
    """Whether another attempt may succeed."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    return isinstance(error, httpx2.TransportError)


@contextlib.contextmanager
def _explained(repository: str, folder: Path) -> Iterator[None]:
    """Turn exceptions into one line that says how to continue."""
    import httpx2
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    # the client's exceptions have many base classes, even RuntimeError
    except (httpx2.HTTPError, OSError, ValueError, RuntimeError) as caught:
        # a failed file transfer is a RuntimeError; its cause is the reason
        error = caught.__cause__ if type(caught) is RuntimeError and caught.__cause__ is not None else caught
        if isinstance(error, errors.LocalTokenNotFoundError):
            reason = "not logged in to the Hub; run: hf auth login (or set HF_TOKEN)"
        elif isinstance(error, errors.HfHubHTTPError):
            reason = refusal(error)
        elif isinstance(error, errors.OfflineModeIsEnabled):
            reason = "HF_HUB_OFFLINE keeps the Hub's client offline; unset it"
        elif isinstance(error, httpx2.TransportError):
            reason = f"cannot reach the Hub ({hub_api().endpoint}), or the connection broke off"
        else:
            reason = _without_token(f"the Hub refuses it ({' '.join(str(error).split())[:160]})")
        raise UserError(
            f"{repository}: {printable(reason)}. The files are in {folder}; run the same command to continue"
        ) from None


def _without_token(text: str) -> str:
    from huggingface_hub import get_token

    token = get_token()
    return text.replace(token, "…") if token else text
