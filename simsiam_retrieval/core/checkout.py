"""The git commit of this package, if it runs from a checkout."""

import subprocess
from pathlib import Path


def code_commit() -> str | None:
    """Return the commit of the checkout that this package runs from.

    Returns:
        The full commit hash, followed by "-dirty" if tracked files were changed; None outside a checkout.
    """
    package = Path(__file__).parent
    try:
        # a virtual environment inside another repository is not a checkout of this package
        _git(package, "ls-files", "--error-unmatch", Path(__file__).name)
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
