"""Publishing to, and loading from, a Hub on the loopback interface, through the real huggingface_hub client."""

import hashlib
import inspect
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import _http

from simsiam_retrieval import Collection, UserError, load_encoder
from simsiam_retrieval.encoder import hub as hub_module
from simsiam_retrieval.encoder.hub import FORMAT, fetch, source_of
from simsiam_retrieval.publishing import load_rgb as load_rgb_module
from simsiam_retrieval.publishing import upload as uploading
from simsiam_retrieval.publishing.repository_folder import File, list_folder
from simsiam_retrieval.publishing.upload import Outcome, upload
from simsiam_retrieval.training.config import Config
from simsiam_retrieval.training.initial_weights import initial_backbone
from simsiam_retrieval.training.run_folder import load_backbone
from tests.support.commands import Command, Run, refused
from tests.support.fake_hub import CUT, LOST, FakeHub, serving
from tests.support.small_encoder import paint, small_encoder

NAME = "acme/birds"
TOKEN = "hf_right"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A Hub, a user who is logged in there, and an empty cache; nobody waits before another attempt."""
    with serving() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # read when the client was imported
        at_once = SimpleNamespace(sleep=lambda seconds: None, time=time.time)
        monkeypatch.setattr(_http, "time", at_once)
        monkeypatch.setattr(uploading, "time", at_once)
        yield running


def make_model(folder: Path, grey: float = 127.5, *, names: tuple[str, ...] = ("onnx/model.onnx",)) -> list[File]:
    """What publish writes, with small encoders in place of a network's: each of ``names`` sees another grey."""
    digests = {}
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        small_encoder(folder / name, grey + number)
        digests[name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    section = {"format": FORMAT, "default": names[0], "files": digests}
    (folder / "config.json").write_text(json.dumps({"simsiam_retrieval": section}))
    (folder / "README.md").write_text(f"---\nlicense: mit\n---\n\n# birds, {grey}\n")
    return list_folder(folder)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    make_model(tmp_path / "model", names=("onnx/model.onnx", "onnx/model_int8.onnx"))
    return tmp_path / "model"


Upload = Callable[..., Outcome]


@pytest.fixture
def send(model: Path) -> Upload:
    return lambda **options: upload(model, list_folder(model), NAME, **options)


def complaint(act: Callable[[], object]) -> str:
    """The one line with which ``act`` ends."""
    with pytest.raises(UserError) as caught:
        act()
    text = str(caught.value)
    assert "\n" not in text and TOKEN not in text and len(text) < 400
    return text


# -- the whole way


def test_a_run_goes_to_the_hub_and_comes_back_to_the_bit(
    hub: FakeHub, published_run: Path, run_command: Command, tmp_path: Path, few_photos: Path
) -> None:
    """In processes of their own, with nothing but the environment: as a person does it."""
    environment = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "hf")}
    done = run_command("publish", published_run, NAME, "--out", tmp_path / "hub", "--licence", "mit", **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.endpoint}/{NAME}\n"
    assert TOKEN not in done.stderr
    assert hub.repositories[NAME].private
    sent = {file.path for file in list_folder(tmp_path / "hub")}
    assert hub.paths(NAME) == sent | {".gitattributes"}
    assert all(hub.content(NAME, path) == (tmp_path / "hub" / path).read_bytes() for path in sent)

    pictures = sorted(few_photos.glob("f*/*.jpg"))[:3]
    for reference, file in {
        f"hf://{NAME}": "encoder.onnx",
        f"hf://{NAME}/onnx/model_fp16.onnx": "encoder_fp16.onnx",
        f"hf://{NAME}@main/onnx/model_int8.onnx": "encoder_int8.onnx",
    }.items():
        here = load_encoder(published_run / file, device="cpu").embed(pictures)
        there = load_encoder(reference, device="cpu").embed(pictures)
        assert np.array_equal(here, there), reference

    # and as weights to train from
    config = Config(image_size=32)
    ours, theirs = load_backbone(published_run)[0], initial_backbone(f"hf://{NAME}", config)
    torch.testing.assert_close(theirs.get_parameter("conv1.weight"), ours.get_parameter("conv1.weight"))

    # the card's own lines, as they stand there
    code = re.findall(r"```python\n(.+?)```", (tmp_path / "hub" / "README.md").read_text(), re.DOTALL)
    copied = {*inspect.getsource(load_rgb_module).splitlines(), ""}  # a function for people to copy, with its imports
    assert len(code) == 3 and inspect.getsource(load_rgb_module.load_rgb) in code[1]
    assert all(len([line for line in block.splitlines() if line not in copied]) <= 5 for block in code)
    compare = "\nimport numpy as np; unit = features.detach().numpy()[0]\n"
    compare += "assert vectors.shape == (1, 512) and unit @ vectors[0] > 0.95 * np.linalg.norm(unit)\n"
    for name, picture in zip(("a.jpg", "b.jpg"), pictures, strict=False):
        (tmp_path / name).write_bytes(picture.read_bytes())
    program = "\n".join(code) + compare
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    assert -1 <= float(ran.stdout) <= 1


