"""Plans: what could be shown, against audits that were simulated."""

import json
from dataclasses import replace

import numpy as np
import pytest

from attacks.scores import Scores
from audit.estimators import ClopperPearson, ExposureRank, OneRun, Reconstruction, SecretGuess
from audit.estimators.secret_guess import success_ceiling
from audit.power import measured_seconds, perfect_secrets, plan_power, plan_secrets, run_directory_seconds
from audit.report.power import duration, power_table
from audit.store import RunDirectory
from canaries.errors import InputError

DELTA = 1e-5


def perfect(rng, count, counted):
    """A perfect attack on coins as an audit flips them."""
    if counted == "models":
        member = rng.permutation(np.arange(count) % 2 == 0)[:, None]
        return Scores.from_matrix(rng.normal(100 * member, 1), member, randomised="model")
    member = rng.random((1, count)) < 0.5
    return Scores.from_matrix(rng.normal(100 * member, 1), member, randomised="canary")


@pytest.mark.parametrize(
    ("estimator", "counted", "count"),
    [(ClopperPearson(), "models", 200), (ClopperPearson(threshold=50.0), "models", 100), (OneRun(), "canaries", 300)],
)
def test_the_ceiling_is_what_simulated_perfect_audits_show(estimator, counted, count):
    rng = np.random.default_rng(0)
    (power,) = plan_power(8.0, DELTA, count, counted, shares=(), names=(estimator.name,))
    shown = [estimator.bound(perfect(rng, count, counted), DELTA).epsilon for _ in range(30)]
    if estimator == ClopperPearson(threshold=50.0):  # named in advance, so no model is spent on choosing it
        assert np.mean(shown) > power.ceiling
    else:  # a threshold chosen on few held-out models is sometimes a little off
        assert max(shown) <= power.ceiling + 1e-9
        assert np.mean(shown) > 0.95 * power.ceiling


@pytest.mark.parametrize(("name", "counted"), [("clopper-pearson", "models"), ("one-run", "canaries")])
def test_what_is_needed_is_enough_and_not_much_less_is(name, counted):
    def ceiling(count):
        return plan_power(4.0, DELTA, count, counted, shares=(), names=(name,))[0].ceiling

    needed = plan_power(4.0, DELTA, 10, counted, shares=(0.5,), names=(name,))[0].needed[0.5]
    assert ceiling(needed) >= 2.0
    assert ceiling(round(0.95 * needed)) < 2.0


ALL = {"bits": 16.0, "prior": 0.01}


@pytest.mark.parametrize("fresh", [True, False])
@pytest.mark.parametrize(
    "estimator", [SecretGuess(), ExposureRank(), Reconstruction(prior=0.01)], ids=lambda estimator: estimator.name
)
def test_the_ceiling_of_secrets_is_what_simulated_perfect_audits_show(estimator, fresh):
    """Fair coins, secrets drawn and all guessed, ranked first, rebuilt: within the luck of the coins."""
    rng = np.random.default_rng(0)
    (power,) = plan_secrets(8.0, DELTA, 24, 4, **ALL, fresh=fresh, shares=(), names=(estimator.name,))
    assert power.estimator == estimator.name
    planned = perfect_secrets(24, 4, 16.0, fresh=fresh)
    shown = []
    for _ in range(20):
        member = rng.random((24, 4)) < 0.5
        evidence = {"guessed": member, "exposure": 16.0 * member, "reconstructed": member}
        drawn = replace(planned, member=member, score=member.astype(float), evidence=evidence)
        shown.append(estimator.bound(drawn, DELTA).epsilon)
    assert np.mean(shown) == pytest.approx(power.ceiling, rel=0.03)


