"""Evaluation results in the Hub's two forms: the card's ``model-index`` and files in ``.eval_results/``. No torch."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..core.errors import UserError
from ..core.text import printable
from ..evaluation.probe_table import CLASSIFIERS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

LOCAL = "imagefolder"  # the Hub's name for a folder of images with one subfolder per class
DEFAULT_TASK = "default"
_MAPPING = re.compile(r"(?P<name>.+)=(?P<dataset>[\w.-]+/[\w.-]+)(?:#(?P<task>[\w.-]+))?")


@dataclass(frozen=True)
class HubDataset:
    """A data set on the Hub that a test folder contains.

    Attributes:
        id: OWNER/DATASET.
        task: Task in the benchmark's ``eval.yaml``.
    """

    id: str
    task: str


def parse_datasets(given: Sequence[str], reports: Sequence[dict[str, Any]]) -> dict[str, HubDataset]:
    """Parse the values of ``--eval-dataset``.

    Args:
        given: Texts ``TEST=OWNER/DATASET`` or ``TEST=OWNER/DATASET#TASK``.
        reports: The run's evaluation reports.

    Returns:
        Data sets by the public name of the test folder.

    Raises:
        UserError: A text has another form, or no report is about its test folder.
    """
    tested = {str(report["test"]) for report in reports}
    found = {}
    for text in given:
        match = _MAPPING.fullmatch(text)
        if match is None:
            raise UserError(f"--eval-dataset {text}: write TEST=OWNER/DATASET or TEST=OWNER/DATASET#TASK")
        if match["name"] not in tested:
            there = f"there are {printable(', '.join(sorted(tested)))}" if tested else "there are none; run probe first"
            raise UserError(f"--eval-dataset {text}: no evaluation on {match['name']}; {there}")
        found[match["name"]] = HubDataset(match["dataset"], match["task"] or DEFAULT_TASK)
    return found


def model_index(reports: Sequence[dict[str, Any]], datasets: dict[str, HubDataset]) -> "list[EvalResult]":
    """List the top-1 accuracy of every classifier of every report, for the card's metadata.

    Args:
        reports: The run's evaluation reports.
        datasets: Data sets on the Hub, by test folder.

    Returns:
        One entry per classifier and report; values are fractions of 1.
    """
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type="image-classification",
            task_name="image classification on frozen features",
            dataset_type=datasets[report["test"]].id if report["test"] in datasets else LOCAL,
            dataset_name=report["test"],
            dataset_args={
                "test_images": report["test_images"],
                "training_images": report["train_images"],
                "test_fingerprint": report["data"]["test_fingerprint"],
            },
            metric_type="accuracy",
            metric_name=name,
            metric_value=value,
        )
        for report, _, name, value in _values(reports)
    ]


def result_files(reports: Sequence[dict[str, Any]], datasets: dict[str, HubDataset]) -> dict[str, str]:
    """Build the files of ``.eval_results/``, one result per file.

    The Hub requires a data set of its own in them. So only tests whose data set is in ``datasets`` get a file.

    Args:
        reports: The run's evaluation reports.
        datasets: Data sets on the Hub, by test folder.

    Returns:
        Path in the repository -> YAML.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    files = {}
    for report, key, name, value in _values(reports):
        dataset = datasets.get(report["test"])
        if dataset is None:
            continue
        notes = (
            f"{name}; frozen features, {report['train_images']} training images, {report['test_images']} test images"
        )
        entry = EvalResultEntry(
            dataset_id=dataset.id, task_id=dataset.task, value=value, date=report["created"], notes=notes
        )
        path = f".eval_results/{_slug(report['test'])}-{key}{_suffix(report)}.yaml"
        files[path] = yaml.safe_dump(eval_result_entries_to_yaml([entry]), sort_keys=False, allow_unicode=True)
    return files


def newest(reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Select the newest of all reports about the same encoder and the same data.

    Args:
        reports: Evaluation reports.

    Returns:
        The newest report for each encoder, training set and test set.
    """
    by_subject = {
        (report["encoder"], report["data"]["train_fingerprint"], report["data"]["test_fingerprint"]): report
        for report in sorted(reports, key=lambda report: str(report["created"]))
    }
    return list(by_subject.values())


def _values(reports: Sequence[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], str, str, float]]:
    for report in newest(reports):
        for key, heading in CLASSIFIERS.items():
            if key in report["results"]:
                result = report["results"][key]
                name = heading.format(**{"k": "", **result}) + f" top-1{_suffix(report).replace('-', ', ')}"
                yield report, key, name, round(float(result["top1"]), 4)


def _suffix(report: dict[str, Any]) -> str:
    return report["name"].removeprefix("this encoder").replace(", ", "-")


def _slug(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name).strip("-.").lower()