def test_index_takes_an_encoder_from_the_hub_and_needs_no_network_again(
    hub: FakeHub, send: Upload, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    head = hub.repositories[NAME].refs["main"]
    for number in range(3):
        paint(tmp_path / "pictures" / f"{number}.jpg", number)
    options = ("--collection", tmp_path / "collection", "--workers", "0")
    done = run("index", tmp_path / "pictures", "--encoder", f"hf://{NAME}", *options)
    assert done.returncode == 0, done.stderr
    source = f"hf://{NAME}@{head}/onnx/model.onnx"
    assert source in run("status", "--collection", tmp_path / "collection").stdout
    hub.faults.clear()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")  # nobody there
    paint(tmp_path / "pictures" / "more.jpg", 7)
    for encoder in ([], ["--encoder", f"hf://{NAME}"], ["--encoder", source]):
        done = run("index", tmp_path / "pictures", *encoder, *options)
        assert done.returncode == 0, done.stderr
    with Collection.open(tmp_path / "collection") as collection:
        assert len(collection) == 4


# -- loading


def test_a_revision_is_what_it_was(hub: FakeHub, model: Path, send: Upload) -> None:
    send()
    first = hub.repositories[NAME].refs["main"]
    old = load_encoder(f"hf://{NAME}").identity
    make_model(model, 100)
    send(replace=True)
    new = load_encoder(f"hf://{NAME}@main")
    assert (
        new.identity != old
        and source_of(new.file) == f"hf://{NAME}@{hub.repositories[NAME].refs['main']}/onnx/model.onnx"
    )
    hub.requests.clear()
    assert load_encoder(f"hf://{NAME}@{first}").identity == old
    assert hub.requests == []  # a commit that is cached does not change


def test_a_pull_request_can_be_tried_before_it_is_merged(hub: FakeHub, model: Path, send: Upload) -> None:
    send()
    make_model(model, 100)
    outcome = send()
    assert outcome.url.endswith("/discussions/1") and outcome.revision == "refs/pr/1"
    assert load_encoder(f"hf://{NAME}@refs/pr/1").identity == load_encoder(model / "onnx/model.onnx").identity
    assert load_encoder(f"hf://{NAME}").identity != load_encoder(model / "onnx/model.onnx").identity


def test_offline_what_is_cached_is_used_and_anything_else_is_one_line(
    hub: FakeHub, send: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    known = load_encoder(f"hf://{NAME}").identity
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    began = time.monotonic()
    assert load_encoder(f"hf://{NAME}").identity == known
    assert "cannot reach the Hub (http://127.0.0.1:1)" in complaint(lambda: fetch("hf://acme/fish"))
    assert "cannot reach" in complaint(lambda: fetch(f"hf://{NAME}/onnx/model_int8.onnx"))
    assert time.monotonic() - began < 10
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert load_encoder(f"hf://{NAME}").identity == known
    assert "not in the cache" in complaint(lambda: fetch("hf://acme/fish"))


def test_a_hub_with_trouble_of_its_own_does_not_matter_for_what_is_cached(hub: FakeHub, send: Upload) -> None:
    send()
    known = fetch(f"hf://{NAME}")
    hub.fail("GET", "/api/models/", 503, times=1000)
    assert fetch(f"hf://{NAME}") == known
    assert "run it again later" in complaint(lambda: fetch("hf://acme/fish"))


def test_a_download_that_is_cut_goes_on(hub: FakeHub, send: Upload, model: Path) -> None:
    send()
    hub.fail("GET", "/resolve/.*onnx$", CUT, times=2)
    assert fetch(f"hf://{NAME}").read_bytes() == (model / "onnx/model.onnx").read_bytes()
    assert hub.count("GET", "/resolve/.*onnx$") == 3


def test_a_file_that_is_not_what_config_says_is_refused(hub: FakeHub, send: Upload, tmp_path: Path) -> None:
    send()
    other = small_encoder(tmp_path / "other.onnx", 3.0)
    hub.put(NAME, "onnx/model.onnx", other.read_bytes())
    text = complaint(lambda: load_encoder(f"hf://{NAME}"))
    assert "onnx/model.onnx is not what config.json says" in text
    found = re.search(r"delete (\S+) and", text)
    assert found is not None and Path(found[1]).name == "models--acme--birds" and Path(found[1]).is_dir()


def test_a_damaged_cache_is_noticed(hub: FakeHub, send: Upload) -> None:
    send()
    file = fetch(f"hf://{NAME}").resolve()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "not what config.json says" in complaint(lambda: fetch(f"hf://{NAME}"))


def test_only_onnx_that_is_listed_is_fetched(hub: FakeHub, send: Upload, tmp_path: Path) -> None:
    send()
    hub.put(NAME, "pytorch_model.bin", b"\x80\x04N.")
    hub.put(NAME, "onnx/more.onnx", b"unlisted")
    for path in ("pytorch_model.bin", "model.safetensors", "config.json", "onnx"):
        assert "is not an .onnx file; there are onnx/model.onnx, " in complaint(
            lambda p=path: fetch(f"hf://{NAME}/{p}")
        )
    assert "no onnx/more.onnx in it" in complaint(lambda: fetch(f"hf://{NAME}/onnx/more.onnx"))
    assert hub.count("GET", "bin$|more.onnx$|safetensors$") == 0


@pytest.mark.parametrize(
    "config",
    [
        None,
        b"",
        b"[]",
        b"{}",
        b'{"simsiam_retrieval": 3}',
        b'{"simsiam_retrieval": {"format": "x", "files": []}}',
        b"\xff",
        b'{"a":' * 99_999,
    ],
)
def test_a_repository_that_is_not_ours(hub: FakeHub, config: bytes | None) -> None:
    hub.put("acme/other", "README.md" if config is None else "config.json", config or b"# other")
    assert "not an encoder that this package published" in complaint(lambda: load_encoder("hf://acme/other"))


@pytest.mark.parametrize("name", ["../x.onnx", "/x.onnx", "a/../../x.onnx", "a//x.onnx", "C:/x.onnx", "a\\..\\x.onnx"])
def test_files_outside_the_repository(hub: FakeHub, name: str) -> None:
    for section in ({"files": {name: "0" * 64}}, {"files": {"onnx/model.onnx": "0" * 64}, "default": name}):
        hub.put("acme/evil", "config.json", json.dumps({"simsiam_retrieval": {"format": FORMAT, **section}}).encode())
        assert "outside the repository" in complaint(lambda: load_encoder("hf://acme/evil"))


@pytest.mark.parametrize(
    ("reference", "revision", "file"),
    [
        ("hf://acme/x@feature/new", "feature/new", ""),
        ("hf://acme/x@feature/new/2", "feature/new/2", ""),
        ("hf://acme/x@feature%2Fnew/onnx/model.onnx", "feature/new", "onnx/model.onnx"),
        ("hf://acme/x@v1/onnx/model.onnx", "v1", "onnx/model.onnx"),
        ("hf://acme/x@refs/pr/1", "refs/pr/1", ""),
    ],
)
def test_a_branch_may_have_slashes_in_its_name(reference: str, revision: str, file: str) -> None:
    assert hub_module._parsed(reference) == ("acme/x", revision, file)


def test_a_later_format_asks_for_an_upgrade(hub: FakeHub) -> None:
    section = {"format": "simsiam-retrieval-hub/9", "files": {"onnx/model.onnx": "0"}}
    hub.put("acme/later", "config.json", json.dumps({"simsiam_retrieval": section}).encode())
    assert "upgrade this package" in complaint(lambda: load_encoder("hf://acme/later"))


@pytest.mark.parametrize(
    "reference",
    [
        *("hf://", "hf://birds", "hf://acme/birds@", "hf://datasets/acme/birds", "hf://spaces/acme/birds"),
        *("hf://acme/birds/../x.onnx", "hf://acme//birds", "hf://acme/bi rds"),
    ],
)
def test_malformed_references(hub: FakeHub, reference: str) -> None:
    assert "write hf://OWNER/NAME" in complaint(lambda: load_encoder(reference))
    assert hub.requests == []


def test_who_may_not_read(hub: FakeHub, send: Upload, monkeypatch: pytest.MonkeyPatch) -> None:
    send()
    assert "no such revision" in complaint(lambda: fetch(f"hf://{NAME}@v7"))
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "not on the Hub, or private" in complaint(lambda: fetch(f"hf://{NAME}"))
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not accept your token" in complaint(lambda: fetch(f"hf://{NAME}"))
    monkeypatch.delenv("HF_TOKEN")
    assert "not on the Hub, or private" in complaint(lambda: fetch(f"hf://{NAME}"))
    hub.fail("GET", "/api/models/", 403)
    assert "403" not in complaint(lambda: fetch(f"hf://{NAME}"))


# -- publishing


def test_a_new_repository_is_private_unless_it_is_to_be_public(hub: FakeHub, model: Path) -> None:
    files = list_folder(model)
    assert upload(model, files, "acme/one").what == "published"
    upload(model, files, "acme/two", public=True)
    assert hub.repositories["acme/one"].private and not hub.repositories["acme/two"].private
    said: list[str] = []
    upload(model, files, "acme/one", public=True, say=said.append)
    assert hub.repositories["acme/one"].private and "the visibility of this one is unchanged" in said[0]


def test_what_is_there_is_never_overwritten_without_replace(hub: FakeHub, model: Path, send: Upload) -> None:
    send()
    before = hub.repositories[NAME].refs["main"]
    readme = hub.content(NAME, "README.md")
    (model / "onnx/model_int8.onnx").unlink()
    make_model(model, 100)
    assert send().url == f"{hub.endpoint}/{NAME}/discussions/1"
    assert hub.repositories[NAME].refs["main"] == before and hub.content(NAME, "README.md") == readme
    assert hub.content(NAME, "README.md", "refs/pr/1") == (model / "README.md").read_bytes()
    assert "onnx/model_int8.onnx" not in hub.paths(NAME, "refs/pr/1")  # of the model before: wrong beside this one
    assert send().what.startswith("proposed already")
    assert len(hub.repositories[NAME].requests) == 1
    assert send(replace=True).what == "published on the main branch"
    assert hub.content(NAME, "README.md") == (model / "README.md").read_bytes()
    assert "onnx/model_int8.onnx" not in hub.paths(NAME)
    assert hub.repositories[NAME].commit(before) == before  # the old state is still to be had


def test_files_of_others_stay_where_they_are(hub: FakeHub, send: Upload) -> None:
    hub.put(NAME, "pytorch_model.bin", b"theirs")
    hub.put(NAME, "README.md", b"# theirs\n")
    send(replace=True)
    assert hub.content(NAME, "pytorch_model.bin") == b"theirs" and b"birds" in hub.content(NAME, "README.md")


def test_again_changes_nothing(hub: FakeHub, send: Upload) -> None:
    send()
    hub.requests.clear()
    for options in ({}, {"replace": True}):
        assert send(**options).what.startswith("uploaded already")
    assert hub.count("POST", "/commit/") == 0 and hub.count("PUT", "") == 0


def test_anybody_may_propose_and_only_the_owner_replace(
    hub: FakeHub, model: Path, send: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(public=True)
    make_model(model, 100)
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "may not write there" in complaint(lambda: send(replace=True))
    assert send().revision == "refs/pr/1"
    assert "may not write there" in complaint(lambda: upload(model, list_folder(model), "acme/new"))
    assert "acme/new" not in hub.repositories


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/whoami", 401, "log in again"),
        ("GET", "/whoami", 503, "run it again later"),
        ("POST", "/repos/create", 403, "may not write there"),
        ("POST", "/repos/create", 409, "the name is taken"),
        ("POST", "/repos/create", 429, "pause"),
        ("POST", "/validate-yaml", 400, "refuses it"),
        ("POST", "/preupload/", 403, "may not write there"),
        ("POST", "/objects/batch", 413, "too large"),
        ("PUT", "/storage/", 403, "may not write there"),
        ("PUT", "/storage/", 413, "too large"),
        ("POST", "/verify", 404, "refuses it"),
        ("POST", "/commit/", 401, "log in again"),
        ("POST", "/commit/", 409, "changing it"),
        ("POST", "/commit/", 412, "changed it meanwhile"),
        ("POST", "/commit/", 413, "too large"),
    ],
)
def test_what_the_hub_refuses_is_one_line_and_the_same_command_goes_on(
    hub: FakeHub, model: Path, send: Upload, method: str, path: str, status: int, words: str
) -> None:
    hub.fail(method, path, status)
    before = {file.path: file.sha256 for file in list_folder(model)}
    text = complaint(send)
    assert words in text and str(model) in text and "run the same command to continue" in text
    assert {file.path: file.sha256 for file in list_folder(model)} == before
    assert NAME not in hub.repositories or hub.paths(NAME) == {".gitattributes"}  # nothing half
    send()
    assert hub.paths(NAME) == {".gitattributes", *before} and not hub.repositories[NAME].requests


def test_a_name_that_is_in_use_by_something_hidden(hub: FakeHub, send: Upload) -> None:
    hub.taken.add(NAME)
    assert "the name is taken" in complaint(send)


@pytest.mark.parametrize("path", ["/preupload/", "/objects/batch", "/storage/", "/verify", "/commit/"])
@pytest.mark.parametrize("fault", [500, CUT])
def test_a_passing_fault_is_overcome(hub: FakeHub, send: Upload, path: str, fault: int) -> None:
    hub.fail("PUT" if path == "/storage/" else "POST", path, fault, times=2)
    assert send().what == "published"
    assert "onnx/model.onnx" in hub.paths(NAME)


def test_an_upload_that_breaks_off_is_resumed_with_what_is_missing(hub: FakeHub, model: Path, send: Upload) -> None:
    hub.fail("PUT", "/storage/", CUT, times=1000, after=1)
    assert "the connection broke off" in complaint(send)
    (arrived,) = hub.contents.keys() & {file.sha256 for file in list_folder(model)}
    hub.faults.clear()
    hub.requests.clear()
    send()
    assert hub.count("PUT", "/storage/") == 1 and hub.count("PUT", arrived) == 0


@pytest.mark.parametrize("replace", [False, True])
def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    hub: FakeHub, model: Path, send: Upload, *, replace: bool
) -> None:
    send()
    make_model(model, 100)
    before = len(hub.repositories[NAME].trees)
    hub.fail("POST", "/commit/", LOST)
    outcome = send(replace=replace)
    assert outcome.what.startswith("uploaded already" if replace else "proposed already")
    assert len(hub.repositories[NAME].trees) == before + 1
    assert len(hub.repositories[NAME].requests) == (0 if replace else 1)


