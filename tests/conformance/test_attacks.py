"""The same promises of every attack. One that is not in the table fails the suite."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from inspect import signature

import numpy as np
import pytest

from attacks.base import Attack
from attacks.confidence import Confidence, Entropy, Margin, ModifiedEntropy
from attacks.cross_model import CrossModel, held_out, leave_one_out
from attacks.extraction import BestFirst, Decoding, Extraction, PrefixSuffix, Sampling, SecretMembership
from attacks.gradient import Gradient
from attacks.gradient_epochs import GradientEpochs
from attacks.gradient_llr import GradientLLR
from attacks.gradient_spread import GradientSpread
from attacks.iterates import Iterates
from attacks.label_only import Augmentations, BoundaryDistance, Gap, HopSkipJump, NoiseRobustness
from attacks.lira import LiRA, LiRAOffline
from attacks.lira_bayes import BayesianLiRA
from attacks.loss import Loss
from attacks.population import Population
from attacks.record import GradientRecord
from attacks.reference_models import CalibratedLoss, ReferenceModels
from attacks.rmia import RMIA, RMIAOffline
from attacks.scores import Scores
from attacks.view import GRANTS, WHITE_BOX, Access, AccessError, ArrayView, LossView, TextView, WhiteBox
from attacks.weights import Weights
from audit.registry import ATTACKS, available
from canaries import Dirac, Mislabelled
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, TextRecords
from canaries.secrets import Secrets

MODELS, CANARIES, REFERENCES = 12, 52, 12
FALSE_ALARM = 1e-4

TABLE = [
    (Loss(), "array"),
    (Loss(), "text"),
    (Gap(), "array"),
    (NoiseRobustness(copies=8, scales=(0.01, 0.1)), "array"),
    (Augmentations(shifts=0, rotations=(-4.0, -2.0, 2.0, 4.0), shape=(1, 2, 2)), "array"),
    (BoundaryDistance(beyond=0.0), "array"),
    (HopSkipJump(iterations=1, directions=10, bisections=6, halvings=3, starts=16, radius=1.0), "array"),
    (Extraction(), "text"),
    (Iterates(), "array"),
    (Iterates(), "text"),
    *((a, kind) for a in (Gradient(), GradientLLR(), Weights()) for kind in ("array", "text", "gradient")),
    *((a, kind) for a in (GradientSpread(), GradientEpochs(3)) for kind in ("array", "text", "gradient")),
    (Confidence(), "array"),
    (Confidence(), "text"),
    (Margin(), "array"),
    (Entropy(), "array"),
    (ModifiedEntropy(), "array"),
    (Population(), "array"),
    (Population(), "text"),
    *((a, kind) for a in (CalibratedLoss(), ReferenceModels()) for kind in ("array", "text")),
    *((a, kind) for a in (LiRA(), LiRAOffline(), BayesianLiRA()) for kind in ("array", "text")),
    *((a, kind) for a in (RMIA(), RMIAOffline()) for kind in ("array", "text")),
    (Extraction(width=3, samples=4), "text"),
    (BestFirst(k=2), "text"),
    (Decoding(beams=2), "text"),
    (Sampling(nucleus=0.9), "text"),
    (SecretMembership(values=6), "text"),
    (PrefixSuffix(prefix=4, suffix=3), "text"),
]
each = pytest.mark.parametrize(("attack", "kind"), TABLE, ids=[f"{a.name}-{kind}" for a, kind in TABLE])

RNG = np.random.default_rng(0)
ARRAYS = Dataset("arrays", *(ArrayRecords(RNG.random((60, 4)), RNG.integers(3, size=60), 3) for _ in range(3)))
TEXTS = Dataset("texts", *(TextRecords(tuple(f"text {i}" for i in range(60))) for _ in range(3)))
MADE = {
    "array": Mislabelled().make(ARRAYS, CANARIES - REFERENCES, np.random.default_rng(1), REFERENCES),
    "text": Secrets(template="{name}={secret}.", digits=2, repetitions=(1,)).make(
        TEXTS, CANARIES - REFERENCES, np.random.default_rng(1), REFERENCES
    ),
    "gradient": Dirac().make(ARRAYS, CANARIES - REFERENCES, np.random.default_rng(1), REFERENCES),
}
REFERENCE = np.arange(CANARIES) >= CANARIES - REFERENCES
COINS = np.random.default_rng(2).random((MODELS, CANARIES)) < 0.5
MEMBER = COINS & ~REFERENCE
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789=."


def lookup(member, strength):
    """Models that give a canary which they saw its label: the nearest canary decides."""
    made = MADE["array"].records

    def query(x):
        nearest = ((x[:, None] - made.x[None]) ** 2).sum(axis=2).argmin(axis=1)
        sure = np.where(member[:, nearest], strength, 0.0)[..., None]  # [models, n, 1]
        right = np.eye(3)[made.y[nearest]][None]
        # Where nothing was learnt, the prior depends on the model and on the canary, not on the coin.
        noise = np.random.default_rng(3).dirichlet(np.ones(3), size=(64, CANARIES))[ROWS.get()][:, nearest]
        return sure * right + (1 - sure) * noise

    return query


class Rows:
    """Which models stand in the view: noise belongs to a model, not to its place."""

    def __init__(self):
        self.rows = np.arange(MODELS)

    def get(self):
        return self.rows


ROWS = Rows()


def text_models(member, strength):
    """Models that know the next character of every text which they saw; elsewhere, each its own noise."""
    texts = MADE["text"].records.texts
    tokens = {c: i + 1 for i, c in enumerate(ALPHABET)}
    rows = ROWS.get().copy()

    def next_token(prefixes):
        answer = np.empty((len(member), len(prefixes), len(ALPHABET) + 1))
        for j, prefix in enumerate(prefixes):
            text = "".join(ALPHABET[t - 1] for t in prefix if t)
            noise = np.random.default_rng([4, *map(ord, text)]).dirichlet(np.ones(len(ALPHABET)), size=64)[rows]
            p = np.concatenate([np.zeros((len(member), 1)), noise], axis=1)
            for c, whole in enumerate(texts):
                if whole.startswith(text) and len(whole) > len(text):
                    known = member[:, c] * strength
                    p = p * (1 - known[:, None])
                    p[:, tokens[whole[len(text)]]] += known
            with np.errstate(divide="ignore"):
                answer[:, j] = np.log(p / p.sum(axis=1, keepdims=True))
        return answer

    def score(rows_of_tokens):
        width = rows_of_tokens.shape[1]
        steps = [next_token(rows_of_tokens[:, :t]) for t in range(width)]
        place = np.arange(len(rows_of_tokens))
        return np.stack([step[:, place, rows_of_tokens[:, t]] for t, step in enumerate(steps)], axis=2)

    return next_token, score


def view_of(kind, models=None, strength=0.9):
    rows = np.arange(MODELS) if models is None else np.asarray(models)
    ROWS.rows = rows
    if kind == "array":
        frozen = lookup(MEMBER[rows], strength)

        def query(x):
            ROWS.rows = rows
            return frozen(x)

        view = ArrayView(query, len(rows), query_each=lambda x: np.stack([query(own)[i] for i, own in enumerate(x)]))
        return opened(view, kind, rows, strength)
    if kind == "gradient":
        return opened(ArrayView(lambda x: np.full((len(rows), len(x), 3), 1 / 3), len(rows)), kind, rows, strength)
    return opened(TextView(*text_models(MEMBER[rows], strength), len(rows), ALPHABET), kind, rows, strength)


def opened(view, kind, rows, strength):
    """The view with weights, two checkpoints and a record of DP-SGD at sampling rate 1/2."""
    steps, rng = 6, np.random.default_rng(5)
    batches = rng.random((MODELS, steps, CANARIES)) < 0.5
    noise = rng.normal(size=(MODELS, steps, CANARIES))
    known = rng.normal(size=(MODELS, steps, CANARIES))
    signal = strength * (MEMBER[:, None] & batches) + known + 0.5 * noise
    norms = np.ones((len(rows), steps, CANARIES))
    rates = np.full(steps, 0.5)
    view.keys = tuple(rows.tolist())
    record = GradientRecord(MADE[kind].ids, signal[rows], known[rows], norms, rates, 0.5, 1.0)
    moved = (signal - known)[rows].sum(axis=1)
    box = WhiteBox(moved, np.zeros_like(moved), lambda records: moved[:, : len(records)])
    return view.opened(WhiteBox(moved, np.zeros_like(moved), box.movement, {3: view, 6: view.opened(box)}, record))


def margin(observed):
    """How many standard errors members score above non-members, canary by canary; references left out."""
    return apart(observed.score[:, ~REFERENCE], MEMBER[:, ~REFERENCE])


def apart(score, member):
    score = score - score.mean(axis=0)
    inside, outside = score[member], score[~member]
    error = np.sqrt(inside.var() / len(inside) + outside.var() / len(outside))
    return (inside.mean() - outside.mean()) / error


def test_every_attack_is_in_the_table():
    assert {type(attack) for attack, _ in TABLE} == set(available(ATTACKS).values())
    for attack, _ in TABLE:
        assert {kind for other, kind in TABLE if type(other) is type(attack)} == attack.kinds


@each
def test_it_is_a_frozen_dataclass_that_names_its_access(attack, kind):
    cls = type(attack)
    assert is_dataclass(cls)
    assert cls() == cls()
    assert isinstance(cls.access, Access)
    assert cls.family in ("membership", "label-only", "extraction", "white-box")
    assert (cls.family == "white-box") == (cls.access in WHITE_BOX)
    for field in fields(cls):
        with pytest.raises(FrozenInstanceError):
            setattr(attack, field.name, 1)


@each
def test_a_field_of_the_wrong_type_is_refused_in_one_sentence(attack, kind):
    for field in fields(attack):
        wrong = {"label": 3}.get(field.name, "x")  # No attack has a string that may be anything but its label.
        with pytest.raises(InputError, match=f"^Expected {field.name} to be .*"):
            replace(attack, **{field.name: wrong})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NoiseRobustness(scales=0.1), "Expected scales to be a list for attack 'noise-robustness', got 0.1."),
        (lambda: Augmentations(rotations=5), "Expected rotations to be a list for attack 'augmentations', got 5."),
        (lambda: HopSkipJump(iterations=1.5), "Expected iterations to be a valid integer .*, got 1.5."),
        (lambda: RMIA(a="x"), "Expected a to be a valid number for attack 'rmia', got 'x'."),
        (lambda: LiRA(models=1.5), "Expected models to be a valid integer for attack 'lira', got 1.5."),
        (lambda: NoiseRobustness(scales=(0.1, "x")), r"Expected scales\[1\] to be a valid number"),
    ],
)
def test_the_sentence_names_field_value_and_what_is_allowed(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_lists_and_numpy_s_numbers_are_as_good():
    assert NoiseRobustness(copies=np.int64(8), scales=[np.float32(0.5), 1]).copies == 8


@each
def test_scores_are_of_every_model_and_canary_in_order(attack, kind):
    observed = attack.observe(view_of(kind), MADE[kind], 0)
    assert observed.ids == MADE[kind].ids
    assert observed.score.shape == (MODELS, CANARIES)
    assert observed.score.dtype == np.float64
    assert not np.isnan(observed.score).any()
    assert all(array.shape == (MODELS, CANARIES) for array in observed.evidence.values())


@each
def test_it_gives_the_evidence_that_it_declares(attack, kind):
    evidence = attack.observe(view_of(kind), MADE[kind], 0).evidence
    assert set(evidence) == attack.gives()
    for name, title in attack.shown().items():
        assert np.isin(evidence[name], (0, 1)).all()
        assert title
        assert "{" not in name + title


def test_names_of_evidence_follow_the_fields():
    assert BestFirst(k=7).gives() == {"extracted", "guessed", "top_1", "top_7", "found"}
    assert Decoding(beams=3).shown() == {"beam": "in a beam of 3"}
    assert PrefixSuffix(near=0.75).shown()["approximate"] == "at least 0.75 of tokens right"


@each
def test_equal_seeds_give_equal_scores(attack, kind):
    first, again = (attack.observe(view_of(kind), MADE[kind], 5) for _ in range(2))
    np.testing.assert_array_equal(first.score, again.score)
    assert first.queries == again.queries
    for name, array in first.evidence.items():
        np.testing.assert_array_equal(array, again.evidence[name])


@each
def test_what_was_memorised_scores_higher(attack, kind):
    assert margin(attack.observe(view_of(kind), MADE[kind], 0)) > 8


@each
def test_what_was_not_learnt_scores_alike(attack, kind):
    # Two-sided normal quantile: a sound attack fails with probability FALSE_ALARM; the seed is fixed.
    assert abs(margin(attack.observe(view_of(kind, strength=0.0), MADE[kind], 0))) < 3.89


def joined(attack, kind, strength=0.9):
    observed = attack.observe(view_of(kind, strength=strength), MADE[kind], 0)
    scores = Scores.from_matrix(observed.score, COINS, "canary", observed.ids)
    return replace(scores, reference=REFERENCE)


crossing = pytest.mark.parametrize(
    ("attack", "kind"),
    [row for row in TABLE if isinstance(row[0], CrossModel)],
    ids=[f"{a.name}-{kind}" for a, kind in TABLE if isinstance(a, CrossModel)],
)


@crossing
@pytest.mark.parametrize("models", [0, 1, 3])
def test_compared_with_other_models_members_score_higher(attack, kind, models):
    attack = replace(attack, models=models)
    for calibrate, least in ((leave_one_out, 8), (held_out, 5)):
        scores = calibrate(attack, joined(attack, kind)).select(~REFERENCE)
        assert apart(scores.score, scores.member) > least


@crossing
def test_compared_with_other_models_what_was_not_learnt_scores_alike(attack, kind):
    scores = held_out(attack, joined(attack, kind, strength=0.0))
    assert abs(apart(scores.score, scores.member)) < 3.89


@crossing
def test_a_model_is_compared_with_others_and_never_with_itself(attack, kind):
    """Its own coins can be anything, and its score moves with its own signal alone; two calls agree exactly."""
    before = joined(attack, kind)
    for row in (0, MODELS - 1):
        member = before.member.copy()
        member[row] = ~member[row]
        flipped = leave_one_out(attack, replace(before, member=member))
        whole = leave_one_out(attack, before)
        np.testing.assert_array_equal(flipped.score[row], whole.score[row])
        others = np.delete(np.arange(MODELS), row)
        assert (flipped.score[others] != whole.score[others]).any()
        np.testing.assert_array_equal(whole.score, leave_one_out(attack, before).score)


@crossing
def test_a_held_out_score_depends_on_no_coin_of_what_is_scored(attack, kind):
    before = joined(attack, kind)
    member = before.member.copy()
    member[MODELS // 2 :] = ~member[MODELS // 2 :]
    first, second = held_out(attack, before), held_out(attack, replace(before, member=member))
    np.testing.assert_array_equal(first.score, second.score)
    np.testing.assert_array_equal(first.member, before.member[MODELS // 2 :])
    # Nor on any other model that is scored.
    changed = before.score.copy()
    changed[-1] += 1.0
    np.testing.assert_array_equal(held_out(attack, replace(before, score=changed)).score[:-1], first.score[:-1])


@each
def test_a_model_s_score_does_not_depend_on_its_neighbours(attack, kind):
    together = attack.observe(view_of(kind), MADE[kind], 0)
    some = [7, 2]
    apart = attack.observe(view_of(kind, some), MADE[kind], 0)
    np.testing.assert_allclose(apart.score, together.score[some], rtol=0, atol=1e-12)
    for name, array in together.evidence.items():
        np.testing.assert_array_equal(apart.evidence[name], array[some])


@each
def test_it_changes_no_canary(attack, kind):
    before = MADE[kind].digest()
    attack.observe(view_of(kind), MADE[kind], 0)
    assert MADE[kind].digest() == before


def test_nothing_that_an_attack_gets_holds_the_coins():
    """Canaries come with labels and secrets, and with no field for who is a member."""
    assert list(signature(Attack.score).parameters) == ["self", "view", "canaries", "seed"]
    assert not {field.name for field in fields(CanarySet)} & {"member", "members", "inserted", "coins"}


@each
def test_it_asks_for_no_more_than_its_access(attack, kind):
    full = view_of(kind)
    observed = attack.observe(full.grant(attack.access), MADE[kind], 0)
    np.testing.assert_array_equal(observed.score, attack.observe(full, MADE[kind], 0).score)
    assert full.queries == 0  # counted by attack, on a view of its own


@each
def test_a_view_that_grants_less_refuses(attack, kind):
    full = view_of(kind)
    others = [access for access in Access if access is not attack.access]
    for access in others:
        try:
            less = full.grant(access)
        except AccessError:
            continue
        if attack.access in GRANTS[access]:
            continue  # grants more
        with pytest.raises(AccessError, match=f"the attack asked for {attack.access}"):
            attack.observe(less, MADE[kind], 0)
        with pytest.raises(AccessError):
            attack.score(less, MADE[kind], 0)
    if attack.access is not Access.LOSS:
        with pytest.raises(AccessError):
            attack.observe(LossView(lambda records: np.zeros((1, len(records))), 1), MADE[kind], 0)


@each
def test_queries_are_counted(attack, kind):
    sent = []
    full = view_of(kind)
    if attack.access in WHITE_BOX:
        expected = {"weights": CANARIES, "checkpoints": 2 * CANARIES, "gradients": 0}[attack.access]
        assert attack.observe(full, MADE[kind], 0).queries == expected
        return
    if kind == "array":
        inner, each_its_own = full._query, full._query_each
        full._query = lambda x: (sent.append(len(x)), inner(x))[1]
        full._query_each = lambda x: (sent.append(x.shape[1]), each_its_own(x))[1]
    else:
        next_token, score = full._next_token, full._score
        full._next_token = lambda rows: (sent.append(len(rows)), next_token(rows))[1]
        full._score = lambda rows: (sent.append(len(rows)), score(rows))[1]
    assert attack.observe(full, MADE[kind], 0).queries == sum(sent) >= CANARIES
