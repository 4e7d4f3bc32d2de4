"""Faults of single files, and of what other people send: runs, encoders, repositories, addresses, passwords."""

import json
import random
import shutil

from fault_inputs import hostile_encoder
from fault_place import Place, Tally, apart, damage

from simsiam_retrieval import Collection


def run_files(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """``config.json``, ``metrics.jsonl`` and ``rejected.jsonl`` of a training run."""
    from simsiam_retrieval.app.pages import training_runs  # pyright: ignore[reportMissingImports]

    from simsiam_retrieval.training.config import Config
    from simsiam_retrieval.training.run_folder import Run

    folder = place.folder / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    run = Run(folder)
    run.write(Config(), data={"roots": ["/a"], "cache": None})
    rows = [{"step": step, "epoch": step / 4, "loss": -0.5, "std": 0.9, "lr": 0.1} for step in range(1, 9)]
    for row in rows:
        run.append_metrics(row)
    run.rejected_file.write_text('{"path": "/a", "size": 1, "mtime_ns": 1, "member": "", "offset": 0, "reason": "x"}\n')
    name = ("config.json", "metrics.jsonl", "rejected.jsonl")[seed % 3]
    if draw.random() < 0.3:
        nonsense = (
            "[]",
            "5",
            "null",
            "[" * 99_999,
            '{"config": []}',
            '{"config": {"epochs": "x"}}',
            '{"data": 5}\n5',
            "\0",
        )
        (folder / name).write_text(draw.choice(nonsense))
    else:
        damage(folder / name, draw, ("flip", "bytes", "cut")[draw.randrange(3)])

    def look() -> int:
        found = run.read_rejected(), training_runs.read_run(folder)
        run.truncate_metrics(8)
        run.config()
        return len(found[1].rows)

    ended = apart(look)
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    tally.refused += bool(ended.refused)
    if (
        name == "metrics.jsonl"
        and ended.value is not None
        and ended.value == 0
        and (folder / name).stat().st_size > 200
    ):
        tally.note("lost", seed, "all rows of metrics")


def encoder_file(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """The collection's encoder changed, or another one with the right metadata and a wrong output."""
    from simsiam_retrieval.encoder.onnx_encoder import Encoder

    folder = place.copy()
    if seed % 2:
        damage(folder / "encoder.onnx", draw, ("flip", "bytes", "cut")[draw.randrange(3)])
        ended = apart(lambda: Collection.open(folder).search(place.pictures / "000.jpg", 3) and "searched")
    else:
        file = hostile_encoder(place.folder / "hostile.onnx", draw)
        ended = apart(lambda: Encoder(file, device="cpu") and "loaded")
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.value is not None:
        tally.note("silent", seed, f"{ended.value}")
    tally.refused += bool(ended.refused)


def hub_config(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """A repository's ``config.json``."""
    from simsiam_retrieval.encoder import hub

    file = place.folder / "config.json"
    names = ("../x.onnx", "/etc/x.onnx", "a/../../x.onnx", "C:\\x.onnx", "a\\..\\x.onnx", "x\n.onnx", "./x.onnx", "")
    section = {"format": hub.FORMAT, "files": {"onnx/model.onnx": "0" * 64}}
    if seed % 3 == 0:
        section["files"] = {draw.choice(names) + (".onnx" if draw.random() < 0.3 else ""): "0" * 64}
    elif seed % 3 == 1:
        section["default"] = draw.choice(names)
    file.write_text(json.dumps({hub.SECTION: section}))
    if seed % 3 == 2:
        if draw.random() < 0.3:
            file.write_text('{"a":' * 99_999)
        else:
            damage(file, draw, ("bytes", "cut")[draw.randrange(2)])
    ended = apart(lambda: hub._listing("hf://a/b", file))
    if ended.broke:
        tally.note("broke", seed, ended.broke)
    elif ended.value is not None and any(
        ".." in name or name.startswith("/") for name in (*ended.value[0], ended.value[1])
    ):
        tally.note("silent", seed, f"{ended.value}")
    tally.refused += bool(ended.refused)


def addresses(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Addresses of the Search page, and labels as CSV."""
    from simsiam_retrieval.app.search.address import Address  # pyright: ignore[reportMissingImports]

    from simsiam_retrieval.evaluation.labelled import read_labels

    values = (
        "",
        "0001-01-01",
        "9999-12-31",
        "-1",
        "9" * 30,
        "\0",
        "~nobody/",
        "../..",
        "٣",
        "a,b",
        "1,1,1",
        "[",
        "*" * 300,
    )
    names = (
        "image",
        "more",
        "less",
        "page",
        "results",
        "cut",
        "folder",
        "name",
        "format",
        "label",
        "since",
        "until",
        "side",
    )
    given = {name: draw.choice(values) for name in draw.sample(names, draw.randrange(1, 6))}
    table = place.folder / "labels.csv"
    nobody = draw.choice(("~nosuchuser/", ""))
    text = f'path,label\npictures/000.jpg,"a"\n{nobody}x.jpg,b\n"pictures/001.jpg,c\npictures/002.jpg,d\n'
    table.write_bytes(text.encode())
    damage(table, draw, ("flip", "bytes", "cut")[seed % 3])

    def look() -> None:
        with Collection.open(place.original) as opened:
            address = Address.read(given)
            if address.only.count():
                opened.matching(address.only.filter())
        read_labels(table)

    ended = apart(look)
    if ended.broke:
        tally.note("broke", seed, f"{given}: {ended.broke}")
    tally.refused += bool(ended.refused)


def passwords(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Requests without login, with made-up cookies and names of proxies, and guesses."""
    from simsiam_retrieval.app.auth import ALL_TRIES, Guard  # pyright: ignore[reportMissingImports]
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starlette.testclient import TestClient

    app = Starlette(
        routes=[Route("/{path:path}", lambda request: PlainTextResponse("secret"), methods=["GET", "POST"])],
        middleware=[Middleware(Guard, password="long and secret")],
    )
    client = TestClient(app, follow_redirects=False, client=(f"10.0.0.{seed % 250}", 1))
    headers = {"x-forwarded-for": f"10.1.{seed % 256}.{draw.randrange(256)}", "cookie": f"simsiam-retrieval-80={seed}"}
    tries = 0
    for _ in range(ALL_TRIES + 20):
        guess = "".join(draw.choices("abc ", k=6))
        answer = client.post("/login", data={"password": guess}, headers=headers)
        tries += answer.status_code == 401
        if "secret" in answer.text:
            tally.note("silent", seed, answer.text)
    path = "/" + "".join(draw.choices("ab/.%?_", k=8))
    if "secret" in client.get(path, headers={**headers, "accept": "text/html"}).text or tries > 10:
        tally.note("silent", seed, f"{path}, {tries} guesses")


def foreign_pages(place: Place, draw: random.Random, seed: int, tally: Tally) -> None:
    """Requests and WebSockets to an app without a password, as pages of other sites and other names make them."""
    from simsiam_retrieval.app.auth import Guard  # pyright: ignore[reportMissingImports]
    from simsiam_retrieval.app.server import OWN_NAMES  # pyright: ignore[reportMissingImports]
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route, WebSocketRoute
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocketDisconnect

    async def stream(socket) -> None:
        await socket.accept()
        await socket.send_text("secret")
        await socket.close()

    app = Starlette(
        routes=[
            WebSocketRoute("/_stcore/stream", stream),
            Route("/{path:path}", lambda request: PlainTextResponse("secret"), methods=["GET", "POST", "PUT"]),
        ],
        middleware=[Middleware(Guard, hosts=OWN_NAMES)],
    )
    ours = "127.0.0.1:8501"
    hosts = (
        *("evil.example", "evil.example:8501", "127.0.0.1.evil.example:8501", "localhost.evil.example", "0.0.0.0:8501"),
        *(
            "127.0.0.1@evil.example",
            "evil.example#127.0.0.1",
            "[::1]:8501",
            "127.1:8501",
            "2130706433",
            "",
            "localhost.",
        ),
    )
    origins = (
        *("null", "http://evil.example", "http://evil.example:8501", "http://localhost:3000", "file://", "https://a"),
        *("http://127.0.0.1:8501.evil.example", "http://127.0.0.1:8501@evil.example", "http://[", "http://127.0.0.1"),
    )
    way = seed % 3
    if way == 0:  # a name that was made to point here
        headers = {"host": draw.choice(hosts)}
    elif way == 1:  # a page of another site that says so
        headers = {"host": ours, "origin": draw.choice(origins)}
    else:  # one whose pictures, scripts and frames say nothing but that
        headers = {"host": ours, "sec-fetch-site": draw.choice(("cross-site", "same-site")),
                   "sec-fetch-mode": draw.choice(("no-cors", "cors", "websocket"))}  # fmt: skip
    client = TestClient(app)
    path = draw.choice(("/", "/media/a.jpg", "/_stcore/upload_file/a/b", "/_stcore/health", "/component/x"))
    shown = client.request(draw.choice(("GET", "POST", "PUT")), path, headers=headers).text
    try:
        with client.websocket_connect("/_stcore/stream", headers=headers) as socket:
            shown += socket.receive_text()
    except WebSocketDisconnect:
        pass
    if "secret" in shown:
        tally.note("silent", seed, f"{headers}: {path}")
    else:
        tally.refused += 1
