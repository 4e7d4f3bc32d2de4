"""One job in a separate process: ``python -m simsiam_retrieval.reproduction.worker ORDER``; run_jobs.py starts it."""

import json
import sys
from pathlib import Path

from ..core import cli
from ..evaluation.labelled import labelled_files
from ..training.config import from_dict
from ..training.loop import pick_device
from .measure_run import Measure
from .plan_runs import Data, Job
from .run_jobs import Place, run_job
from .scales import Protocol


def main() -> int:
    """Run the job that the file ORDER describes.

    Returns:
        The exit code.
    """
    order = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    data = Data(labelled_files(Path(order["train"])), labelled_files(Path(order["test"])))
    protocol = Protocol(**order["protocol"])
    place = Place(**{**order["place"], "cache": Path(order["place"]["cache"])})
    job = Job(Path(order["folder"]), from_dict(order["config"]), ())
    measure = Measure(data, protocol, pick_device(place.device), place.cache, place.workers)
    return cli.DONE if run_job(job, data, protocol, place, measure) else cli.CTRL_C


if __name__ == "__main__":
    cli.run(main)