def test_a_change_that_somebody_makes_meanwhile_is_not_overwritten(
    hub: FakeHub, model: Path, send: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    send()
    make_model(model, 100)
    honest = uploading._found

    def found(*arguments, **options):
        hub.put(NAME, "NOTES.md", b"theirs")
        return honest(*arguments, **options)

    monkeypatch.setattr(uploading, "_found", found)
    assert "changed it meanwhile" in complaint(lambda: send(replace=True))
    assert hub.content(NAME, "NOTES.md") == b"theirs"


def test_without_a_network_or_a_login(
    hub: FakeHub, published_run: Path, send: Upload, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert "cannot reach the Hub (http://127.0.0.1:1)" in complaint(send)
    out = ("--out", tmp_path / "hub")
    assert run("publish", published_run, NAME, "--dry-run", *out).returncode == 0
    done = run("publish", published_run, NAME, *out)
    assert (
        done.returncode == 2 and "cannot reach the Hub" in done.stderr and f"are in {tmp_path / 'hub'}" in done.stderr
    )
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_TOKEN", "")
    refused(run("publish", published_run, NAME, *out), "hf auth login")
    assert hub.requests == []


def test_the_token_of_a_login_is_used_and_never_shown(
    hub: FakeHub, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(TOKEN)  # as hf auth login leaves it
    hub.fail("PUT", "/storage/", 500, times=1)
    upload(model, list_folder(model), NAME, say=print)
    assert hub.tokens == {TOKEN}
    hub.fail("POST", "/validate-yaml", 400)  # whose words repeat the token
    make_model(model, 3)
    assert "not with …" in complaint(lambda: upload(model, list_folder(model), NAME))
    shown = capfd.readouterr()
    assert TOKEN not in shown.out + shown.err
