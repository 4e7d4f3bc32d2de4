"""Which commit of this package runs, where it runs from a checkout."""

import subprocess
from pathlib import Path


def code_commit() -> str | None:
    """The commit's full name, with "-dirty" behind it where tracked files were changed; None outside a checkout."""
    package = Path(__file__).parent
    try:
        # an environment inside somebody else's repository is not a checkout of this package
        _git(package, "ls-files", "--error-unmatch", Path(__file__).name)
        return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
