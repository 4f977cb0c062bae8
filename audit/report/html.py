"""A run as one self-contained HTML page: no network, no script; whatever users wrote is escaped."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from audit import formatting, plots
from audit.report import tables
from audit.report.summary import plain
from audit.report.threat_model import ThreatRow, threat_rows
from audit.results import RunResult
from audit.themes import DARK, LIGHT

PLOT_TEXTS = {
    "bounds": "Empirical lower bound on epsilon against claimed epsilon, with the claim and the ceilings.",
    "extraction": "Extraction rate, exposure and membership AUC of secrets against claimed epsilon.",
    "secrets": "Secrets extracted, at once and among 100, beside their membership AUC, against claimed epsilon.",
    "bits": "Bits that a secret needs, and extraction against the bits that it has.",
    "roc": "ROC curves of every attack on logarithmic axes, one for each claimed epsilon.",
    "utility": "Utility of the models against claimed epsilon.",
}


def write_report(result: RunResult, path: str | Path) -> Path:
    """Write the page to `path`, making its folder; equal results give equal bytes."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(result), encoding="utf-8")
    return path


def render(result: RunResult) -> str:
    """The page."""
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            result=result,
            css=Markup(_resource("report.css")),
            epsilons=tables.claimed_epsilons(result),
            verdicts=_matrix(tables.verdict_rows(result)),
            attacks=_by_pipeline(tables.attack_rows(result)),
            levels=_levels(threat_rows(result)),
            risks=_risks(tables.risk_rows(result)),
            secrets=_secrets(tables.extraction_rows(result)),
            rates=_rates(tables.rate_rows(result)),
            groups=_by_pipeline(tables.bound_groups(result)),
            claims=tables.claim_rows(result),
            utility=_utility(tables.utility_rows(result)),
            plots=_plots(result),
            provenance=dict(_flat(plain(result.provenance))),
            config=json.dumps(plain(result.config), indent=2, ensure_ascii=False),
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_resource),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("number", "lower", "upper", "setting", "p_value", "percent", "confidence"):
        environment.filters[name] = getattr(formatting, name)
    environment.filters["interval"] = lambda i: formatting.between(i.value, i.low, i.high)
    environment.filters["rate"] = lambda i: formatting.percent_between(i.value, i.low, i.high)
    environment.filters["css_class"] = lambda outcome: outcome.lower().replace("_", "-")
    environment.filters["counts"] = _counts
    environment.tests["finite"] = math.isfinite
    environment.tests["nan"] = math.isnan
    return environment


def _resource(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _by_pipeline(rows: list[Any]) -> dict[str, dict[str, list[Any]]]:
    """Rows by pipeline, then by attack."""
    grouped: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        grouped.setdefault(row.pipeline, {}).setdefault(row.attack, []).append(row)
    return grouped


def _matrix(rows: list[tables.VerdictRow]) -> dict[str, dict[float, tables.VerdictRow]]:
    """Rows by pipeline, then by claimed epsilon."""
    matrix: dict[str, dict[float, tables.VerdictRow]] = {}
    for row in rows:
        matrix.setdefault(row.pipeline, {})[row.epsilon] = row
    return matrix


def _levels(rows: list[ThreatRow]) -> dict[str, dict[str, dict[float, ThreatRow]]]:
    """Rows by pipeline, then by what is released, then by claimed epsilon."""
    found: dict[str, dict[str, dict[float, ThreatRow]]] = {}
    for row in rows:
        found.setdefault(row.pipeline, {}).setdefault(row.access, {})[row.epsilon] = row
    return found


def _risks(rows: list[tables.RiskRow]) -> dict[str, dict[float, tables.RiskRow]]:
    """Rows by pipeline, then by claimed epsilon."""
    found: dict[str, dict[float, tables.RiskRow]] = {}
    for row in rows:
        found.setdefault(row.pipeline, {})[row.epsilon] = row
    return found


def _secrets(rows: list[tables.ExtractionRow]) -> list[dict[str, Any]]:
    """One table for each pipeline and attack: by repetition count, then by claimed epsilon."""
    found: dict[tuple[str, str], dict[int, dict[float, tables.ExtractionRow]]] = {}
    for row in rows:
        counts = found.setdefault((row.pipeline, row.attack), {})
        counts.setdefault(row.found.repetitions, {})[row.epsilon] = row
    return [
        {"pipeline": pipeline, "attack": attack, "counts": counts, "example": _example(counts)}
        for (pipeline, attack), counts in found.items()
    ]


def _example(counts: Mapping[int, Mapping[float, tables.ExtractionRow]]) -> tables.ExtractionRow | None:
    """The most repeated secret at the largest finite epsilon, to say in numbers what the claim leaves for it."""
    rows = [row for row in counts[max(counts)].values() if math.isfinite(row.epsilon) and row.found.repetitions > 1]
    return max(rows, key=lambda row: row.epsilon, default=None)


def _rates(rows: list[tables.RateRow]) -> dict[tuple[str, str, str], dict[int, dict[float, Any]]]:
    """One table for each pipeline, attack and title: by repetition count, then by claimed epsilon."""
    found: dict[tuple[str, str, str], dict[int, dict[float, Any]]] = {}
    for row in rows:
        counts = found.setdefault((row.pipeline, row.attack, row.rate.title), {})
        counts.setdefault(row.rate.repetitions, {})[row.epsilon] = row.rate
    return found


def _utility(rows: list[tables.UtilityRow]) -> dict[tuple[str, str], dict[float, Any]]:
    found: dict[tuple[str, str], dict[float, Any]] = {}
    for row in rows:
        found.setdefault((row.pipeline, row.name), {})[row.epsilon] = row.utility
    return found


def _plots(result: RunResult) -> dict[str, dict[str, Any]]:
    """Each plot as data URIs for light and for dark surroundings, with its natural width in pixels."""
    light, dark = plots.figures(result, LIGHT), plots.figures(result, DARK)
    return {
        name: {
            "light": _data_uri(plots.svg(figure)),
            "dark": _data_uri(plots.svg(dark[name])),
            "width": round(figure.get_figwidth() * 96),
            "text": PLOT_TEXTS[name],
        }
        for name, figure in light.items()
    }


def _data_uri(image: bytes) -> str:
    return "data:image/svg+xml;base64," + base64.b64encode(image).decode("ascii")


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as (dotted key, text)."""
    for key, item in value.items():
        if isinstance(item, Mapping) and item:
            yield from _flat(item, f"{prefix}{key}.")
        else:
            yield prefix + key, item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)


def _counts(samples: Mapping[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in _flat(plain(samples)))
