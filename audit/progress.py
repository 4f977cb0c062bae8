"""How a sweep tells a person where it is: a live bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ConsoleProgress:
    """Progress on a console; a context manager, so that the bar is always closed.

    Args:
        console: where to draw; standard error, so that standard output stays clean.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn("training and attacking"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("models"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task: TaskID | None = None
        self._total = self._done = self._failed = 0
        self._before = 0
        self._started = self._said = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def announce(self, message: str) -> None:
        """One dim line."""
        self._console.print(message, style="dim", highlight=False)

    def start(self, total: int, done: int) -> None:
        """Show the bar, with what was done before."""
        self._total, self._done, self._before = total, done, done
        if done:
            self.announce(f"{done} of {total} models are there already")
        if self._console.is_terminal and done < total:
            self._task = self._bar.add_task("", total=total, completed=done)
            self._bar.start()
        self._started = self._said = time.monotonic()

    def advance(self, models: int, failed: int) -> None:
        """Move the bar; without a terminal, say so every ten seconds and at the end."""
        self._done += models
        self._failed += failed
        if self._task is not None:
            self._bar.update(self._task, completed=self._done + self._failed)
            return
        now = time.monotonic()
        finished = self._done + self._failed >= self._total
        if finished or now - self._said > 10:
            self._said = now
            pace = (now - self._started) / max(self._done + self._failed - self._before, 1)
            left = pace * (self._total - self._done - self._failed)
            fails = f", {self._failed} failed" if self._failed else ""
            self.announce(f"{self._done} of {self._total} models{fails}, about {left:.0f} s left")
