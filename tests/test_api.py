"""The Python API: a user's own training function, audited in a few lines."""

import json
import string

import joblib
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import attacks
import audit
import canaries
from attacks.extraction import Extraction
from attacks.label_only import Augmentations
from attacks.population import Population
from attacks.view import TextView
from audit.estimators import CalibratedLossCurve, ClopperPearson
from audit.mechanism import DPSGD
from audit.results import Outcome
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset
from canaries.secrets import Secrets

CLAIM = audit.Claim(epsilon=1.0, delta=1e-5)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 30))
Y = (X[:, 0] + X[:, 1] > 0).astype(int) + (X[:, 2] > 1)


def overfit(x, y, seed):
    return LogisticRegression(C=1e4, max_iter=30, tol=1e-2).fit(x, y).predict_proba


def prior(x, y, seed):
    """Learns nothing but how many classes there are."""
    classes = len(np.unique(Y))
    return lambda asked: np.full((len(asked), classes), 1 / classes)


def call(train=overfit, data=(X, Y), **changes):
    options = {
        "canaries": canaries.Mislabelled(),
        "attacks": [attacks.Loss()],
        "models": 12,
        "claim": CLAIM,
        "seed": 0,
        "count": 24,
        "references": 12,
    }
    return audit.run(train, data=data, **options | changes)


