"""White-box attacks: the record's arithmetic, the likelihood ratio in closed form, and what a view holds back."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from attacks.gradient import Gradient
from attacks.gradient_epochs import GradientEpochs
from attacks.gradient_llr import GradientLLR, step_ratios
from attacks.gradient_spread import GradientSpread
from attacks.iterates import Iterates
from attacks.record import GradientRecord
from attacks.view import Access, AccessError, ArrayView, WhiteBox
from attacks.weights import Weights
from canaries import Dirac
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)
SOME = ArrayRecords(RNG.random((4, 3)), RNG.integers(2, size=4), 2)
MADE = Dirac().make(Dataset("d", SOME, SOME, SOME), 3, RNG)


def record(products, known=0.0, norms=1.0, rates=(1.0,), sigma=1.0, clip=1.0):
    shape = (1, len(rates), 1)
    full = [np.broadcast_to(np.asarray(a, dtype=np.float64), shape) for a in (products, known, norms)]
    return GradientRecord(("a",), *full, np.array(rates), sigma, clip)


@given(
    st.floats(-5, 5), st.floats(-3, 3), st.floats(0.01, 2), st.floats(0.01, 0.99), st.floats(0.2, 4), st.floats(0.1, 3)
)
def test_ratio_is_that_of_the_mixture(noise, known, share, rate, sigma, clip):
    """Against scipy's densities of the noisy sum along the gradient: known + |g| + sigma C N, or without |g|."""
    length = share * clip
    observed = known + noise  # along the unit vector
    scale = sigma * clip
    out = norm.pdf(observed, known, scale)
    mixed = (1 - rate) * out + rate * norm.pdf(observed, known + length, scale)
    found = step_ratios(record(observed * length, known * length, length, (rate,), sigma, clip))
    assert found.shape == (1, 1, 1)
    if out > 1e-250 and mixed > 1e-250:
        assert found.item() == pytest.approx(math.log(mixed / out), rel=1e-6, abs=1e-9)


@given(st.floats(-5, 5), st.floats(0.2, 4))
def test_full_batch_is_linear_in_the_product(product, sigma):
    found = step_ratios(record(product, sigma=sigma)).item()
    assert found == pytest.approx((product - 0.5) / sigma**2, rel=1e-9)


def test_without_claimed_noise_the_ratio_is_finite():
    found = step_ratios(record([[[1.0], [0.0]]], rates=(0.5, 0.5), sigma=0.0))
    assert np.isfinite(found).all()
    assert found[0, 0, 0] > 10
    assert found[0, 1, 0] == pytest.approx(math.log(0.5))


ONE = Dirac().make(Dataset("d", SOME, SOME, SOME), 1, RNG)


def alone(products, sigma=1.0):
    """A view of one model whose record holds these products of one canary at the clipping norm."""
    shape = (1, len(products), 1)
    kept = np.asarray(products, dtype=np.float64).reshape(shape)
    rates = np.full(len(products), 0.3)
    whole = GradientRecord(ONE.ids, kept, np.zeros(shape), np.ones(shape), rates, sigma, 1.0)
    view = ArrayView(lambda x: np.full((1, len(x), 2), 0.5), 1)
    return view.opened(WhiteBox(np.ones((1, 5)), None, lambda records: np.ones((1, len(records))), {}, whole))