def test_a_bound_from_guesses_never_exceeds_its_plan():
    """Mechanism that gives out each secret with the probability that epsilon allows: what is shown stays below."""
    rng, planned = np.random.default_rng(1), perfect_secrets(200, 1, 10.0)
    allowed = success_ceiling(4.0, DELTA, 2.0**10)
    guessed = planned.member & (rng.random(planned.member.shape) < allowed)
    bound = SecretGuess().bound(replace(planned, evidence={"guessed": guessed}), DELTA)
    (power,) = plan_secrets(4.0, DELTA, 200, 1, bits=10.0, shares=(), names=("secret-guess",))
    assert bound.epsilon < 4.0 < power.ceiling == bound.ceiling


def test_models_with_secrets_of_their_own_are_needed():
    (power,) = plan_secrets(
        12.0, DELTA, 1, 4, bits=12.0, shares=(0.5, 0.65), seconds_per_model=2.0, names=("secret-guess",)
    )
    for share, needed in power.needed.items():
        enough, fewer = (
            plan_secrets(12.0, DELTA, n, 4, bits=12.0, shares=(), names=("secret-guess",))[0].ceiling
            for n in (needed, needed // 2)
        )
        assert fewer < share * 12.0 <= enough
        assert power.seconds[share] == 2.0 * needed
    (shared,) = plan_secrets(12.0, DELTA, 999, 4, bits=12.0, fresh=False, shares=(0.25, 0.75), names=("secret-guess",))
    assert shared.needed == {0.25: 1, 0.75: None}  # 12 bits and 95%: ln(0.05 * 4096) = 5.3, whatever the models
    assert shared.ceiling == pytest.approx(np.log(0.05 * 2**12), abs=0.05)


def test_estimators_of_secrets_are_those_that_fit():
    def names(**options):
        return {power.estimator for power in plan_secrets(4.0, DELTA, 8, 2, shares=(), **options)}

    assert names(bits=10.0) == {"secret-guess", "exposure-rank"}
    assert names(prior=0.1) == {"reconstruction"}
    assert names(bits=10.0, prior=0.1) == {"secret-guess", "exposure-rank", "reconstruction"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": 0}, "models, secrets and repetitions >= 1, got 0, 2 and 1"),
        ({"repetitions": 0}, "models, secrets and repetitions >= 1, got 4, 2 and 0"),
        ({"bits": None}, "bits of the secrets, or a prior of reconstruction, got neither"),
        ({"bits": 2000.0}, r"bits in \(0, 1000\], got 2000"),
        ({"prior": 1.5}, r"prior in \(0, 1\), got 1.5"),
        ({"names": ("reconstruction",)}, "Estimator 'reconstruction' cannot be used here: it needs a prior"),
        ({"names": ("dkw",)}, "Estimator 'dkw' cannot be used here"),
    ],
)
def test_bad_plans_of_secrets(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        plan_secrets(**{"epsilon": 4.0, "delta": DELTA, "models": 4, "secrets": 2, "bits": 10.0, **changes})


def test_known_counts():
    """With 95% in all and n per world Clopper-Pearson shows at most 3.28 (100) and 4.91 (500), threshold named."""
    for n, most in ((100, 3.28), (500, 4.91)):
        found = ClopperPearson(threshold=0.5).bound(Scores.from_arms(np.ones(n), np.zeros(n)), DELTA)
        assert found.ceiling == pytest.approx(most, abs=0.01)


def test_time_is_that_of_models():
    names = ("clopper-pearson",)
    (power,) = plan_power(4.0, DELTA, 10, "models", shares=(0.25, 1.0), seconds_per_model=2.0, names=names)
    assert power.seconds[0.25] == 2.0 * power.needed[0.25]
    (one,) = plan_power(4.0, DELTA, 10, "canaries", shares=(0.25,), seconds_per_model=2.0, names=("one-run",))
    assert one.seconds[0.25] == 2.0  # all canaries share a training
    (none,) = plan_power(400.0, DELTA, 10, "models", shares=(1.0,), seconds_per_model=2.0, names=names)
    assert (none.needed, none.seconds) == ({1.0: None}, {1.0: None})


def test_the_best_that_assumes_nothing_stands_first():
    names = ("gaussian-dp", "clopper-pearson", "dkw")
    found = plan_power(4.0, DELTA, 200, "models", shares=(), names=names)
    assert [power.estimator for power in found] == ["clopper-pearson", "dkw", "gaussian-dp"]
    assert power_table(found, 4.0, "models", 200).row_count == 3


def test_speed_from_a_run(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_manifest({"cells": [{"audit": "a", "units": ["u", "v"]}]})
    with pytest.raises(InputError, match="no finished model"):
        measured_seconds(run)
    frame = Scores.from_arms(np.ones(1), np.zeros(1)).frame()
    run.write_unit("a", "u", frame, {"train_seconds": 1.5, "attack_seconds": 0.5})
    assert run_directory_seconds(tmp_path, None) == 2.0
    assert run_directory_seconds(tmp_path, 3.0) == 3.0
    assert run_directory_seconds(None, None) is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"epsilon": np.inf}, "finite epsilon > 0, got inf"),
        ({"delta": 1.0}, r"delta in \[0, 1\), got 1.0"),
        ({"count": 1}, "2 to 131072 models or canaries, got 1"),
        ({"confidence": 0.4}, r"confidence in \[0.5, 1\), got 0.4"),
        ({"shares": (0.0,)}, r"shares of the claim in \(0, 1\], got \[0.0\]"),
        ({"names": ("one-run",)}, "Estimator 'one-run' cannot be used here"),
    ],
)
def test_bad_input(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        plan_power(**{"epsilon": 4.0, "delta": DELTA, "count": 10, "counted": "models", "shares": (), **changes})


def test_durations():
    assert [duration(s) for s in (1, 90, 5400, 180000)] == ["1.0 s", "1.5 min", "1.5 h", "2.1 days"]


def test_the_command(capsys):
    from audit import cli

    options = ["plan", "--epsilon", "8", "--delta", "1e-5", "--canaries", "200", "--estimator", "one-run"]
    for extra, code in (
        ([], 0),
        (["--json"], 0),
        (["--models", "3"], 2),
        (["--bits", "3"], 2),
        (["--secrets", "3"], 2),
    ):
        with pytest.raises(SystemExit) as stop:
            cli.main([*options, *extra])
        assert stop.value.code == code
        out = capsys.readouterr().out
        if extra == ["--json"]:
            assert json.loads(out)[0]["ceiling"] == pytest.approx(2.25, abs=0.01)
        elif not extra:
            assert "one-run" in out
    options = ["plan", "--epsilon", "8", "--delta", "1e-5", "--models", "12", "--secrets", "4", "--bits", "20"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*options, "--json"])
    assert stop.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert {power["estimator"] for power in found} == {"secret-guess", "exposure-rank"}


def planned(capsys, *options):
    from audit import cli

    with pytest.raises(SystemExit) as stop:
        cli.main(["plan", "--epsilon", "8", "--delta", "1e-5", "--models", "400", *options])
    return stop.value.code, capsys.readouterr().out


def test_bounds_of_a_run_share_the_error(capsys):
    def ceiling(*more):
        code, out = planned(capsys, "--estimator", "clopper-pearson", "--json", *more)
        assert code == 0
        return json.loads(out)[0]["ceiling"]

    together = ceiling("--confidence", "0.999", "--bounds", "50")
    assert together == pytest.approx(ceiling("--confidence", "0.99998"), rel=1e-9)
    assert together < ceiling("--confidence", "0.999")
    assert planned(capsys, "--confidence", "1")[0] == 2


def test_a_table_in_a_pipe_breaks_no_name(capsys):
    code, out = planned(capsys, *(option for share in range(1, 9) for option in ("--share", f"0.0{share}")))
    assert code == 0
    assert "calibrated-epsilon-delta" in out