@pytest.fixture(scope="module")
def refuted(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.filters", [("ignore", None, Warning, None, 0)])  # scikit-learn stops early
        return call()


def test_a_small_claim_of_an_overfit_model_is_refuted(refuted):
    assert refuted.verdict.outcome is Outcome.REFUTED
    assert refuted.verdict.lower_bound > 1.0
    assert "(1, 1e-05)-DP" in str(refuted.verdict) or "1 is claimed" in str(refuted.verdict)
    bounds = refuted.bounds
    assert [bound.epsilon for bound in bounds] == sorted((bound.epsilon for bound in bounds), reverse=True)
    assert {bound.delta for bound in bounds} == {1e-5}


def test_its_report_and_its_json(refuted, tmp_path):
    path = refuted.report(tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "REFUTED" in page
    assert "overfit" in page
    document = json.loads(json.dumps(refuted.json(), allow_nan=False))
    assert document["verdict"]["outcome"] == "REFUTED"


def knows(texts, seed):
    """A model of texts that has learnt by heart what it was trained on; asked for tokens, by whoever holds it."""
    letters = string.ascii_lowercase + string.digits + " .:"

    def next_token(prefixes):
        said = ["".join(letters[t - 1] for t in prefix) for prefix in prefixes]
        rows = np.ones((len(said), len(letters) + 1))
        for row, begun in zip(rows, said, strict=True):
            for text in texts:
                if text.startswith(begun) and len(text) > len(begun):
                    row[letters.index(text[len(begun)]) + 1] += 1000
        return np.log(np.concatenate([np.full((len(said), 1), 1e-300), (rows / rows.sum(axis=1)[:, None])[:, 1:]], 1))[
            None
        ]

    def score(tokens):
        each = [next_token(tokens[:, :t])[0, np.arange(len(tokens)), tokens[:, t]] for t in range(tokens.shape[1])]
        return np.stack(each, axis=1)[None]

    return TextView(next_token, score, 1, letters)


def test_secrets_are_extracted_from_models_that_answer_tokens():
    made = Secrets(template="{name}: {secret}.", name_letters=4, digits=3, repetitions=(1,))
    result = call(
        knows, [f"text {i}" for i in range(60)], canaries=made, attacks=[attacks.Loss(), Extraction()],
        models=3, count=8, references=4,
    )  # fmt: skip
    membership, extraction = result.run.cells[0].attacks
    members, never = sorted(extraction.extraction, key=lambda group: -group.repetitions)
    assert (members.rate.value, members.exposure) == (1, pytest.approx(np.log2(1000)))
    assert never.rate.value == 0
    # What is guessed counts, though the first attack guesses nothing.
    assert "secret-guess" in {bound.estimator for bound in extraction.bounds}
    assert "secret-guess" not in {bound.estimator for bound in membership.bounds}
    assert result.verdict.outcome is Outcome.REFUTED


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_labels_of_any_type_give_the_same_scores(refuted):
    names = np.array(["ant", "bee", "cat"])[Y]
    found = call(data=(X, names))
    np.testing.assert_array_equal(scores(found), scores(refuted))


def scores(result, cell=0):
    return result.run.cells[cell].attacks[0].scores.score


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_the_seed_decides_and_the_number_of_jobs_does_not():
    def fit(x, y, seed):  # no module's name leads to it, so it travels to the workers whole
        return LogisticRegression(C=10.0).fit(x, y).predict_proba

    options = {"train": fit, "models": 4, "count": 8, "references": 4}
    first, again = call(**options), call(**options, jobs=2)
    np.testing.assert_array_equal(scores(first), scores(again))
    assert first.verdict == again.verdict
    assert not np.array_equal(scores(first), scores(call(**options | {"seed": 1})))
    joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_a_control_makes_silence_conclusive():
    result = call(prior, control=overfit, least_power=0.1)
    assert result.verdict.outcome is Outcome.NOT_REFUTED
    assert [cell.claim.is_control for cell in result.run.cells] == [False, True]
    assert result.bounds == result.run.cells[0].attacks[0].bounds  # a control's bounds are none of the pipeline's


def test_a_control_that_learns_nothing_concludes_nothing():
    result = call(prior, control=prior, least_power=0.0)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "even without noise" in result.verdict.reason


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_too_little_power_concludes_nothing():
    result = call(prior, control=overfit, claim=audit.Claim(50.0, 1e-5), least_power=0.9)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "a perfect attack could have shown" in result.verdict.reason


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize(("train", "epsilon"), [(prior, 1.0), (prior, 0.01), (overfit, 100.0)])
def test_without_a_control_nothing_passes(train, epsilon):
    result = call(train, claim=audit.Claim(epsilon, 1e-5), least_power=0.0)
    assert result.verdict.outcome is Outcome.INCONCLUSIVE
    assert "no positive control" in result.verdict.reason


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_many_runs_of_one_canary():
    result = call(models=40, count=1, references=0, randomise="model", estimators=[ClopperPearson()])
    (bound,) = result.bounds
    assert bound.estimator == "clopper-pearson"
    assert bound.samples["members"] == bound.samples["non_members"] == 20
    assert 0 < bound.epsilon <= bound.ceiling


def remember(texts, seed):
    """A text model that has a loss of one for what it saw, and of five for all else; nearly."""
    seen = set(texts)
    rng = np.random.default_rng(seed)
    return lambda asked: np.array([1.0 if text in seen else 5.0 for text in asked]) + 0.1 * rng.random(len(asked))


def test_texts():
    lines = [f"line number {i} of a small corpus" for i in range(120)]
    result = call(remember, lines, canaries=Secrets(digits=4, repetitions=(1,)))
    assert result.verdict.outcome is Outcome.REFUTED
    attack = result.run.cells[0].attacks[0]
    planted = attack.scores.select(~attack.scores.reference)
    assert (planted.score[planted.member] > planted.score[~planted.member].max()).all()
    assert attack.reference_p > 1e-3


def test_a_replaced_canary_leaves_the_data():
    """Of 76 records that the pool holds, half are canaries and references, and the others stand in for them."""
    seen = []

    def train(x, y, seed):
        seen.append(x)
        return prior(x, y, seed)

    claim = audit.Claim(1.0, 1e-5, adjacency="replace-one")
    result = call(train, claim=claim, models=4, count=30, references=8)
    member = result.run.cells[0].attacks[0].scores.member[:, :30]
    rows = [{row.tobytes() for row in x} for x in seen]
    for i, j in ((0, 1), (2, 3)):
        assert len(rows[i]) == len(seen[i]) == len(seen[j])  # No record is there twice.
        assert len(rows[i] - rows[j]) == (member[i] != member[j]).sum()


def test_a_data_set_that_is_split_already():
    parts = [ArrayRecords(X[i::3], Y[i::3], 3) for i in range(3)]
    trained_on = []

    def train(x, y, seed):
        trained_on.append(len(x))
        return prior(x, y, seed)

    result = call(train, Dataset("mine", *parts), models=3)
    inserted = result.run.cells[0].attacks[0].scores
    expected = len(parts[0]) + (inserted.member & ~inserted.reference).sum(axis=1)
    assert trained_on == expected.tolist()


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (lambda x, y, seed: None, "may query: a function or, .* a TextView of one model; got None"),
        (lambda x, y, seed: lambda a: np.zeros(len(a)), r"class probabilities of shape \[1, 36, classes\]|got \(1, "),
        (lambda x, y, seed: lambda a: np.ones((len(a), 3)), "sum to 1"),
        (lambda x, y, seed: lambda a: np.full((len(a), 3), np.nan), "sum to 1"),
        (lambda x, y, seed: lambda a: np.full((len(a), 2), 0.5), "probabilities of 3 classes, got 2"),
    ],
)
def test_bad_answers_are_named(train, sentence):
    with pytest.raises(InputError, match=sentence):
        call(train, models=2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"models": 0}, "models >= 1, got 0"),
        ({"models": 3, "randomise": "model"}, "even number of models"),
        ({"randomise": "coin"}, "randomised to be 'model' or 'canary', got 'coin'"),
        ({"count": 0}, "count >= 1"),
        ({"references": -1}, "references >= 0"),
        ({"count": 150}, "Expected more than 202 records: 162 to make 162 canaries of"),
        ({"attacks": [Population()], "references": 0}, "'population' needs a population: name some references"),
        ({"attacks": [Augmentations()]}, r"'augmentations' needs images: .* got records of shape \[30\]"),
        (
            {"count": 70, "claim": audit.Claim(1.0, 1e-5, adjacency="replace-one")},
            "Expected more than 204 records: 164 to make 82 canaries of, and what stands in for them, and 40 for",
        ),
        ({"data": 3}, "data to be .*, got int"),
        ({"data": ["a", 3]}, "data to be .*, got list"),
        ({"data": (X, Y[:-1])}, "x of shape"),
        ({"data": ([f"text {i}" for i in range(200)])}, "makes array records, but data set 'data' holds text"),
        ({"confidence": 1.0}, r"confidence in \(0, 1\), got 1.0"),
        ({"attacks": []}, "at least one attack"),
        ({"attacks": [attacks.LiRA()], "models": 3}, "compares each model with others, so models must be at least 4"),
        ({"attacks": [attacks.Loss(), attacks.Loss()]}, "attacks of different names, got loss, loss; give one a label"),
        ({"least_power": 2.0}, r"least_power in \[0, 1\], got 2.0"),
        ({"canaries": Secrets()}, "makes text records, but data set 'data' holds array records"),
        (
            {"estimators": [CalibratedLossCurve(adjacency="replace-one")]},
            "'calibrated-loss-curve' gives bounds for replace-one, but the claim is for add-or-remove-one",
        ),
        (
            {
                "claim": audit.Claim(8.0, 1e-5, mechanism=DPSGD(0.1, 100, 1.0)),
                "estimators": [CalibratedLossCurve(0.1, 10)],
            },
            "does not fit the claim's mechanism: It assumes sample_rate = 0.1 and steps = 10, but training has "
            "sample_rate = 0.1 and steps = 100",
        ),
    ],
)
def test_bad_arguments_are_named_before_anything_is_trained(changes, sentence):
    def never(x, y, seed):
        raise AssertionError("trained")

    with pytest.raises(InputError, match=sentence):
        call(never, **{"models": 2, **changes})