@given(st.lists(st.floats(-3, 4), min_size=6, max_size=6), st.floats(0.5, 3), st.sampled_from([2, 3, 4]), st.booleans())
def test_epochs_are_mixtures_of_scipy_s_densities(products, sigma, batches, known):
    """The density of each place that the canary may have, averaged in each epoch; or that of the known place."""
    epochs = len(products) // batches
    seen = np.array(products[: epochs * batches]).reshape(epochs, batches)
    at = np.eye(batches)[:, None] * np.ones((1, epochs, 1))  # [place, epoch, batch]
    ratio = (norm.logpdf(seen, at, sigma) - norm.logpdf(seen, 0, sigma)).sum(axis=2)  # [place, epoch]
    expected = ratio[1].sum() if known else np.log(np.exp(ratio).mean(axis=0)).sum()
    found = GradientEpochs(batches, 1 if known else None).observe(alone(products, sigma), ONE, 0).score.item()
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_epochs_refuse_what_is_no_epoch():
    with pytest.raises(InputError, match="batches >= 2 in an epoch, got 1"):
        GradientEpochs(1)
    with pytest.raises(InputError, match="place in 0 to 3, got 4"):
        GradientEpochs(4, 4)
    with pytest.raises(InputError, match="at least one epoch of 7 steps in the gradient record, got 6"):
        GradientEpochs(7).observe(alone([0.0] * 6), ONE, 0)


def test_noise_that_never_changes_cancels_in_the_spread():
    batches = np.array([1.0, 0, 0, 1, 0, 0])
    inside, outside = (
        GradientSpread().observe(alone(5.0 + share), ONE, 0).score.item() for share in (batches, 0 * batches)
    )
    assert outside == pytest.approx(0)
    assert inside == pytest.approx(batches.std())


def test_what_is_known_is_subtracted():
    np.testing.assert_allclose(record(5.0, known=4.0).unknown, 1.0)


ZEROS = np.zeros((2, 5))


def white(record=None, checkpoints=True, initial=ZEROS):
    view = ArrayView(lambda x: np.full((2, len(x), 2), 0.5), 2)
    box = WhiteBox(np.ones((2, 5)), initial, lambda records: np.ones((2, len(records))))
    kept = {4: view.opened(box), 8: view.opened(box)} if checkpoints else {}
    return view.opened(WhiteBox(box.parameters, box.initial, box.movement, kept, record))


def full_record():
    shape = (2, 6, 3)
    products = np.random.default_rng(1).normal(size=shape)
    return GradientRecord(MADE.ids, products, 0.5 * products, np.full(shape, 2.0), np.ones(6), 1.0, 2.0)


def test_full_batch_scores_agree_up_to_a_line():
    view = white(full_record())
    summed, ratio = (attack.observe(view, MADE, 0).score for attack in (Gradient(), GradientLLR()))
    np.testing.assert_allclose(summed, full_record().products.sum(axis=1) / 2 / 4)
    np.testing.assert_allclose(ratio, summed - 6 * 0.5)  # sigma = 1: s = |g| / C = 1


def test_columns_follow_the_ids():
    turned = full_record().of(MADE.ids[::-1])
    np.testing.assert_array_equal(turned.products, full_record().products[:, :, ::-1])
    with pytest.raises(InputError, match="does not hold canary 'who'"):
        full_record().of(["who"])


def test_shapes_are_checked():
    shape = (2, 6, 3)
    with pytest.raises(InputError, match=r"known of shape \[models, 6, 3\], got \(2, 6, 2\)"):
        GradientRecord(MADE.ids, np.ones(shape), np.ones((2, 6, 2)), np.ones(shape), np.ones(6), 1.0, 1.0)


def test_access_is_the_highest_that_is_held():
    assert white(full_record()).access is Access.GRADIENTS
    assert white(full_record(), checkpoints=False).access is Access.GRADIENTS
    assert white().access is Access.CHECKPOINTS
    assert white(checkpoints=False).access is Access.WEIGHTS


def asked(view):
    """The kinds of access that a view answers."""
    calls = {
        Access.LABELS: lambda: view.labels(SOME.x),
        Access.LOSS: lambda: view.loss(SOME),
        Access.PROBABILITIES: lambda: view.probabilities(SOME.x),
        Access.WEIGHTS: lambda: (view.parameters(), view.initial_parameters(), view.movement(SOME)),
        Access.CHECKPOINTS: view.checkpoints,
        Access.GRADIENTS: view.gradient_record,
    }
    refused = {access: refusal(call) for access, call in calls.items()}
    assert all(said in (None, f"the attack asked for {access}.") for access, said in refused.items())
    return {access for access, said in refused.items() if said is None}


