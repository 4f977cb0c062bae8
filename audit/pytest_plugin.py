"""A pytest plugin: a privacy audit beside the unit tests.

@pytest.mark.privacy_audit(models=128)
def test_leakage(privacy_audit):
privacy_audit(train, (x, y), canaries.Blank(), control=train_without_noise).assert_at_most(epsilon=4, delta=1e-8)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from attacks.base import Attack
    from audit.api import AuditResult, Data
    from audit.claim import Claim
    from audit.training.function import TrainFunction
    from canaries.base import CanaryDesign


@dataclass(frozen=True, eq=False)
class PrivacyAudit:
    """A training function that is to be audited; nothing is trained before something is asserted.

    Attributes:
        train: as in `audit.run`.
        data: as in `audit.run`.
        canaries: how canaries are made.
        options: every other argument of `audit.run`.
        held: the claims that were held against it so far, by audits that ran to their end.
    """

    train: TrainFunction
    data: Data
    canaries: CanaryDesign
    options: dict[str, Any]
    held: list[Claim] = field(default_factory=list)

    def assert_at_most(self, epsilon: float, delta: float) -> AuditResult:
        """Train, attack, and hold (epsilon, delta) against what is found.

        Returns:
            What was found, where the claim is not refuted and the audit could tell.

        Fails the test where the claim is refuted, and where the audit is inconclusive: that is no pass.

        Raises:
            InputError: as `audit.run`.
        """
        __tracebackhide__ = True
        from audit.api import run
        from audit.claim import Claim
        from audit.results import Outcome

        claim = Claim(epsilon, delta)
        found = run(self.train, self.data, self.canaries, claim=claim, **self.options)
        self.held.append(claim)
        if found.verdict.outcome is not Outcome.NOT_REFUTED:
            pytest.fail(explain(found), pytrace=False)
        return found


def explain(found: AuditResult) -> str:
    """The verdict, and what every attack and estimator has to say for it."""
    from audit.formatting import lower, p_value, upper

    lines = [str(found.verdict)]
    for cell in found.run.cells:
        lines.append("control, without protection:" if cell.claim.is_control else f"{cell.claim}:")
        for attack in cell.attacks:
            models, planted = attack.scores.score.shape
            seen = f"AUC {attack.auc.value:.3f} [{attack.auc.low:.3f}, {attack.auc.high:.3f}]"
            control = "none" if attack.reference_p is None else p_value(attack.reference_p)
            lines.append(
                f"  attack {attack.attack}: {models} models, {planted} canaries, {seen}, sees them with p = "
                f"{p_value(attack.seen_p)}, never-inserted ones with p = {control}"
            )
            if attack.claim_test is not None:
                test = attack.claim_test
                lines.append(f"    claim: adjusted p = {p_value(test.p_value)}, {test.method}, against {test.against}")
            for bound in attack.bounds:
                mark = ", assumes a curve" if bound.parametric else ""
                lines.append(
                    f"    {bound.estimator}: epsilon >= {lower(bound.epsilon)} at delta {bound.delta:g}, confidence "
                    f"{bound.confidence:.6g}; a perfect attack could have shown {upper(bound.ceiling)}{mark}"
                )
    return "\n".join(lines)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the marker is."""
    config.addinivalue_line(
        "markers",
        "privacy_audit(**options): defaults of the fixture of that name: models, attacks, confidence, seed and every "
        "other argument of audit.run",
    )


def _check_options(options: Mapping[str, Any]) -> None:
    from audit.api import run
    from audit.registry import unknown_key

    given = {"train", "data", "canaries", "claim"}
    allowed = set(inspect.signature(run).parameters) - given
    for name in options:
        if name not in allowed:
            pytest.fail(unknown_key(name, allowed, "the options of privacy_audit"), pytrace=False)


PASSED = pytest.StashKey[bool]()
"""Whether the test's own code passed."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Leave for the fixture's teardown how the test went."""
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture
def privacy_audit(request: pytest.FixtureRequest) -> Iterator[Callable[..., PrivacyAudit]]:
    """A function that takes what `audit.run` takes, claim excepted, and returns a `PrivacyAudit`.

    By default the attack is `Loss` and 64 models are trained; the marker `privacy_audit` gives other defaults for a
    test, a class or a module. Confidence is 0.999 by default: a test that runs every day may not fail by chance every
    month.

    A test that passes and left an audit without an assertion, or asked for none, fails when it is torn down: nothing
    was trained, so nothing was shown.
    """
    marked: dict[str, Any] = {}
    started: list[PrivacyAudit] = []
    for marker in reversed(list(request.node.iter_markers("privacy_audit"))):
        if marker.args:
            pytest.fail(
                f"The marker privacy_audit takes options by name alone, got {', '.join(map(repr, marker.args))}.",
                pytrace=False,
            )
        marked |= marker.kwargs

    def start(
        train: TrainFunction,
        data: Data,
        canaries: CanaryDesign,
        attacks: Sequence[Attack] | None = None,
        **options: Any,
    ) -> PrivacyAudit:
        from attacks.loss import Loss

        __tracebackhide__ = True
        _check_options(marked | options)
        chosen = {"attacks": [Loss()], "models": 64, "confidence": 0.999} | marked | options
        if attacks is not None:
            chosen["attacks"] = attacks
        started.append(PrivacyAudit(train, data, canaries, chosen))
        return started[-1]

    yield start
    shown = bool(started) and all(audit.held for audit in started)
    if request.node.stash.get(PASSED, False) and not shown:
        pytest.fail("A privacy audit was asked for and nothing asserted of it: call assert_at_most.", pytrace=False)