def test_a_bound_from_two_arrays():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(3, 1, 300), rng.normal(0, 1, 300)
    strong = audit.bound(inside, outside, delta=1e-5)
    assert isinstance(strong, audit.Bound)
    assert 0.5 < strong.epsilon <= strong.ceiling
    assert audit.bound(outside, rng.normal(0, 1, 300), delta=1e-5).epsilon < 0.3
    assert audit.bound(inside, outside, delta=1e-5, confidence=0.999).epsilon < strong.epsilon
    assert audit.bound(inside, outside, delta=1e-5, estimator=ClopperPearson()).estimator == "clopper-pearson"


@pytest.mark.parametrize(
    ("arguments", "options", "sentence"),
    [
        (([1.0, np.nan], [0.0]), {}, r"in_scores\[1\] is"),
        ((["a"], [0.0]), {}, "in_scores to be numbers"),
        (([1.0], []), {}, "got 1 in_scores and 0 out_scores"),
        (([1.0], [0.0]), {"delta": "1e-5"}, "delta to be a number, got '1e-5'"),
        (([[1.0]], [0.0]), {}, "a 1-D array, got shape"),
        (([1.0], [0.0]), {"delta": 1.0}, r"delta in \[0, 1\), got 1.0"),
        (([1.0], [0.0]), {"confidence": 0.0}, r"confidence in \[0.5, 0.9999\], got 0.0"),
    ],
)
def test_a_bound_from_bad_arrays(arguments, options, sentence):
    with pytest.raises(InputError, match=sentence):
        audit.bound(*map(np.array, arguments), **{"delta": 1e-5, **options})


def test_the_public_names():
    for name in audit.__all__:
        assert getattr(audit, name) is not None
    assert len(audit.__all__) <= 14
    with pytest.raises(AttributeError, match="module 'audit' has no attribute 'nothing'"):
        _ = audit.nothing
