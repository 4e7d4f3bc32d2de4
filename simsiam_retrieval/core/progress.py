"""Progress bars on stderr, drawn by rich; quiet lines where stderr is no terminal."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(label: str, total: int, *, show: bool = True) -> Iterator["Bar"]:
    """A bar over ``total`` items, with time left; ``advance`` moves it, ``note`` sets the text behind it."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not (show and console.is_terminal)) as progress:
        yield Bar(progress, progress.add_task(label, total=total, note=""))


class Bar:
    """Handle on a running progress bar."""

    def __init__(self, progress: Progress, task) -> None:
        self._progress, self._task = progress, task
        self._began: tuple[float, int] | None = None

    def advance(self, count: int = 1) -> None:
        self._progress.advance(self._task, count)

    def of(self, total: int) -> None:
        self._progress.update(self._task, total=total)

    def at(self, done: int) -> None:
        self._progress.update(self._task, completed=done)

    def at_with_rate(self, done: int, unit: str = "images/s") -> None:
        """As :meth:`at`, with the rate since the first item was done in the note."""
        now = time.monotonic()
        if self._began is None:
            self._began = (now, done) if done else None
        elif now > self._began[0]:
            self.note(f"{(done - self._began[1]) / (now - self._began[0]):.0f} {unit}")
        self.at(done)

    def note(self, text: str) -> None:
        self._progress.update(self._task, note=text)
