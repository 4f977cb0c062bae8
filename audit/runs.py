"""A run directory read back: what it holds, as results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from audit import registry
from audit.analysis import AttackKind, CellScores, RunScores, analyse, calibrate, scores_from_frame
from audit.claim import Claim
from audit.combine import simultaneous_confidence
from audit.mechanism import DPSGD
from audit.policy import Policy
from audit.results import Outcome, RunResult
from audit.sequential import confidence_at_look
from audit.store import RunDirectory
from canaries.errors import InputError


def load_result(path: Path, policy: Policy | None = None) -> RunResult:
    """Analyse the run directory at `path`; `policy` stands in for the experiment's own.

    Budgets on rates and a baseline take an equal share of the error each; the result's confidence is that of one share.

    Raises:
        InputError: if there is no run, or it cannot be read.
    """
    run = RunDirectory.open(path)
    manifest = run.manifest()
    try:
        return _told(analyse(_run_scores(run, manifest, policy)), manifest.get("stopped"))
    except KeyError as error:
        raise InputError(f"'{path}' is damaged: {error} is missing.") from None


def _told(result: RunResult, stopped: str | None) -> RunResult:
    """With what let the run stop before its last models, where it was no refutation."""
    if stopped is None or result.verdict.outcome is not Outcome.NOT_REFUTED:
        return result
    return replace(result, verdict=replace(result.verdict, reason=f"{result.verdict.reason} {stopped}"))


def _run_scores(run: RunDirectory, manifest: dict[str, Any], policy: Policy | None) -> RunScores:
    experiment = manifest["experiment"]
    policy = policy or Policy.model_validate(experiment["gate"])
    audits = {audit["name"]: audit for audit in experiment["audits"]}
    cells = tuple(_cell(run, cell, audits[cell["audit"]]) for cell in manifest["cells"])
    units = [unit for cell in manifest["cells"] for unit in cell["units"]]
    return RunScores(
        name=experiment["name"],
        cells=cells,
        delta=float(experiment["delta"]),
        confidence=simultaneous_confidence(
            _confidence(policy.confidence or float(experiment["confidence"]), manifest.get("look")), policy.families
        ),
        seed=int(experiment["seed"]),
        policy=policy,
        config=experiment,
        provenance={key: manifest[key] for key in ("created", "versions", "machine", "digests")}
        | _pilots(manifest)
        | _looked(manifest),
        failures=run.failures(units),
    )


def _pilots(manifest: dict[str, Any]) -> dict[str, Any]:
    """What pilots chose, by audit; nothing where there were none."""
    chosen = {name: found["chosen"] for name, found in manifest.get("pilots", {}).items()}
    return {"chosen by pilots": chosen} if chosen else {}


def _looked(manifest: dict[str, Any]) -> dict[str, Any]:
    """Which look this is, where there are several."""
    look = manifest.get("look")
    return {} if look is None else {"look": f"{look}, which spends 1/{look * (look + 1)} of the error"}


def _confidence(whole: float, look: int | None) -> float:
    """What this look at the run may rest on; all of it where there was one look only."""
    return whole if look is None else confidence_at_look(whole, look)


def _cell(run: RunDirectory, cell: dict[str, Any], audit: dict[str, Any]) -> CellScores:
    attacks = [registry.build(registry.ATTACKS, spec) for spec in audit["attacks"]]
    frame = run.scores(audit["name"], cell["units"])
    facts = run.facts(audit["name"], cell["units"])
    seen = {
        AttackKind.of(attack): (
            attack,
            scores_from_frame(frame[frame["attack"] == attack.title], cell["randomised"]),
        )
        for attack in attacks
        if len(frame)
    }
    claim = {**cell["claim"], "epsilon": float(cell["claim"]["epsilon"])}
    if claim.get("mechanism") is not None:
        later = tuple((steps, rate) for steps, rate in claim["mechanism"]["later"])
        claim["mechanism"] = DPSGD(**{**claim["mechanism"], "later": later})
    return CellScores(
        audit=audit["name"],
        claim=Claim(**claim),
        noise_multiplier=cell["noise_multiplier"],
        models_planned=len(cell["units"]),
        models_wanted=cell.get("models_wanted"),
        queries={name: float(count) for name, count in facts[0]["queries"].items()} if facts else {},
        utility={name: [fact["utility"][name] for fact in facts] for name in facts[0]["utility"]} if facts else {},
        estimators=tuple(registry.build(registry.ESTIMATORS, spec) for spec in audit["estimators"]),
        **calibrate(seen),
    )
