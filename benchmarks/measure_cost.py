"""What the measures of ``check`` (sharpness, brightness, ...) cost ``index``, as a share of its CPU time.

    python benchmarks/measure_cost.py --photos FOLDER [--rounds 5] [--out FILE]

Each round runs the ``index`` command on all photos and on a few of them, so that its start can be subtracted, and then
measures the reduced pictures of the same photos in this process. The share is that of the medians.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from hardware import processor
from index_versions import FEW, HERE, run
from result_file import write_result

from simsiam_retrieval.encoder.find_encoder import find_encoder
from simsiam_retrieval.images.decode import read_image
from simsiam_retrieval.images.file_facts import reduced
from simsiam_retrieval.images.files import list_images
from simsiam_retrieval.images.measures import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    photos = [file.path for file in list_images([arguments.photos]).images]
    small = [reduced(read_image(photo).image) for photo in photos]
    whole, own = [], []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        few = scratch / "few"
        few.mkdir()
        for photo in photos[:FEW]:
            (few / photo.name).symlink_to(photo.resolve())
        for _ in range(arguments.rounds):
            cpu = [run(HERE, folder, find_encoder(None), scratch)["cpu"] for folder in (arguments.photos, few)]
            whole.append((cpu[0] - cpu[1]) / (len(photos) - FEW))
            started = time.process_time()
            for picture in small:
                measure(picture)
            own.append((time.process_time() - started) / len(small))
            print(f"index {1000 * whole[-1]:.2f} ms, measures {1000 * own[-1]:.3f} ms", flush=True)
    result = {
        "photos": len(photos),
        "width": statistics.median(picture.width for picture in small),
        "processor": processor(),
        "index_ms": [round(1000 * value, 3) for value in whole],
        "measures_ms": [round(1000 * value, 4) for value in own],
        "share": round(statistics.median(own) / statistics.median(whole), 4),
    }
    print(result)
    write_result(result, arguments.out)


if __name__ == "__main__":
    main()
