"""``python -m simsiam_retrieval.probe RUN_OR_ENCODER --train DIR --test DIR``."""

import json
from dataclasses import dataclass
from pathlib import Path

import tyro

from . import cli


@dataclass(frozen=True)
class Arguments:
    """Measure what an encoder's features are worth: kNN and a linear classifier over two labelled folders.

    A labelled folder has one subfolder of images per class. The encoder is not trained further.
    """

    train: Path
    """Labelled folder to learn from."""
    test: Path
    """Labelled folder to measure on."""
    encoder: tyro.conf.Positional[str | None] = None
    """Run folder or .onnx file; by default the encoder shipped with the package."""
    knn_k: int = 20
    """Neighbours that vote; publications on large sets often use 200."""
    out: Path | None = None
    """Also write the result to this JSON file; for a run it is always kept in RUN/eval/."""
    json: bool = False
    """Print JSON instead of a table."""
    workers: int | None = None
    """Worker processes; by default one per core."""


def main() -> None:
    arguments = cli.parse(Arguments, "probe")
    # torch takes seconds to import: help and typing errors should not
    from .encoder import load_encoder
    from .evaluation.labelled import embed_labelled, labelled_files
    from .evaluation.probing import probe, report, save_report
    from .files import write_json
    from .progress import bar

    encoder = load_encoder(arguments.encoder)
    labelled_files(arguments.test)  # a misspelt test folder should not wait for the training folder
    with bar("training images", 0) as shown:
        train = embed_labelled(
            arguments.train, encoder, workers=arguments.workers, on_start=shown.of, on_progress=shown.advance
        )
    with bar("test images", 0) as shown:
        test = embed_labelled(
            arguments.test,
            encoder,
            train.classes,
            workers=arguments.workers,
            on_start=shown.of,
            on_progress=shown.advance,
        )
    for path, reason in (train.failed + test.failed)[:10]:
        cli.remark(f"left out: {path}: {reason}")
    results = probe(train, test, k=arguments.knn_k)
    content = report(results, encoder, (arguments.train, train), (arguments.test, test))
    if arguments.encoder is not None and Path(arguments.encoder).is_dir():
        cli.remark(f"kept in {save_report(Path(arguments.encoder), content)}")
    if arguments.out is not None:
        write_json(arguments.out, content)
    if arguments.json:
        print(json.dumps(content, indent=2))
    else:
        print_table(content)


def print_table(content: dict) -> None:
    """Print a probe report as a table."""
    print(
        f"encoder {content['encoder']}: {content['train_images']} training and {content['test_images']} test images, "
        f"{content['classes']} classes"
    )
    print(f"{'':10}{'top-1':>8}{'top-5':>8}")
    for name, result in content["results"].items():
        top5 = f"{100 * result['top5']:8.1f}" if "top5" in result else f"{'-':>8}"
        print(f"{name:10}{100 * result['top1']:8.1f}{top5}")


if __name__ == "__main__":
    cli.run(main)
