"""What a run found: plain immutable data that the report draws, the gate reads and the API returns."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from attacks.scores import Scores
from audit.bounds import Bound
from audit.claim import Claim
from audit.claim_test import ClaimTest
from audit.design_effect import DesignEffect


class Outcome(enum.StrEnum):
    """What holding a bound against a claim can end in."""

    REFUTED = "REFUTED"
    NOT_REFUTED = "NOT_REFUTED"
    INCONCLUSIVE = "INCONCLUSIVE"


@dataclass(frozen=True)
class Verdict:
    """An outcome, the sentence that says why, and the largest epsilon that a perfect attack could have shown.

    Attributes:
        outcome: the outcome.
        reason: one or more sentences with the numbers.
        lower_bound: the largest lower bound that the verdict rests on.
        ceiling: the largest epsilon that a perfect attack could have shown at this sample size.
        refutable: false if not even a perfect attack could have refuted the claim at this sample size.
        alarmed: true if a negative control saw something: then no number of the cell counts against anything.
        gaps: what the audit lacks, models or controls, a sentence each; a refutation stands in spite of them.
    """

    outcome: Outcome
    reason: str
    lower_bound: float
    ceiling: float
    refutable: bool = True
    alarmed: bool = False
    gaps: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


About = Literal["", "models", "canaries"]


@dataclass(frozen=True)
class Interval:
    """A measured value between the limits of a confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ScopedInterval(Interval):
    """One that says what it is about: of an AUC (`audit.auc`) or of a mean exposure (`metrics.clustered_mean`).

    Attributes:
        of_these: "models" or "canaries" where it is about these alone, and says nothing of others.
    """

    of_these: About = ""


@dataclass(frozen=True)
class Extraction:
    """How secrets of one repetition count and length fared. Members only, unless `repetitions` is 0 (never inserted).

    Attributes:
        repetitions: records that hold the secret; 0 stands for the secrets that were never inserted.
        secrets: how many (model, secret) pairs.
        rate: share extracted exactly, with its 95% interval: Wilson's, for as many trials as the pairs are worth.
        exposure: mean exposure in bits (Carlini 2019); NaN for attacks that do not rank.
        exposure_max: log2 of the number of possible secrets.
        auc: membership AUC of these secrets against those whose coin left them out, where both exist.
        auc_interval: the same with its 95% interval (`audit.auc`).
        top: (k, share among the k likeliest values) for each k that the attack looks at, with intervals as `rate`.
        exact: share of pairs whose rank was counted; of the others it was estimated.
        exposure_floor: mean of what the exposures are proven not to fall below; NaN where the attack does not tell.
        exposure_cap: mean of what they are proven not to exceed; NaN likewise.
        allowed: the largest probability of guessing such a secret at once that the cell's claim allows; None for
            secrets that were never inserted, and where nothing is claimed.
        models: how many models the pairs are of.
        effects: by the name of its evidence, how the pairs of a share depend on each other; a share that is not there
            is taken for one of independent pairs.
        exposure_interval: `exposure` with its 95% interval over models; None for attacks that do not rank.
    """

    repetitions: int
    secrets: int
    rate: Interval
    exposure: float
    exposure_max: float
    auc: float | None
    auc_interval: ScopedInterval | None = None
    top: tuple[tuple[int, Interval], ...] = ()
    exact: float = 1.0
    exposure_floor: float = math.nan
    exposure_cap: float = math.nan
    allowed: float | None = None
    models: int = 0
    effects: Mapping[str, DesignEffect] = field(default_factory=dict)
    exposure_interval: ScopedInterval | None = None

    def of_these_models(self, share: Interval) -> bool:
        """True where the interval of a share takes secrets for replicates, and does not say how models differ.

        So it is with one model, and where all pairs fared alike: how far models differ cannot be seen then. Intervals
        of exposures and AUCs tell it themselves (`ScopedInterval`).
        """
        return self.models < 2 or share.value in (0.0, 1.0)


@dataclass(frozen=True)
class RecordRisk:
    """How well one record's membership can be told, over many models.

    Attributes:
        canary: its id.
        auc: P(a model that had it scores it higher than one that had not); limits hold for all records together.
        advantage: TPR - FPR at the best threshold of two normals with that AUC.
        p_value: of the hypothesis that in and out score alike, adjusted over all records.
        members: models that had it.
        non_members: models that had not.
    """

    canary: str
    auc: Interval
    advantage: Interval
    p_value: float
    members: int
    non_members: int