def refusal(call):
    """The end of the sentence that refuses; None if it does not."""
    try:
        call()
    except AccessError as error:
        return str(error).partition("; ")[2]
    return None


BLACK = {Access.LABELS, Access.LOSS, Access.PROBABILITIES}


def test_a_view_answers_what_its_access_grants_and_nothing_more():
    view = white(full_record())
    wanted = {
        Access.LABELS: {Access.LABELS},
        Access.LOSS: {Access.LOSS},
        Access.PROBABILITIES: BLACK,
        Access.WEIGHTS: BLACK | {Access.WEIGHTS},
        Access.CHECKPOINTS: BLACK | {Access.WEIGHTS, Access.CHECKPOINTS},
        Access.GRADIENTS: BLACK | {Access.WEIGHTS, Access.CHECKPOINTS, Access.GRADIENTS},
    }
    for access, answers in wanted.items():
        granted = view.grant(access)
        assert asked(granted) == answers
        for higher in set(wanted) - answers:
            with pytest.raises(AccessError):
                granted.grant(higher)
    for box in (white(full_record()).grant(Access.LOSS), white(full_record()).grant(Access.PROBABILITIES)):
        assert box._white_box is None  # not merely behind a check


@pytest.mark.parametrize(
    ("attack", "view"),
    [
        (Gradient(), white()),
        (GradientLLR(), white(checkpoints=False)),
        (GradientSpread(), white()),
        (GradientEpochs(2), white()),
        (Iterates(), white(full_record(), checkpoints=False)),
        (Weights(), ArrayView(lambda x: np.full((2, len(x), 2), 0.5), 2)),
    ],
)
def test_without_a_record_the_view_refuses(attack, view):
    with pytest.raises(AccessError, match=f"This view grants .*labels.*; the attack asked for {attack.access}"):
        attack.observe(view, MADE, 0)


def test_queries_of_checkpoints_count():
    view = white()
    checkpoints = view.checkpoints()
    checkpoints[4].loss(SOME)
    checkpoints[8].labels(SOME.x)
    assert view.queries == 8
    assert checkpoints[4].queries == 4
    assert view.checkpoints()[4].queries == 0


@pytest.mark.parametrize("each", [None, lambda x: np.full((2, x.shape[1], 2), 0.5)])
def test_queries_of_checkpoints_count_where_every_model_has_records_of_its_own(each):
    inner = ArrayView(lambda x: np.full((2, len(x), 2), 0.5), 2, query_each=each)
    box = WhiteBox(np.ones((2, 5)), None, lambda records: np.ones((2, len(records))))
    view = inner.opened(replace(box, checkpoints={4: inner.opened(box)}))
    checkpoint = view.checkpoints()[4]
    checkpoint.labels_each(np.zeros((2, 7, 3), dtype=np.float32))
    assert (checkpoint.queries, view.queries) == (7, 7)
    with pytest.raises(InputError, match=r"records of shape \[2, n, ...\], got \(3, 7, 3\)"):
        checkpoint.labels_each(np.zeros((3, 7, 3), dtype=np.float32))
    assert (checkpoint.queries, view.queries) == (7, 7)


@pytest.mark.parametrize("access", [Access.WEIGHTS, Access.CHECKPOINTS, Access.GRADIENTS])
def test_secret_initial_parameters_are_released_at_no_level(access):
    view = white(full_record(), initial=None).grant(access)
    opened = [view, *(view.checkpoints().values() if access is not Access.WEIGHTS else ())]
    for released in opened:
        assert released.parameters().shape == (2, 5)
        with pytest.raises(AccessError, match=r"each model drew its own in secret.* initial = 'shared'"):
            released.initial_parameters()
