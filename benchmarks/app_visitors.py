"""How long visitors who come at once wait for the app's first page, without the time of their own browsers.

    python benchmarks/app_visitors.py --collection FOLDER [--visitors 20] [--rounds 3] [--out FILE]

Each visitor is a web socket that speaks Streamlit's protocol: it asks for the page and waits until the script has
finished. In ``app_speed.py`` the visitors are tabs of one browser on the same machine, whose work is counted, too.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import websockets
from app_speed import cpu_seconds, serving, write_run
from hardware import processor
from result_file import write_result
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.typing import Origin, Subprotocol

from simsiam_retrieval import Collection

LARGEST = 1 << 28  # bytes of a message
TIMEOUT = 300


async def visit(address: str) -> float:
    """Seconds until the first page's script has finished."""
    began = time.perf_counter()
    url = address.replace("http", "ws", 1).rstrip("/") + "/_stcore/stream"
    async with websockets.connect(
        url, subprotocols=[Subprotocol("streamlit")], origin=Origin(address.rstrip("/")), max_size=LARGEST
    ) as socket:
        asked = BackMsg()
        asked.rerun_script.query_string = ""
        await socket.send(asked.SerializeToString())
        while True:
            message = ForwardMsg.FromString(await socket.recv(decode=False))
            if message.WhichOneof("type") == "script_finished":
                return time.perf_counter() - began


async def together(address: str, visitors: int) -> list[float]:
    return await asyncio.wait_for(asyncio.gather(*(visit(address) for _ in range(visitors))), TIMEOUT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--collection", type=Path, required=True)
    parser.add_argument("--visitors", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with Collection.open(arguments.collection) as collection:
        images = len(collection)
    with tempfile.TemporaryDirectory() as name:
        runs = Path(name) / "runs"
        write_run(runs / "long", 5000)
        with serving(arguments.collection, runs) as (address, process):
            first = asyncio.run(together(address, 1))
            later = [asyncio.run(together(address, 1))[0] for _ in range(5)]
            before, rounds = cpu_seconds(process.pid), []
            for _ in range(arguments.rounds):
                rounds.append(asyncio.run(together(address, arguments.visitors)))
            spent = (cpu_seconds(process.pid) - before) / arguments.rounds
    result = {
        "images": images,
        "processor": processor(),
        "visitors": arguments.visitors,
        "first_s": round(first[0], 3),
        "later_s": [round(value, 3) for value in later],
        "at_once_median_s": [round(statistics.median(values), 3) for values in rounds],
        "at_once_longest_s": [round(max(values), 3) for values in rounds],
        "server_cpu_s": round(spent, 2),
    }
    print(result)
    write_result(result, arguments.out)


if __name__ == "__main__":
    main()
