"""A run in the terminal: the verdict, and one row for each pipeline and attack, one column for each epsilon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from audit.formatting import MISSING, confidence, lower, number, p_value, percent, percent_between, setting, upper
from audit.report.tables import (
    AttackRow,
    ExtractionRow,
    RateRow,
    VerdictRow,
    attack_rows,
    claimed_epsilons,
    extraction_rows,
    rate_rows,
    verdict_rows,
)
from audit.report.threat_model import ThreatRow, threat_rows
from audit.results import Outcome, RunResult, Verdict

COLOURS = {Outcome.REFUTED: "bold red", Outcome.NOT_REFUTED: "bold cyan", Outcome.INCONCLUSIVE: "bold yellow"}


def print_report(result: RunResult, console: Console | None = None) -> None:
    """Print `terminal_report(result)`."""
    (console or Console()).print(terminal_report(result))


def terminal_report(result: RunResult) -> RenderableType:
    """The table of bounds and extraction, the verdict with its sentence, and how many units failed."""
    parts: list[RenderableType] = [_Bounds(result)] if result.cells else []
    parts.append(_verdict(result.verdict))
    if result.failures:
        parts.append(Text(f"{len(result.failures)} failed: {', '.join(result.failures)}", style="red"))
    return Group(*parts)


def _verdict(verdict: Verdict) -> Text:
    colour = COLOURS[verdict.outcome]
    return Text.assemble((verdict.outcome.replace("_", " "), colour), ": ", verdict.reason)


@dataclass(frozen=True)
class _Bounds:
    """The table, closer set where the terminal is narrow."""

    result: RunResult

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = _table(self.result)
        if table.__rich_measure__(console, options).maximum > options.max_width:
            table.padding = 0
        yield table


def _table(result: RunResult) -> Table:
    epsilons = claimed_epsilons(result)
    attacks, extractions, levels = attack_rows(result), extraction_rows(result), threat_rows(result)
    rates = rate_rows(result)
    title = f"Lower bounds on ε (≤ the most that could have shown), {confidence(result.confidence)} confidence in all"
    table = Table(title=Text(title), title_justify="left", title_style="bold", caption_justify="left")
    table.box, table.pad_edge, table.padding = box.SIMPLE_HEAD, False, (0, 1, 0, 0)
    table.add_column("pipeline, attack", overflow="fold")
    for epsilon in epsilons:
        head = f"ε = {setting(epsilon)}" + ("\nno noise" if math.isinf(epsilon) else "")
        table.add_column(Text(head), overflow="fold", min_width=12)
    verdicts = verdict_rows(result)
    for pipeline in dict.fromkeys(row.pipeline for row in verdicts):
        own = {row.epsilon: _outcome(row) for row in verdicts if row.pipeline == pipeline}
        _add(table, Text(pipeline, style="bold"), epsilons, own)
        for name, cells in _bounds([row for row in attacks if row.pipeline == pipeline]).items():
            _add(table, _name(name), epsilons, cells)
        for level in dict.fromkeys(row.access for row in levels if row.pipeline == pipeline):
            released = [row for row in levels if (row.pipeline, row.access) == (pipeline, level)]
            _add(table, Text(f"  released: {level}"), epsilons, {row.epsilon: _released(row) for row in released})
        for name, cells in _extraction([row for row in extractions if row.pipeline == pipeline]).items():
            _add(table, _name(name), epsilons, cells)
        for name, cells in _rates([row for row in rates if row.pipeline == pipeline]).items():
            _add(table, _name(name), epsilons, cells)
        table.add_section()
    if any(row.parametric for row in attacks):
        table.caption = Text("† assumes the shape of the trade-off curve")
    return table


def _add(table: Table, name: Text, epsilons: Sequence[float], cells: dict[float, Text]) -> None:
    table.add_row(name, *(cells.get(epsilon, Text(MISSING, style="dim")) for epsilon in epsilons))


def _name(name: str) -> Text:
    first, _, second = name.partition("\n")
    return Text.assemble("  ", first, ("\n  " + second, "dim"))


def _bounds(rows: Sequence[AttackRow]) -> dict[str, dict[float, Text]]:
    found: dict[str, dict[float, Text]] = {}
    for row in rows:
        name = f"{row.attack}\n{row.family}"
        found.setdefault(name, {})[row.epsilon] = Text.assemble(
            (MISSING if math.isnan(row.lower_bound) else lower(row.lower_bound), "bold"),
            "" if math.isnan(row.ceiling) else f" (≤{upper(row.ceiling)})",
            "†" if row.parametric else "",
            ("" if math.isnan(row.auc.value) else f"\nAUC {number(row.auc.value)}", "dim"),
        )
    return found


def _released(row: ThreatRow) -> Text:
    if not row.seen:
        return Text("inconclusive", style="dim")
    return Text.assemble((lower(row.lower_bound), "bold"), "†" if row.parametric else "")


def _extraction(rows: Sequence[ExtractionRow]) -> dict[str, dict[float, Text]]:
    found: dict[str, dict[float, Text]] = {}
    for row in rows:
        name = f"{row.attack}\n{_copies(row.found.repetitions)}"
        auc = "" if row.found.auc is None else f"\nAUC {number(row.found.auc)}"
        bits = "" if math.isnan(row.found.exposure) else f"\n{number(row.found.exposure)} bits"
        text = Text(f"{percent(row.found.rate.value)} found{bits}{auc}")
        found.setdefault(name, {})[row.epsilon] = text
    return found


def _rates(rows: Sequence[RateRow]) -> dict[str, dict[float, Text]]:
    found: dict[str, dict[float, Text]] = {}
    for row in rows:
        share, left_out = row.rate.share, row.rate.left_out
        text = Text(percent_between(share.value, share.low, share.high))
        if left_out is not None:
            text.append(f"\nleft out {percent_between(left_out.value, left_out.low, left_out.high)}", "dim")
        name = f"{row.attack}\n{row.rate.title}, {_copies(row.rate.repetitions)}"
        found.setdefault(name, {})[row.epsilon] = text
    return found


def _copies(count: int) -> str:
    return f"{count} {'copy' if count == 1 else 'copies'}" if count else "never inserted"


def _outcome(row: VerdictRow) -> Text:
    if row.verdict is None:
        return Text(f"control\np {p_value(row.control_p)}", style="dim")
    return Text(row.verdict.outcome.replace("_", " ").lower(), style=COLOURS[row.verdict.outcome])
