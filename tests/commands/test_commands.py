"""The list that ``python -m simsiam_retrieval`` prints is whole."""

import os
import pkgutil
import re
from pathlib import Path

import pytest

import simsiam_retrieval
from simsiam_retrieval.__main__ import COMMANDS


def test_every_command_is_listed() -> None:
    folder = Path(simsiam_retrieval.__file__).parent
    modules = [folder / f"{module.name}.py" for module in pkgutil.iter_modules([str(folder)]) if not module.ispkg]
    commands = {file.stem for file in modules if re.search(r"^def main\(", file.read_text(), re.M)}
    assert "pretrain" in commands and "hand_over" in commands
    assert (commands | {"app", "export"}) - {"__main__"} == set(COMMANDS)


def test_waiting_threads_sleep_unless_the_user_says_otherwise(run, monkeypatch: pytest.MonkeyPatch) -> None:
    for said, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
        if said is not None:
            monkeypatch.setenv("OMP_WAIT_POLICY", said)
        run("collections")
        assert os.environ["OMP_WAIT_POLICY"] == expected
