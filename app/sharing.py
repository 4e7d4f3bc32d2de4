"""What ``--share`` says and asks."""

import getpass
import secrets
import sys
from pathlib import Path

from simsiam_retrieval.collection import Collection
from simsiam_retrieval.core import cli
from simsiam_retrieval.core.errors import UserError

LETTERS = "abcdefghjkmnpqrstuvwxyz23456789"  # without those that look like others
SHORTEST = 8  # characters of a password that somebody thought of


def say_what_opens(collection: Collection, runs: Path, *, shared: bool = True, public: str | None = None) -> None:
    """Say on stderr what everybody with the password will be able to see and to do.

    Args:
        collection: The collection.
        runs: The folder of training runs.
        shared: Whether other machines reach this one directly.
        public: Address of the proxy in front, if there is one.
    """
    who = "--share lets every machine that can reach this one in" if shared else f"Whoever reaches {public} gets in"
    encrypted = "" if public and public.startswith("https:") and not shared else (
        " The connection is not encrypted: share in a network you trust."
    )  # fmt: skip
    cli.remark(
        f"{who}, with a password. Whoever has it sees all "
        f"{len(collection):,} images of {collection.folder}, their folders and names, and the training runs in {runs}; "
        f"and may do there what the pages can do.{encrypted}"
    )


def ask_password() -> str:
    """Ask for a password twice. Without a terminal, or for an empty answer, generate one and print it to stderr.

    Returns:
        The password.

    Raises:
        UserError: It is too short, or was typed differently.
    """
    typed = ""
    if sys.stdin is not None and sys.stdin.isatty():
        try:
            typed = getpass.getpass("Password (empty: one is made up): ", sys.stderr)
            if typed and len(typed) < SHORTEST:
                raise UserError(f"a password of {SHORTEST} characters or more, or none for one that is made up")
            if typed and getpass.getpass("Once more: ", sys.stderr) != typed:
                raise UserError("the two passwords differ; start again")
        except EOFError:
            typed = ""
    if typed:
        return typed
    made = random_password()
    cli.remark(f"password: {made}")
    return made


def random_password() -> str:
    """Generate a password of 59 random bits that can be read out to somebody.

    Returns:
        The password.
    """
    return "-".join("".join(secrets.choice(LETTERS) for _ in range(4)) for _ in range(3))
