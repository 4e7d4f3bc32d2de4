"""A folder of everything that is no picture: one line each, and the pictures among it are found."""

from pathlib import Path

from simsiam_retrieval import Collection
from tests.support.broken_files import USABLE, make_broken_files
from tests.support.commands import Run
from tests.support.small_encoder import small_encoder


def test_broken_files(run: Run, tmp_path: Path) -> None:
    folder, made = tmp_path / "broken", tmp_path / "made"
    expected = make_broken_files(folder)
    usable = {path for path, reason in expected.items() if reason == USABLE}
    options = ["--encoder", small_encoder(tmp_path / "small.onnx"), "--collection", made, "--workers", "1"]
    done = run("index", folder, *options)
    assert done.returncode == 0
    assert done.stdout.startswith(f"{len(usable)} images in {made} ({len(usable)} new")
    assert f"{len(expected) - len(usable)} unusable" in done.stdout
    assert "\x1b" not in done.stderr
    *left_out, links = done.stderr.splitlines()
    assert all(line.startswith("left out: ") for line in left_out)
    assert links.startswith("passed over 1 link to a folder; --follow-links follows it")  # the circle
    with Collection.open(made) as collection:
        assert {item.path for item in collection} == usable
        update = collection.update([folder], workers=0)
        said = dict(update.failed)
        assert set(said) == set(expected) - usable
        wrong = {path: said[path] for path in said if expected[path] not in said[path]}
        assert wrong == {}
        assert (update.added, update.changed, update.removed) == (0, 0, 0)
        assert collection.verify() == []
