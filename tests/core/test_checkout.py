"""Which commit of the package runs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from simsiam_retrieval.core import checkout


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_checkout_and_of_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "checkout" / "package"
    package.mkdir(parents=True)
    monkeypatch.setattr(checkout, "__file__", str(shutil.copy(checkout.__file__, package)))
    assert checkout.code_commit() is None  # no repository
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "somebody else's")
    assert checkout.code_commit() is None  # installed inside somebody else's
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "ours")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert checkout.code_commit() == commit and len(commit) == 40
    git(tmp_path, "tag", "v1")
    assert checkout.code_commit() == commit
    (package / "checkout.py").write_text("# changed\n")
    assert checkout.code_commit() == f"{commit}-dirty"
