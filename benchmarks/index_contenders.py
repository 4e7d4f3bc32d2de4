"""The programs that ``index_speed.py`` compares, and running one: wall-clock and CPU seconds, peak memory."""

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from simsiam_retrieval.encoder.onnx_encoder import load_encoder

WATCH_SECONDS = 0.3  # more often, and watching takes a tenth of a core from what is watched

PLAIN = """
import sys
from pathlib import Path
import numpy as np, torch, torchvision
from PIL import Image
from torchvision import transforms as T
files = sorted(Path(sys.argv[1]).rglob("*.jpg"))
side = int(sys.argv[2])
normalise = T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
prepare = T.Compose([T.Resize(side), T.CenterCrop(side), T.ToTensor(), normalise])
model = torchvision.models.resnet18()
model.fc = torch.nn.Identity()
model.eval()
found = []
with torch.inference_mode():
    for start in range(0, len(files), 32):
        batch = torch.stack([prepare(Image.open(file).convert("RGB")) for file in files[start : start + 32]])
        found.append(torch.nn.functional.normalize(model(batch)))
np.save(sys.argv[3], torch.cat(found).numpy())
"""
FASTDUP = """
import sys
import fastdup
fastdup.create(work_dir=sys.argv[3], input_dir=sys.argv[1]).run(overwrite=True)
"""
IMAGEDEDUP = """
import sys
from imagededup.methods import PHash
if __name__ == "__main__":
    hasher = PHash(verbose=False)
    hasher.find_duplicates(encoding_map=hasher.encode_images(image_dir=sys.argv[1], recursive=True))
"""


def contenders(arguments: argparse.Namespace) -> dict[str, list]:
    """Name -> command; FOLDER, WORK and OUT are filled in."""
    side = load_encoder(arguments.encoder, device="cpu").image_size
    ours = [sys.executable, "-m", "simsiam_retrieval.index", "FOLDER", "--collection", "WORK/collection"]
    found = {
        "ours": ours + (["--encoder", arguments.encoder] if arguments.encoder else []),
        "plain": [sys.executable, "-c", PLAIN, "FOLDER", side, "WORK/vectors.npy"],
    }
    if arguments.fastdup:
        found["fastdup"] = [arguments.fastdup, "-c", FASTDUP, "FOLDER", side, "WORK/fastdup"]
    if arguments.imagededup:
        found["imagededup"] = [arguments.imagededup, "-c", IMAGEDEDUP, "FOLDER"]
    return {name: command for name, command in found.items() if name == "ours" or not arguments.alone}


def timed(*command: object, environment: dict[str, str] | None = None) -> dict:
    """Run a command to its end: wall and CPU seconds, peak memory in MiB, what it printed."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        peak = 0
        while process.returncode is None:
            peak = max(peak, memory(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(WATCH_SECONDS)
        wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
        said.seek(0)
        text = said.read()
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command[:4]))} … ended with {process.returncode}:\n{text[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "peak_mib": peak / 2**20, "said": text}


def memory(pid: int) -> int:
    """Bytes that a process and its descendants occupy, shared pages in proportion; 0 where the system does not say."""
    total = 0
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory(int(child)) for child in (task / "children").read_text().split())
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return total
