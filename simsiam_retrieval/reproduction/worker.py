"""One job in a process of its own: ``python -m simsiam_retrieval.reproduction.worker ORDER``, by ``running.py``."""

import json
import sys
from pathlib import Path

from .. import cli
from ..evaluation.labelled import labelled_files
from ..training.config import from_dict
from ..training.loop import pick_device
from .measuring import Measure
from .planning import Data, Job
from .running import Place, run_job
from .scales import Protocol


def main() -> int:
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    data = Data(labelled_files(Path(order["train"])), labelled_files(Path(order["test"])))
    protocol = Protocol(**order["protocol"])
    place = Place(**{**order["place"], "cache": Path(order["place"]["cache"])})
    job = Job(Path(order["folder"]), from_dict(order["config"]), ())
    measure = Measure(data, protocol, pick_device(place.device), place.cache, place.workers)
    return cli.DONE if run_job(job, data, protocol, place, measure) else cli.CTRL_C


if __name__ == "__main__":
    cli.run(main)
