"""The command ``app``, and that no page imports torch."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from simsiam_retrieval.app import (  # pyright: ignore[reportMissingImports]
    server,
)
from streamlit import config as streamlit_config

from simsiam_retrieval import UserError
from tests.conftest import Command
from tests.support.app_pages import MAIN, SECONDS, TRAINING


def test_streamlit_knows_the_options_and_reports_nothing() -> None:
    known = streamlit_config.get_config_options()
    assert set(server.OPTIONS) <= set(known)
    assert server.OPTIONS["browser.gatherUsageStats"] is False


def test_a_busy_port_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"in use; choose another with --port"):
            server.free_port(taken.getsockname()[1])
    assert server.free_port(0) > 0
    with pytest.raises(UserError, match="1 to 65535"):
        server.free_port(70000)


def test_bad_input_is_one_line_before_a_server_starts(
    run_command: Command, collection_dir: Path, tmp_path: Path
) -> None:
    for arguments, expected in (
        (["--collection", tmp_path / "none"], "not a collection"),
        ([], "nothing is indexed yet"),
        (["--collection", collection_dir, "--port", "70000"], "--port 70000"),
    ):
        done = run_command("app", *arguments, "--no-browser")
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: .*{expected}.*\n", done.stderr)


def test_help_does_not_wait_for_streamlit() -> None:
    code = (
        "import sys; from simsiam_retrieval.app import __main__ as command\n"
        "sys.argv = ['app', '--help']\n"
        "try: command.main()\n"
        "except SystemExit: print(sorted({'streamlit', 'numpy', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=SECONDS)
    assert "--no-browser" in done.stdout and done.stdout.endswith("[]\n")


def test_no_page_imports_torch(collection_dir: Path, run_folder: Path, photos: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from streamlit.testing.v1 import AppTest
from simsiam_retrieval.app import settings
settings.use(settings.Settings(Path({str(collection_dir)!r}), Path({str(run_folder.parent)!r})))
search = AppTest.from_file({str(MAIN)!r}, default_timeout={SECONDS}).run()
content = Path({str(photos / "fish" / "clownfish.jpg")!r}).read_bytes()
search.file_uploader[0].set_value(("x.jpg", content, "image/jpeg")).run()
training = AppTest.from_string({TRAINING!r}, default_timeout={SECONDS}).run()
assert search.get("bidi_component") and training.get("vega_lite_chart")
assert not search.exception and not training.exception
print(sorted({{"torch", "torchvision"}} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=2 * SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