@dataclass(frozen=True)
class EvidenceRate:
    """How often an attack's evidence was true of canaries of one repetition count and length, see `Attack.rates`.

    Attributes:
        evidence: its name.
        title: what the attack calls it.
        repetitions: records that hold the canary; 0 stands for canaries that were never inserted.
        bits: log2 of the number of possible secrets; 0 for canaries without a secret.
        pairs: pairs (model, canary) that it is a share of: the canary was in, or never inserted.
        models: how many models the pairs are of.
        share: of these pairs, with its 95% interval: Wilson's, for as many trials as the pairs are worth.
        left_out_pairs: pairs of the same canaries with models whose coin left them out; 0 for the never inserted.
        left_out: the share of those pairs; None where there are none.
    """

    evidence: str
    title: str
    repetitions: int
    bits: float
    pairs: int
    models: int
    share: Interval
    left_out_pairs: int = 0
    left_out: Interval | None = None

    def of_these_models(self) -> bool:
        """True where the interval of `share` takes canaries for replicates; see `Extraction.of_these_models`."""
        return self.models < 2 or self.share.value in (0.0, 1.0)


@dataclass(frozen=True, eq=False)
class AttackResult:
    """One attack on the models of one cell.

    Attributes:
        attack: its label, or its name.
        family: "membership", "label-only", "extraction" or "white-box".
        access: what it was granted.
        queries: records that it sent to each model.
        scores: its scores, references included; where it compares models, each with all others as its reference.
        auc: membership AUC with its 95% interval (`audit.auc`); NaN where one side is empty.
        bounds: one for each estimator that applies.
        seen_p: p-value of the hypothesis that canaries in and out score alike (small: the attack sees them).
        reference_p: the same among references, which were never inserted; None without references.
        extraction: by repetition count, for attacks that extract.
        claim_test: the cell's claim held against these scores, its p-value adjusted for all such tests and all bounds
            of the run; None for a control or where no test fits.
        could_refute: whether the claim's test of a perfect attack's scores, paid for alike, would have refuted it; its
            guesses count as perfect only where those of the positive control prove something.
        visible: whether a perfect attack's scores of as many models and canaries would have a `seen_p` that is small
            enough for a positive control.
        tpr_at: by false positive rate, the true positive rate with a 95% bootstrap interval over models.
        risks: the records most at risk, the worst first; empty with few models, or where whole models were randomised.
        chance_p: by what an attack says of secrets, the p-value of "those that a model never had fare as chance
            allows", of secrets never inserted and, apart, of those that the coin left out.
        unproven: the estimators that look at what the attack says of secrets, not at its scores, and prove nothing.
        held_out: where `scores` were calibrated on each other's coins, those that were not (`attacks.cross_model`).
    """

    attack: str
    family: str
    access: str
    queries: float
    scores: Scores
    auc: Interval
    bounds: tuple[Bound, ...]
    seen_p: float
    reference_p: float | None
    extraction: tuple[Extraction, ...] = ()
    claim_test: ClaimTest | None = None
    could_refute: bool = False
    visible: bool = True
    tpr_at: Mapping[float, Interval] = field(default_factory=dict)
    risks: tuple[RecordRisk, ...] = ()
    chance_p: Mapping[str, float] = field(default_factory=dict)
    unproven: frozenset[str] = frozenset()
    held_out: Scores | None = None
    rates: tuple[EvidenceRate, ...] = ()

    @property
    def proving(self) -> Scores:
        """The scores that may prove something, references included."""
        return self.scores if self.held_out is None else self.held_out


@dataclass(frozen=True, eq=False)
class CellResult:
    """All attacks on one pipeline at one claimed epsilon.

    Attributes:
        audit: the pipeline's name.
        claim: what it claims; epsilon infinity is the positive control.
        noise_multiplier: sigma that the accountant asked for; 0 for the control; None where unknown.
        models_planned: how many models the plan has.
        models_done: how many are there.
        utility: mean utility with its range over models, by name ("accuracy", "test loss", ...).
        attacks: one result for each attack.
        verdict: None for a control.
    """

    audit: str
    claim: Claim
    noise_multiplier: float | None
    models_planned: int
    models_done: int
    utility: dict[str, Interval]
    attacks: tuple[AttackResult, ...]
    verdict: Verdict | None


@dataclass(frozen=True, eq=False)
class RunResult:
    """A whole run.

    Attributes:
        name: the experiment's name.
        cells: in the order of the experiment: pipeline by pipeline, epsilon by epsilon.
        verdict: over all cells that claim something.
        confidence: simultaneous over every bound of the run.
        config: the experiment as it was run, as plain data.
        provenance: versions, seeds, digests, machine, time; plain data for the report.
        failures: traceback by unit, for units that failed.
    """

    name: str
    cells: tuple[CellResult, ...]
    verdict: Verdict
    confidence: float
    config: dict[str, Any]
    provenance: dict[str, Any]
    failures: dict[str, str] = field(default_factory=dict)
