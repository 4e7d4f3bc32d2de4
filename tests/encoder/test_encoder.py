"""Loading an encoder, and embedding whatever is given to it."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

import simsiam_retrieval
from simsiam_retrieval.core.errors import UserError
from simsiam_retrieval.encoder import find_encoder as finding
from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.encoder.onnx_encoder import Encoder, load_encoder
from simsiam_retrieval.encoder.onnx_session import gpu_present, unused
from tests.support.commands import refused
from tests.support.small_encoder import small_encoder


@pytest.fixture(scope="module")
def encoder(encoder_file: Path) -> Encoder:
    return load_encoder(encoder_file, device="cpu")


def picture(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# -- loading


def test_facts_about_an_encoder(encoder, encoder_file):
    assert (encoder.image_size, encoder.dim, encoder.device) == (32, 512, "cpu")
    assert encoder.identity == hashlib.sha256(encoder_file.read_bytes()).hexdigest()[:16]


def test_a_run_folder_a_file_and_a_text_name_mean_the_same(run_dir, encoder_file, encoder):
    for spelling in (run_dir, str(run_dir), encoder_file, str(encoder_file)):
        assert load_encoder(spelling, device="cpu").identity == encoder.identity


def test_the_package_offers_it_by_name(encoder_file, encoder):
    assert simsiam_retrieval.load_encoder(encoder_file, device="cpu").identity == encoder.identity
    assert simsiam_retrieval.Encoder is Encoder


def test_identity_follows_content_and_not_the_name(encoder_file, encoder, tmp_path):
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(encoder_file.read_bytes())
    assert Encoder(copy, device="cpu").identity == encoder.identity
    model = onnx.load(encoder_file)
    model.doc_string = "one word more"
    onnx.save(model, copy)
    other = Encoder(copy, device="cpu")
    assert other.identity != encoder.identity
    np.testing.assert_array_equal(other.embed([picture()]), encoder.embed([picture()]))


def foreign_model(metadata: dict[str, str]) -> bytes:
    """A sound ONNX model that somebody else made."""
    shape = ["batch", 3]
    node = onnx.helper.make_node("Identity", ["images"], ["vectors"])
    graph = onnx.helper.make_graph(
        [node],
        "foreign",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("vectors", onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, metadata)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged, or not an ONNX model"),
        (b"not a model at all", "damaged, or not an ONNX model"),
        ("half", "damaged, or not an ONNX model"),
        (foreign_model({}), "not an encoder of this package"),
        (foreign_model({"format": "somebody-elses/7"}), "somebody-elses/7"),
    ],
    ids=["empty", "text", "half", "foreign", "other format"],
)
def test_files_that_are_no_encoders(encoder_file, tmp_path, content, words):
    file = tmp_path / "encoder.onnx"
    file.write_bytes(encoder_file.read_bytes()[:1_000_000] if content == "half" else content)
    with pytest.raises(UserError, match=words) as caught:
        load_encoder(file, device="cpu")
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_an_encoder_whose_metadata_are_incomplete(tmp_path):
    file = tmp_path / "encoder.onnx"
    file.write_bytes(foreign_model({"format": "simsiam-retrieval-encoder/1"}))
    with pytest.raises(UserError):
        load_encoder(file, device="cpu")


def test_what_is_not_there(tmp_path, run_dir):
    with pytest.raises(UserError, match="no such run folder or encoder file"):
        load_encoder(tmp_path / "gone.onnx")
    with pytest.raises(UserError, match="no such encoder file"):
        Encoder(tmp_path / "gone.onnx")
    with pytest.raises(UserError, match="neither a run folder nor"):
        load_encoder(tmp_path)
    (tmp_path / "config.json").write_bytes((run_dir / "config.json").read_bytes())
    with pytest.raises(UserError, match=r"not exported yet; run: python -m simsiam_retrieval\.export"):
        load_encoder(str(tmp_path))


def test_no_permission(encoder_file, open_folder, unprivileged):
    file = open_folder / "encoder.onnx"
    file.write_bytes(encoder_file.read_bytes())
    file.chmod(0)
    with unprivileged(), pytest.raises(UserError, match=r"cannot read the encoder \(Permission denied\)"):
        Encoder(file, device="cpu")


def test_tilde_is_the_home_folder(encoder_file, monkeypatch):
    monkeypatch.setenv("HOME", str(encoder_file.parent))
    assert find_encoder("~/encoder.onnx") == encoder_file


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_gpu_where_there_is_none_is_an_error_and_no_quiet_fallback(encoder_file, device, capfd):
    with pytest.raises(UserError, match=f"--device {device}: .*leave it out"):
        load_encoder(encoder_file, device=device)
    assert capfd.readouterr() == ("", "")  # ONNX Runtime prints to stdout, and logs


class Placed:
    """A session of ONNX Runtime, as far as it says where its operations were placed."""

    def __init__(self, **operations: list[str]) -> None:
        self.parts = [SimpleNamespace(ep_name=name, nodes=nodes) for name, nodes in operations.items()]

    def get_providers(self) -> list[str]:
        return [*(part.ep_name for part in self.parts), "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[SimpleNamespace]:
        def nodes(part: SimpleNamespace) -> list[SimpleNamespace]:
            return [SimpleNamespace(op_type=name) for name in part.nodes]

        return [SimpleNamespace(ep_name=part.ep_name, get_nodes=partial(nodes, part)) for part in self.parts]


def test_a_gpu_that_is_registered_is_not_yet_used():
    """Preprocessing may stay on the CPU; convolutions may not."""
    cuda = "CUDAExecutionProvider"
    used = Placed(CUDAExecutionProvider=["Conv", "Conv", "Gemm"], CPUExecutionProvider=["Resize", "Shape"])
    assert unused(used, cuda) is None
    partly = Placed(CUDAExecutionProvider=["Conv", "Relu"], CPUExecutionProvider=["Resize", "Conv", "Conv"])
    assert "leaves 2 of 3 operations" in str(unused(partly, cuda))
    idle = Placed(CUDAExecutionProvider=[], CPUExecutionProvider=["Resize", "Relu"])
    assert "leaves 2 of 2 operations" in str(unused(idle, cuda))
    assert "cannot use a GPU" in str(unused(Placed(CPUExecutionProvider=["Conv"]), cuda))


@pytest.mark.skipif(gpu_present(), reason="there is a GPU here")
def test_index_without_the_gpu_it_was_asked_for_leaves_nothing(run, tmp_path, few_photos, encoder_file):
    done = run("index", few_photos, "--collection", "c", "--encoder", encoder_file, "--device", "cuda")
    refused(done, "--device cuda")
    assert list(tmp_path.iterdir()) == []


def test_auto_says_what_it_took(run, few_photos, encoder_file, folder):
    asked = ("index", folder, "--collection", "c", "--encoder", encoder_file, "--workers", 0)
    done = run(*asked, "--device", "auto")
    assert done.returncode == 0 and "computing on the " in done.stderr
    found = run("search", folder / "a.jpg", "--collection", "c", "--device", "cpu")
    assert found.returncode == 0 and found.stderr == "computing on the CPU\n"


def test_an_unknown_device(encoder_file):
    with pytest.raises(UserError, match="choose auto, cpu, cuda, tensorrt"):
        load_encoder(encoder_file, device="tpu")


def test_threads_do_not_change_the_result(encoder_file, encoder):
    other = load_encoder(encoder_file, device="cpu", threads=1)
    np.testing.assert_allclose(other.embed([picture()]), encoder.embed([picture()]), atol=1e-6)


def test_serving_needs_no_torch(encoder_file, photos):
    """The encoder starts without torch: checked in a fresh process."""
    photo = next(photos.rglob("*.jpg"))
    script = (
        "import sys; from simsiam_retrieval import load_encoder\n"
        f"vectors = load_encoder({str(encoder_file)!r}, device='cpu').embed([{str(photo)!r}])\n"
        "print(vectors.shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "(1, 512) False\n"
    assert done.stderr == ""


def test_worker_processes_import_little():
    """FAISS alone would take 100 MB in each of them."""
    script = (
        "import sys, simsiam_retrieval.encoder.embed_files, simsiam_retrieval.images.file_facts\n"
        "print({'faiss', 'torch', 'tyro', 'rich', 'sqlite3'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "set()\n"


# -- embedding


def test_paths_bytes_pictures_and_arrays_are_the_same(encoder, tmp_path):
    array = picture()
    image = Image.fromarray(array)
    file = tmp_path / "image.png"
    image.save(file)
    vectors = encoder.embed([file, str(file), file.read_bytes(), image, array])
    assert vectors.shape == (5, 512) and vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, vectors[:1].repeat(5, axis=0), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "CMYK", "I;16"])
def test_a_picture_of_any_mode_is_seen_as_its_file_is(encoder, mode):
    """A Pillow image and the file it was saved to are one picture: transparency over white, 16 bits scaled."""
    if mode == "I;16":
        image = Image.fromarray(picture()[:, :, 0].astype(np.uint16) * 257)
    elif mode.endswith("A"):
        image = Image.fromarray(np.dstack([picture(), picture(seed=1)[:, :, 0]])).convert(mode)
    else:
        image = Image.fromarray(picture()).convert(mode)
    assert image.mode == mode
    buffer = io.BytesIO()
    image.save(buffer, "TIFF" if mode == "CMYK" else "PNG")
    of_picture, of_file = encoder.square(image), encoder.square(buffer.getvalue())
    assert np.abs(of_picture.astype(int) - of_file).max() <= 1


@pytest.mark.parametrize("shape", [(40, 60), (40, 60, 3), (1, 1, 3), (300, 20, 3)])
def test_arrays_of_any_shape(encoder, shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    colour = array if array.ndim == 3 else np.repeat(array[:, :, None], 3, axis=2)
    np.testing.assert_allclose(encoder.embed([array]), encoder.embed([Image.fromarray(colour)]), atol=1e-6)


def test_order_is_kept_over_batches(encoder):
    arrays = [picture(30 + index, 50, seed=index) for index in range(19)]
    together = encoder.embed(arrays)
    singly = np.concatenate([encoder.embed([array]) for array in arrays])
    np.testing.assert_allclose(together, singly, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(iter(arrays), batch_size=5), singly, atol=1e-6)


def test_no_images_make_no_vectors(encoder):
    for nothing in (encoder.embed([]), encoder.embed(iter(())), encoder.embed_pixels(np.zeros((0, 9, 9, 3), np.uint8))):
        assert nothing.shape == (0, 512) and nothing.dtype == np.float32


def test_a_large_photo_gives_nearly_the_vector_of_its_full_decode(encoder, photos):
    """Paths are decoded at a fraction of their size where that is enough."""
    photo = next(photos.rglob("*.jpg"))
    with Image.open(photo) as image:
        large = image.convert("RGB").resize((1600, 1200))
    buffer = io.BytesIO()
    large.save(buffer, "JPEG", quality=95)
    cosine = (encoder.embed([buffer.getvalue()]) * encoder.embed([large])).sum()
    assert cosine > 0.99


def test_an_exif_orientation_is_followed(encoder):
    upright = Image.fromarray(picture()).resize((90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored a quarter turn to the left
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "PNG", exif=exif)
    np.testing.assert_allclose(encoder.embed([buffer.getvalue()]), encoder.embed([upright]), atol=1e-6)


def test_the_first_image_that_cannot_be_decoded_is_named(encoder, tmp_path):
    good, broken = tmp_path / "good.png", tmp_path / "broken.jpg"
    good.write_bytes(png(Image.fromarray(picture())))
    broken.write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"broken\.jpg: not an image"):
        encoder.embed([good, broken, tmp_path / "gone.jpg"])
    with pytest.raises(UserError, match=r"gone\.jpg: the file is gone"):
        encoder.embed([tmp_path / "gone.jpg"])
    with pytest.raises(UserError, match="the image: not an image"):
        encoder.embed([b"no picture"])


def test_a_lazily_opened_broken_picture_is_the_user_s_to_mend_too(encoder):
    whole = png(Image.fromarray(picture(200, 200)))
    with Image.open(io.BytesIO(whole[: len(whole) // 2])) as image, pytest.raises(UserError):
        encoder.embed([image])


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 3), np.int64), np.zeros((4, 4, 3), bool)]
)
def test_arrays_of_other_types_are_refused(encoder, array):
    with pytest.raises(ValueError, match="uint8"):
        encoder.embed([array])
    with pytest.raises(ValueError, match="uint8"):
        encoder.embed_pixels(array[None])


@pytest.mark.parametrize("shape", [(32, 32, 3), (1, 3, 32, 32), (1, 32, 32, 4), (1, 32, 32)])
def test_batches_of_other_shapes_are_refused(encoder, shape):
    with pytest.raises(ValueError, match="expected uint8"):
        encoder.embed_pixels(np.zeros(shape, np.uint8))


def test_threads_may_share_an_encoder(encoder):
    arrays = [picture(seed=seed) for seed in range(8)]
    expected = encoder.embed(arrays)
    results: list[np.ndarray | None] = [None] * 32

    def work(place: int) -> None:
        index = place % 8
        results[place] = encoder.embed([arrays[index], arrays[(index + 1) % 8]])

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for place, result in enumerate(results):
        assert result is not None
        np.testing.assert_allclose(result, expected[[place % 8, (place % 8 + 1) % 8]], atol=1e-6)


@pytest.mark.gpu
def test_a_gpu_gives_what_a_cpu_gives(encoder_file, encoder):
    on_gpu = load_encoder(encoder_file, device="cuda")
    assert on_gpu.device == "cuda"
    arrays = [picture(seed=seed) for seed in range(9)]
    np.testing.assert_allclose(on_gpu.embed(arrays), encoder.embed(arrays), atol=5e-3)


def test_a_decoded_picture_is_not_turned_again(photos: Path) -> None:
    """A file with an EXIF orientation, given as a path and as the picture that it decodes to."""
    from simsiam_retrieval.images.decode import decode

    turned = next(photos.rglob("*exif-rotated*"))
    encoder = load_encoder(device="cpu")
    picture = decode(turned, short_side=encoder.decode_side)
    assert picture.getexif().get(0x0112, 1) == 1
    by_path, by_picture = encoder.embed([turned, picture])
    np.testing.assert_array_equal(by_path, by_picture)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_size": "-5"}, "cannot be an encoder"),
        ({"image_size": "0"}, "cannot be an encoder"),
        ({"image_size": "1000000"}, "cannot be an encoder"),
        ({"dim": "1000000"}, "cannot be an encoder"),
        ({"image_size": "9"}, "does not work as an encoder"),
        ({"dim": "191"}, "not float32 (2, 191)"),
        ({"input": "pixels"}, "does not work as an encoder"),
        ({"output": "embedding"}, "does not work as an encoder"),
        ({"last": "Identity"}, "not of unit length"),
    ],
)
def test_an_encoder_that_gives_something_else(tmp_path, change, words):
    """The metadata are right, or nearly; two images are embedded to see."""
    model = onnx.load(small_encoder(tmp_path / "small.onnx"))
    facts = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**facts, **{key: change[key] for key in facts if key in change}})
    graph = model.graph
    if "input" in change:
        graph.input[0].name = graph.node[0].input[0] = change["input"]
    if "output" in change:
        graph.output[0].name = graph.node[-1].output[0] = change["output"]
    if "last" in change:
        graph.node[-1].CopyFrom(helper.make_node(change["last"], list(graph.node[-1].input), ["vectors"]))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(UserError, match=re.escape(words)):
        Encoder(tmp_path / "changed.onnx", device="cpu")


def test_an_encoder_that_is_no_regular_file(tmp_path):
    os.mkfifo(tmp_path / "encoder.onnx")
    with pytest.raises(UserError, match="not a regular file"):
        Encoder(tmp_path / "encoder.onnx", device="cpu")
    with pytest.raises(UserError, match="not a regular file"):
        Encoder(Path("/dev/zero"), device="cpu")


@pytest.mark.parametrize("damage", ["bit", "cut", "facts", "gone"])
def test_a_damaged_shipped_encoder_is_not_taken(damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One bit of its weights would give other vectors. What is shipped is what its facts say."""
    folder = Path(shutil.copytree(finding.default_encoder_file().parent, tmp_path / "shipped"))
    file = folder / "encoder.onnx"
    monkeypatch.setattr(finding, "default_encoder_file", lambda: file)
    assert load_encoder(device="cpu").identity == json.loads((folder / "encoder.json").read_text())["identity"]
    content = bytearray(file.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "facts":
        (folder / "encoder.json").write_text('{"identity": "58ad')
    else:
        file.unlink()
    with pytest.raises(UserError, match="install the package again"):
        load_encoder(device="cpu")
