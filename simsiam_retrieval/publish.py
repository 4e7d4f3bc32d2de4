"""``python -m simsiam_retrieval.publish RUN OWNER/NAME``."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from .core import cli
from .core.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .publishing.repository_folder import File
    from .publishing.run_facts import Facts


EXAMPLES = """examples:
  publish runs/photos OWNER/NAME --dry-run     write the repository's files, upload nothing
  publish runs/photos OWNER/NAME"""


@dataclass(frozen=True)
class Arguments:
    """Publish a run's encoder on the Hugging Face Hub: weights, ONNX files, checksums and a model card.

    The token comes from `hf auth login` or HF_TOKEN. A new repository is private; where one exists, this becomes a
    pull request.
    """

    run: tyro.conf.Positional[Path]
    """Run folder; what export and probe wrote into it is published, too."""
    repository: tyro.conf.Positional[str]
    """Model repository on the Hub: OWNER/NAME."""
    dry_run: bool = False
    """Write the folder, print the plan, and use no network."""
    out: Path | None = None
    """Folder to write. Default: RUN/hub."""
    public: bool = False
    """Make a new repository public."""
    replace: bool = False
    """Change the main branch of an existing repository, instead of opening a pull request."""
    licence: str | None = None
    """Licence of the weights: an identifier of the Hub such as apache-2.0, or any text. Default: not stated."""
    data: str | None = None
    """Training data and its licence, in words, for the model card. Default: the folders' names."""
    eval_dataset: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """TEST=OWNER/DATASET[#TASK]: say that a test folder of probe is this data set on the Hub. May be repeated."""


def main() -> None:
    """Run the command."""
    arguments = cli.parse(Arguments, "publish", examples=EXAMPLES)
    # imported here, because torch and the Hub's client are slow and --help must be fast
    from .publishing.run_facts import gather
    from .publishing.upload import check_name, check_token, upload
    from .training.run_files import stored_config

    check_name(arguments.repository)
    if not arguments.dry_run:
        check_token()
    stored_config(arguments.run)
    from .publishing.card_metadata import Stated
    from .publishing.repository_folder import refuse_used, write_folder

    out = arguments.out or arguments.run / "hub"
    refuse_used(out)
    if not (arguments.run / "encoder.onnx").exists():
        cli.remark("no encoder.onnx yet: exporting")
        # the only place in the package that imports export
        from .export.export_run import export_run  # pyright: ignore[reportMissingImports]

        export_run(arguments.run, arguments.run / "encoder.onnx")
    facts = gather(arguments.run)
    stated = Stated(arguments.repository, arguments.licence, arguments.data)
    files = write_folder(facts, stated, arguments.eval_dataset, out)
    remark_gaps(facts, arguments)
    if arguments.dry_run:
        print_plan(arguments, out, files)
        return
    cli.remark(f"{len(files)} files, {_megabytes(files)}, in {printable(out)}")
    identity = facts.default.encoder.identity
    try:
        outcome = upload(
            out,
            files,
            arguments.repository,
            public=arguments.public,
            replace=arguments.replace,
            title=f"Publish encoder {identity}",
            say=cli.remark,
        )
    except KeyboardInterrupt:
        cli.remark(f"the files are in {printable(out)}; run the same command to continue")
        raise
    reference = f"hf://{arguments.repository}" + (f"@{outcome.revision}" if outcome.revision else "")
    cli.remark(f"{outcome.what}; to use it: load_encoder('{reference}')")
    print(outcome.url)


def remark_gaps(facts: "Facts", arguments: Arguments) -> None:
    """Print what the card lacks, and how to add it.

    Args:
        facts: The run.
        arguments: The command's arguments.
    """
    from .publishing.card_metadata import Stated, licence_of

    run = printable(arguments.run)
    missing = {precision for precision in ("fp16", "int8")} - {encoder.precision for encoder in facts.encoders}
    if missing:
        wanted = ",".join(sorted(missing))
        cli.remark(f"left out: {wanted}; first: python -m simsiam_retrieval.export {run} --precision {wanted}")
    if facts.other_reports:
        cli.remark(f"left out: {facts.other_reports} evaluation(s) of other encoders, such as an earlier export")
    if not facts.reports:
        cli.remark(f"left out: evaluation; first: python -m simsiam_retrieval.probe {run} --train DIR --test DIR")
    elif not arguments.eval_dataset:
        cli.remark("left out: .eval_results, which is for data sets on the Hub; see --eval-dataset")
    if licence_of(facts, Stated(arguments.repository, arguments.licence)) is None:
        cli.remark("note: no licence; the card says so. State one with --licence")
    if arguments.data is None and facts.described.get("data", {}).get("roots"):
        cli.remark("note: the card names the folders of the training images; say what they are with --data")


def print_plan(arguments: Arguments, out: Path, files: "Sequence[File]") -> None:
    """Print the files, and what would be done with them.

    Args:
        arguments: The command's arguments.
        out: The folder.
        files: Its files.
    """
    width = max(len(file.path) for file in files)
    for file in files:
        print(f"{file.path:{width}}  {file.size:>12,}  sha256 {file.sha256[:16]}")
    visible = "public" if arguments.public else "private"
    print(f"{len(files)} files, {_megabytes(files)}, in {printable(out)}")
    print(f"target: {arguments.repository}, created as a {visible} repository if there is none;")
    if arguments.replace:
        print("if there is one, its main branch changes")
    else:
        print("if there is one, this becomes a pull request, which changes nothing by itself")


def _megabytes(files: "Sequence[File]") -> str:
    return f"{sum(file.size for file in files) / 1e6:.1f} MB"


if __name__ == "__main__":
    cli.run(main)
