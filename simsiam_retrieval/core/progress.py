"""Progress bars on stderr, drawn by rich. If stderr is no terminal, nothing is drawn; phases are lines then."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(label: str, total: int, *, show: bool = True, say: bool = False) -> Iterator["Bar"]:
    """Show a progress bar with the remaining time.

    Args:
        label: Text before the bar.
        total: Number of items.
        show: False draws nothing.
        say: Whether to print the label as a line if stderr is no terminal.

    Yields:
        The bar.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    drawn = show and console.is_terminal
    said = None if drawn or not (show and say) else label
    if said is not None:
        print(said, file=sys.stderr, flush=True)
    with Progress(*columns, console=console, disable=not drawn) as progress:
        yield Bar(progress, progress.add_task(label, total=total, note=""), said)


class Bar:
    """A running progress bar."""

    def __init__(self, progress: Progress, task, said: str | None = None) -> None:
        self._progress, self._task, self._said = progress, task, said
        self._began: tuple[float, int] | None = None

    def advance(self, count: int = 1) -> None:
        """Move forward.

        Args:
            count: Number of items.
        """
        self._progress.advance(self._task, count)

    def of(self, total: int) -> None:
        """Set the total number of items.

        Args:
            total: The new total.
        """
        self._progress.update(self._task, total=total)

    def at(self, done: int) -> None:
        """Set the number of finished items.

        Args:
            done: Number of items.
        """
        self._progress.update(self._task, completed=done)

    def at_with_rate(self, done: int, unit: str = "images/s") -> None:
        """Set the number of finished items, and show the rate since the first one.

        Args:
            done: Number of items.
            unit: Unit of the rate.
        """
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done) if done else None
        elif now > self._began[0]:
            self.note(f"{(done - self._began[1]) / (now - self._began[0]):.0f} {unit}")
        self.at(done)

    def stage(self, name: str, done: int, total: int) -> None:
        """Show a stage of the work.

        Args:
            name: Name of the stage.
            done: Number of its items that are finished.
            total: Number of all its items.
        """
        self.of(total)
        self.at(done)
        self.note(name)

    def note(self, text: str) -> None:
        """Set the text after the bar.

        Args:
            text: The text.
        """
        self._progress.update(self._task, note=text)

    def phase(self, text: str) -> None:
        """Show what begins now: after the bar, or as a line of its own if stderr is no terminal.

        Args:
            text: The text.
        """
        if self._said is None:
            self.note(text)
        else:
            print(f"{self._said}: {text}", file=sys.stderr, flush=True)
