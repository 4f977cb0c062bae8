"""Membership attacks against slow references, and what leaves them unchanged."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy, logit_confidence
from attacks.cross_model import Arm, KnownModels
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA, variance_prior
from attacks.loss import Loss
from attacks.population import Population
from attacks.reference_models import ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.view import Access, AccessError, ArrayView, LossView
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords

RNG = np.random.default_rng(0)
MODELS, N, CLASSES = 5, 12, 4
ANSWERS = RNG.dirichlet(np.ones(CLASSES), size=(MODELS, N))
LABELS = RNG.integers(CLASSES, size=N)
REFERENCE = np.arange(N) >= 8
CANARIES = CanarySet(
    "test",
    tuple(f"c{i}" for i in range(N)),
    ArrayRecords(np.arange(N, dtype=np.float32)[:, None], LABELS, CLASSES),
    np.ones(N, dtype=np.int64),
    REFERENCE,
)
VIEW = ArrayView(lambda x: ANSWERS[:, x[:, 0].astype(int)], MODELS)
CERTAIN = ArrayView(lambda x: np.broadcast_to(np.eye(CLASSES)[LABELS[x[:, 0].astype(int)]], (2, len(x), CLASSES)), 2)

KNOWN = KnownModels(-RNG.gamma(1.0, 1.0, (7, N)), RNG.random((7, N)) < 0.5, REFERENCE)
SIGNAL = -RNG.gamma(1.0, 1.0, (3, N))


def each(reference):
    return np.array([[reference(i, j) for j in range(N)] for i in range(MODELS)])


def test_confidence_is_the_logit():
    expected = each(lambda i, j: math.log(ANSWERS[i, j, LABELS[j]] / (1 - ANSWERS[i, j, LABELS[j]])))
    np.testing.assert_allclose(Confidence().observe(VIEW, CANARIES, 0).score, expected, rtol=1e-9, atol=1e-12)


def test_margin_is_the_distance_to_the_next_label():
    def reference(i, j):
        others = [ANSWERS[i, j, c] for c in range(CLASSES) if c != LABELS[j]]
        return math.log(ANSWERS[i, j, LABELS[j]]) - math.log(max(others))

    np.testing.assert_allclose(Margin().observe(VIEW, CANARIES, 0).score, each(reference))


def test_entropy():
    expected = each(lambda i, j: sum(p * math.log(p) for p in ANSWERS[i, j]))
    np.testing.assert_allclose(Entropy().observe(VIEW, CANARIES, 0).score, expected)


def test_modified_entropy():
    def reference(i, j):
        p, y = ANSWERS[i, j], LABELS[j]
        others = sum(p[c] * math.log(1 - p[c]) for c in range(CLASSES) if c != y)
        return -(-(1 - p[y]) * math.log(p[y]) - others)

    np.testing.assert_allclose(ModifiedEntropy().observe(VIEW, CANARIES, 0).score, each(reference))


@pytest.mark.parametrize("attack", [Confidence(), Margin(), Entropy(), ModifiedEntropy(), Population()], ids=repr)
def test_certain_models_give_finite_scores(attack):
    assert np.isfinite(attack.observe(CERTAIN, CANARIES, 0).score).all()


@pytest.mark.parametrize("attack", [Margin(), Entropy(), ModifiedEntropy()], ids=repr)
def test_a_loss_alone_is_not_enough(attack):
    with pytest.raises(AccessError):
        attack.observe(VIEW.grant(Access.LOSS), CANARIES, 0)


@pytest.mark.parametrize(
    "attack", [Confidence(), Population(), LiRA(), BayesianLiRA(), RMIA(), RMIAOffline()], ids=repr
)
def test_a_loss_is_enough(attack):
    losses = Loss().observe(VIEW, CANARIES, 0)
    view = LossView(lambda records: -losses.score, MODELS)
    np.testing.assert_allclose(
        attack.observe(view, CANARIES, 0).score, attack.observe(VIEW, CANARIES, 0).score, rtol=1e-9
    )


@given(st.floats(1e-12, 600))
@settings(max_examples=50, deadline=None)
def test_logits_rise_as_losses_fall(loss):
    assert logit_confidence(np.array([loss])) > logit_confidence(np.array([loss * 1.01]))
    assert logit_confidence(np.array([loss]))[0] == pytest.approx(-math.log(math.expm1(loss)), rel=1e-6, abs=1e-6)


def test_the_population_is_counted():
    loss = -Loss().observe(VIEW, CANARIES, 0).score
    score = Population().observe(VIEW, CANARIES, 0).score

    def reference(i, j):
        return sum(loss[i, z] >= loss[i, j] for z in range(N) if REFERENCE[z] and z != j)

    np.testing.assert_array_equal(np.floor(score * (1 + REFERENCE.sum())), each(reference))
    for row, losses in zip(score, loss, strict=True):
        order = np.argsort(row[~REFERENCE])
        assert (np.diff(losses[~REFERENCE][order]) <= 0).all()  # the loss breaks the ties


def test_attack_p_needs_a_population():
    without = CanarySet("test", CANARIES.ids, CANARIES.records, CANARIES.repetitions, np.zeros(N, bool))
    with pytest.raises(InputError, match="name some references"):
        Population().observe(VIEW, without, 0)


def test_attack_r_counts_models():
    found = ReferenceModels().compare(SIGNAL, KNOWN)
    for i in range(3):
        for j in range(N):
            outs = [KNOWN.signal[k, j] for k in range(7) if not KNOWN.member[k, j]]
            assert math.floor(found[i, j] * (len(outs) + 1)) == sum(out <= SIGNAL[i, j] for out in outs)


@pytest.mark.parametrize("variance", ["fixed", "per-example"])
def test_lira_is_a_ratio_of_normal_densities(variance):
    online, offline = (
        LiRA(variance=variance).compare(SIGNAL, KNOWN),
        LiRAOffline(variance=variance).compare(SIGNAL, KNOWN),
    )
    arms = {}
    for side in (True, False):
        columns = [[KNOWN.signal[k, j] for k in range(7) if KNOWN.member[k, j] == side] for j in range(N)]
        squares = sum(np.sum((np.array(c) - np.mean(c)) ** 2) for c in columns if c)
        pooled = squares / sum(len(c) - 1 for c in columns if c)
        arms[side] = [
            (np.mean(c), math.sqrt(np.var(c, ddof=1) if variance == "per-example" and len(c) > 1 else pooled))
            if c else None
            for c in columns
        ]  # fmt: skip
    compared = 0
    for j in range(N):
        if arms[True][j] and arms[False][j]:
            for i in range(3):
                ratio = norm.logpdf(SIGNAL[i, j], *arms[True][j]) - norm.logpdf(SIGNAL[i, j], *arms[False][j])
                assert online[i, j] == pytest.approx(ratio)
                assert offline[i, j] == pytest.approx((SIGNAL[i, j] - arms[False][j][0]) / arms[False][j][1])
                compared += 1
    assert compared > 20


@pytest.mark.parametrize("attack", [LiRA(), LiRA(variance="per-example"), LiRAOffline(), BayesianLiRA()], ids=repr)
@given(st.floats(-50, 50), st.floats(0.1, 20))
@settings(max_examples=15, deadline=None)
def test_lira_does_not_depend_on_the_signal_s_units(attack, shift, scale):
    moved = KnownModels(shift + scale * KNOWN.signal, KNOWN.member, KNOWN.population)
    np.testing.assert_allclose(
        attack.compare(shift + scale * SIGNAL, moved), attack.compare(SIGNAL, KNOWN), rtol=1e-5, atol=1e-6
    )


def test_variances_are_shrunk_as_smyth_does():
    # Golden: variances drawn from the prior with 8 degrees of freedom and scale 2 are found again.
    rng = np.random.default_rng(1)
    variance = 8 * 2 / rng.chisquare(8, 20_000)
    freedom, scale = variance_prior(
        Arm.of(rng.normal(size=(6, 20_000)) * np.sqrt(variance), np.ones((6, 20_000), bool))
    )
    assert freedom == pytest.approx(8, rel=0.1)
    assert scale == pytest.approx(2, rel=0.03)
    freedom, scale = variance_prior(Arm.of(rng.normal(size=(6, 40_000)) * 3, np.ones((6, 40_000), bool)))
    assert freedom > 60  # all variances are equal, which is infinitely many
    assert scale == pytest.approx(9, rel=0.03)


def test_bayesian_lira_is_a_ratio_of_t_densities():
    found = BayesianLiRA().compare(SIGNAL, KNOWN)
    priors = {side: variance_prior(KNOWN.arm(side)) for side in (True, False)}
    compared = 0
    for j in range(N):
        sides = {s: np.array([KNOWN.signal[k, j] for k in range(7) if KNOWN.member[k, j] == s]) for s in (True, False)}
        if min(map(len, sides.values())) == 0:
            continue
        for i in range(3):
            density = {}
            for side, x in sides.items():
                freedom, scale = priors[side]
                total = freedom + len(x) - 1
                squared = (freedom * scale + ((x - x.mean()) ** 2).sum()) / total * (1 + 1 / len(x))
                density[side] = t.logpdf(SIGNAL[i, j], total, x.mean(), math.sqrt(squared))
            assert found[i, j] == pytest.approx(density[True] - density[False])
            compared += 1
    assert compared > 20


def test_shrunk_variances_beat_own_ones_with_few_models():
    rng = np.random.default_rng(3)
    member = rng.random((9, 4000)) < 0.5
    signal = rng.normal(size=member.shape) + member + rng.normal(0, 3, 4000)
    known, target = KnownModels(signal[:8], member[:8], np.zeros(4000, bool)), signal[8:]

    def advantage(attack):
        score = attack.compare(target, known)[0]
        return np.mean(score[member[8]][:, None] > score[~member[8]][None])

    assert advantage(BayesianLiRA()) > advantage(LiRA(variance="per-example")) + 0.02
    assert advantage(BayesianLiRA()) > advantage(LiRA(variance="fixed")) - 0.005


def slow_rmia(i, j, online, gamma, a):
    """Zarifzadeh, Liu, Shokri (2024), equations 2 to 4, in loops over probabilities."""
    p = np.exp(KNOWN.signal)

    def ratio(x, unseen):
        outs = [p[k, x] for k in range(7) if unseen or not KNOWN.member[k, x]]
        ins = [p[k, x] for k in range(7) if KNOWN.member[k, x] and not unseen]
        p_out = np.mean(outs or ins)
        p_in = np.mean(ins) if online and ins and outs else a * p_out + 1 - a
        if online and not unseen and not outs:
            return math.exp(SIGNAL[i, x]) / np.mean(ins)
        return math.exp(SIGNAL[i, x]) / ((p_in + p_out) / 2)

    return sum(ratio(j, False) / ratio(z, True) >= gamma for z in range(N) if REFERENCE[z] and z != j)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("a", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", [RMIA, RMIAOffline])
def test_rmia_counts_ratios(kind, gamma, a):
    found = kind(gamma=gamma, a=a).compare(SIGNAL, KNOWN)
    counts = np.floor(found * (1 + REFERENCE.sum()) + 1e-12)
    expected = [[slow_rmia(i, j, kind is RMIA, gamma, a) for j in range(N)] for i in range(3)]
    np.testing.assert_array_equal(counts, expected)


@pytest.mark.parametrize("kind", [RMIA, RMIAOffline])
def test_rmia_of_texts_whose_probability_is_no_float(kind):
    known = KnownModels(KNOWN.signal - 1e4, KNOWN.member, REFERENCE)
    found = kind().compare(SIGNAL - 1e4, known)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) > 10


@pytest.mark.parametrize("kind", [RMIA, RMIAOffline])
def test_rmia_names_bad_settings(kind):
    with pytest.raises(InputError, match="gamma finite and > 0"):
        kind(gamma=0.0)
    with pytest.raises(InputError, match=r"a in \[0, 1\]"):
        kind(a=1.5)


def test_lira_names_bad_settings():
    with pytest.raises(InputError, match="'per-example' or 'fixed'"):
        LiRA(variance="both")
