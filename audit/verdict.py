"""From bounds and controls to a verdict: REFUTED, NOT_REFUTED or INCONCLUSIVE, and the sentence that says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from audit.bounds import Bound
from audit.claim import Claim
from audit.claim_test import ClaimTest
from audit.formatting import confidence, upper
from audit.formatting import lower as shown
from audit.results import AttackResult, Outcome, Verdict

CONTROL_ALARM = 1e-3
"""How often, at most, the negative controls of a sound run raise an alarm, over all its tests together."""


@dataclass(frozen=True)
class Controls:
    """What a run's controls say.

    Attributes:
        seen: the attacks that saw the canaries without noise (positive control); None where there was no such run.
        alarms: the attacks that saw canaries which were never inserted (negative control).
        level: the p-value below which a negative control counts as seen.
        lucky: (attack, what it says) of secrets that fared better than chance allows in models that never saw them.
        telling: whether a perfect attack would have seen the canaries without noise, with as many models.
        blind: (attack, estimator) of bounds from secrets that are 0 without noise too. `seen` is about an attack's
            scores, which those bounds do not look at: what a perfect attack could have shown by them counts for naught.
    """

    seen: frozenset[str] | None
    alarms: frozenset[str]
    level: float
    lucky: frozenset[tuple[str, str]] = frozenset()
    telling: bool = True
    blind: frozenset[tuple[str, str]] = frozenset()

    def counted(self, attack: AttackResult) -> tuple[Bound, ...]:
        """The bounds of an attack that assume no curve and are not blind: those that a verdict may rest on."""
        return tuple(b for b in attack.bounds if not b.parametric and (attack.attack, b.estimator) not in self.blind)

    def able(self, attacks: Sequence[AttackResult]) -> list[AttackResult]:
        """The attacks that saw the canaries without noise, and have a bound or a test of the claim that counts."""
        seen = [attack for attack in attacks if attack.attack in (self.seen or ())]
        return [attack for attack in seen if self.counted(attack) or attack.could_refute]


def read_controls(
    positive: Sequence[AttackResult] | None,
    all_attacks: Sequence[AttackResult],
    level: float,
    seen_level: float = CONTROL_ALARM,
) -> Controls:
    """Controls from the attacks on models without noise, and from every attack's never-inserted canaries.

    `seen_level` is the p-value below which an attack saw the canaries without noise: CONTROL_ALARM over how many
    attacks are tried on models without noise, or luck would give a blind audit a voice.
    """
    seen = None if positive is None else frozenset(a.attack for a in positive if a.seen_p < seen_level)
    alarms = frozenset(a.attack for a in all_attacks if a.reference_p is not None and a.reference_p < level)
    lucky = frozenset((a.attack, name) for a in all_attacks for name, p in a.chance_p.items() if p < level)
    telling = positive is None or any(a.visible for a in positive)
    blind = frozenset((a.attack, name) for a in positive or () for name in a.unproven)
    return Controls(seen, alarms, level, lucky, telling, blind)


def judge(
    claim: Claim,
    attacks: Sequence[AttackResult],
    controls: Controls,
    models_done: int,
    models_planned: int,
    least_power: float,
    level: float = 0.05,
    bounds_refute: bool = True,
    needs_references: bool = False,
    models_wanted: int | None = None,
) -> Verdict:
    """Hold the scores of one cell against its claim.

    A claim is refuted by its own test (`audit.claim_test`) with an adjusted p-value of at most `level`, or by a bound
    above it if `bounds_refute`; then both have to be paid for in one family.

    Nothing is concluded while planned models are missing: those that failed may have failed because of the canary, and
    a plan that is judged half-way, and again, spends its error twice. `models_wanted` is how many a run grows to whose
    looks are paid for (`audit.sequential`): at fewer a refutation counts, and nothing else.

    Bounds that assume the shape of the trade-off curve are shown elsewhere and not used here: DP-SGD need not have
    that shape, and a claim must not be refuted by an assumption. Their confidence must be simultaneous already.
    """
    bounds = [bound for attack in attacks for bound in attack.bounds if not bound.parametric]
    best = max(bounds, key=lambda bound: bound.epsilon, default=None)
    lower = best.epsilon if best else 0.0
    counted = [bound for attack in attacks for bound in controls.counted(attack)]
    ceiling = max((bound.ceiling for bound in counted), default=lower)

    refutable = ceiling > claim.epsilon or any(attack.could_refute for attack in attacks)
    unreferenced = needs_references and all(attack.reference_p is None for attack in attacks)
    wanted = max(models_planned, models_wanted or 0)
    gaps = tuple(_gaps(models_done, models_planned, wanted, unreferenced, controls.seen is None))

    def verdict(outcome: Outcome, reason: str) -> Verdict:
        return Verdict(outcome, reason, lower, ceiling, refutable, bool(controls.alarms or controls.lucky), gaps)

    if controls.alarms:
        return verdict(
            Outcome.INCONCLUSIVE,
            f"Attack {_names(controls.alarms)} saw canaries that were never inserted (p < {controls.level:.2g}): "
            "the audit itself is broken.",
        )
    if controls.lucky:
        said = "; ".join(f"{attack}: {what}" for attack, what in sorted(controls.lucky))
        return verdict(
            Outcome.INCONCLUSIVE,
            f"Secrets were found more often than chance allows in models that never saw them (p < "
            f"{controls.level:.2g}; {said}): the audit itself is broken, or a stated prior is too small.",
        )
    refutation = _refutation(claim, attacks, best if bounds_refute else None, level)
    if models_done < models_planned:
        because = " Those that are there speak against the claim, but which ones they are may depend on the canary."
        return verdict(Outcome.INCONCLUSIVE, gaps[0] + (because if refutation else ""))
    if refutation:
        return verdict(Outcome.REFUTED, refutation)
    if best is None:
        return verdict(Outcome.INCONCLUSIVE, "No estimator gave a bound that is free of curve assumptions.")
    if gaps or controls.seen is None:
        return verdict(Outcome.INCONCLUSIVE, f"Epsilon is at least {shown(lower)}. {gaps[0]}")
    able = [attack for attack in attacks if attack.attack in controls.seen and attack.bounds]
    if not able and not controls.telling:
        return verdict(
            Outcome.INCONCLUSIVE,
            "There were too few models and canaries to tell whether an attack sees the canaries without noise "
            "(positive control): not even a perfect one would have been seen to.",
        )
    if not able:
        return verdict(Outcome.INCONCLUSIVE, "No attack saw the canaries even without noise (positive control).")
    sighted = [(bound, attack.attack) for attack in able for bound in controls.counted(attack)]
    left_out = _not_counted(attacks, controls)
    if left_out and not sighted and not any(attack.could_refute for attack in able):
        return verdict(Outcome.INCONCLUSIVE, f"Epsilon is at least {shown(lower)}. {left_out}")
    carrier = max(sighted, key=lambda pair: pair[0].ceiling, default=None)
    power = carrier[0].ceiling if carrier else 0.0
    if power < least_power * claim.epsilon and not any(attack.could_refute for attack in able):
        return verdict(
            Outcome.INCONCLUSIVE,
            f"With these models and canaries a perfect attack could have shown epsilon {upper(power)} at most, "
            f"below {least_power:.0%} of the claimed {claim.epsilon:g}.",
        )
    limits = "" if refutable else ", and could not have refuted the claim"
    if power < least_power * claim.epsilon:
        limits = (
            f", below {least_power:.0%} of the claim, but could have refuted it by the test of the claim itself: that "
            "is the power this verdict rests on"
        )
    rests = f" {left_out}" if left_out else ""
    if left_out and carrier and power >= least_power * claim.epsilon:
        rests = f" The verdict rests on estimator {carrier[0].estimator} of attack {carrier[1]}. {left_out}"
    return verdict(
        Outcome.NOT_REFUTED,
        f"Epsilon is at least {shown(lower)}; {claim.epsilon:g} is claimed; a perfect attack could have shown "
        f"{upper(power)} at most here{limits}.{rests}",
    )


def overall(verdicts: Sequence[tuple[str, Verdict]]) -> Verdict:
    """One verdict over all cells that claim something: refuted if any is, else inconclusive if any is.

    Each comes with what to call its cell.
    """
    if not verdicts:
        return Verdict(
            Outcome.INCONCLUSIVE, "Nothing claims a finite epsilon, so there is nothing to refute.", 0.0, 0.0
        )
    sound = [verdict for _, verdict in verdicts if not verdict.alarmed] or [verdict for _, verdict in verdicts]
    largest = max(sound, key=lambda verdict: verdict.lower_bound)
    lower, ceiling = largest.lower_bound, largest.ceiling
    for outcome in (Outcome.REFUTED, Outcome.INCONCLUSIVE):
        hit = [(name, verdict) for name, verdict in verdicts if verdict.outcome is outcome]
        if hit:
            name, first = hit[0]
            more = f" {len(hit) - 1} more cell(s) alike." if len(hit) > 1 else ""
            return Verdict(outcome, f"{name}: {first.reason}{more}", lower, ceiling)
    beyond = [name for name, verdict in verdicts if not verdict.refutable]
    limits = f" Not even a perfect attack could have refuted {', '.join(beyond)} with so few models." if beyond else ""
    return Verdict(
        Outcome.NOT_REFUTED,
        f"No lower bound is above its claim in {len(verdicts)} cell(s); the controls are as they should be.{limits}",
        lower,
        ceiling,
        not beyond,
    )


def _gaps(done: int, planned: int, wanted: int, unreferenced: bool, uncontrolled: bool) -> Iterator[str]:
    """What an audit lacks, the gravest first."""
    if done < planned:
        yield f"{planned - done} of {planned} models are missing; run the sweep again."
    elif planned < wanted:
        yield f"So far the run has {planned} of {wanted} models, enough to refute alone; run the sweep again."
    if unreferenced:
        yield "There was no negative control: name some references, canaries that are never inserted."
    if uncontrolled:
        yield "There was no positive control: whether these attacks could see anything is unknown."


def _not_counted(attacks: Sequence[AttackResult], controls: Controls) -> str:
    """Which bounds do not count because they are blind, as a sentence; empty if none is."""
    names = sorted({(a.attack, b.estimator) for a in attacks for b in a.bounds} & controls.blind)
    said = ", ".join(f"{estimator} of attack {attack}" for attack, estimator in names)
    return f"What attacks say of secrets proves nothing even without noise, so it does not count: {said}." * bool(said)


def _refutation(claim: Claim, attacks: Sequence[AttackResult], best: Bound | None, level: float) -> str | None:
    """What refutes the claim, as a sentence; None if nothing does."""
    if best is not None and best.epsilon > claim.epsilon:
        return _refuted(best, claim, attacks)
    test = min((a.claim_test for a in attacks if a.claim_test), key=lambda test: test.p_value, default=None)
    return _refuted_by_test(test, claim, attacks) if test is not None and test.p_value <= level else None


def _refuted(best: Bound, claim: Claim, attacks: Sequence[AttackResult]) -> str:
    attack = next(a.attack for a in attacks if best in a.bounds)
    return (
        f"Epsilon is at least {shown(best.epsilon)} (attack {attack}, estimator {best.estimator}, confidence "
        f"{confidence(best.confidence)}); {claim.epsilon:g} is claimed."
    )


def _refuted_by_test(test: ClaimTest, claim: Claim, attacks: Sequence[AttackResult]) -> str:
    attack = next(a.attack for a in attacks if a.claim_test is test)
    return (
        f"If {test.against} were true, scores that speak so strongly against it (attack {attack}, {test.method}) would "
        f"have a probability of {test.p_value:.2g} at most, adjusted for everything that the run tests; {claim} is "
        "claimed."
    )


def _names(names: frozenset[str]) -> str:
    return ", ".join(f"'{name}'" for name in sorted(names))
