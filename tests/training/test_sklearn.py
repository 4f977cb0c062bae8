"""scikit-learn estimators as training functions, and as views."""

import pickle

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import attacks
import audit
import canaries
from attacks.view import Access, AccessError
from audit.training.function import FunctionTrainer
from audit.training.sklearn import ScikitLearn, fitted_view
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 1)


def test_answers_are_the_estimator_s_own():
    ask = ScikitLearn(DecisionTreeClassifier(max_depth=3))(X, Y, 5)
    fitted = DecisionTreeClassifier(max_depth=3, random_state=0).fit(X, Y)
    np.testing.assert_array_equal(ask(X), fitted.predict_proba(X))


def test_the_seed_sets_every_random_state_and_nothing_else():
    forest = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=3))
    train = ScikitLearn(forest)
    first, again, other = train(X, Y, 1)(X), train(X, Y, 1)(X), train(X, Y, 2)(X)
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert forest.get_params()["randomforestclassifier__random_state"] is None
    assert train.__name__ == "Pipeline"
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(train))(X, Y, 1)(X), first)


def test_a_class_that_a_training_set_lacks_gets_probability_zero():
    some = Y != 1
    answer = ScikitLearn(LogisticRegression(), classes=(0, 1, 2))(X[some], Y[some], 0)(X)
    assert answer.shape == (200, 3)
    assert (answer[:, 1] == 0).all()
    np.testing.assert_allclose(answer.sum(axis=1), 1)
    with pytest.raises(InputError, match="it was fitted on 2 too"):
        ScikitLearn(LogisticRegression(), classes=(0, 1))(X, Y, 0)


def test_images_are_flattened_and_labels_may_be_names():
    names = np.array(["ant", "bee", "cat"])[Y]
    ask = ScikitLearn(LogisticRegression())(X.reshape(-1, 2, 2), names, 0)
    np.testing.assert_allclose(ask(X.reshape(-1, 2, 2)), LogisticRegression().fit(X, Y).predict_proba(X), rtol=1e-6)


def test_a_view_of_fitted_estimators():
    models = [LogisticRegression(C=c).fit(X, Y) for c in (0.01, 10.0)]
    view = fitted_view(models, [0, 1, 2])
    assert view.access is Access.PROBABILITIES
    np.testing.assert_allclose(view.probabilities(X), [model.predict_proba(X) for model in models])
    own = np.stack([X[:10], X[10:20]])
    np.testing.assert_array_equal(
        view.labels_each(own), [model.predict(x) for model, x in zip(models, own, strict=True)]
    )
    with pytest.raises(InputError, match="at least one fitted estimator"):
        fitted_view([], [0, 1])


def test_without_probabilities_the_view_grants_labels_alone():
    svm = LinearSVC().fit(X, Y)
    view = fitted_view([svm], [0, 1, 2])
    assert view.access is Access.LABELS
    np.testing.assert_array_equal(view.labels(X)[0], svm.predict(X))
    with pytest.raises(AccessError):
        view.probabilities(X)


@pytest.mark.parametrize(
    ("attack", "per_canary"),
    [
        (attacks.Gap(), 1),
        (attacks.NoiseRobustness(copies=4, scales=(0.01, 0.1)), 8),
        (attacks.Augmentations(shifts=0, rotations=(-2.0, 2.0), shape=(1, 2, 2)), 3),
        (attacks.BoundaryDistance(), 12),
        (attacks.HopSkipJump(iterations=1), attacks.HopSkipJump(iterations=1).budget),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_label_only_attacks_yield_a_bound_on_epsilon_through_an_audit(attack, per_canary):
    result = audit.run(
        ScikitLearn(DecisionTreeClassifier()),
        data=(X, Y),
        canaries=canaries.Mislabelled(),
        attacks=[attack],
        models=4,
        claim=audit.Claim(epsilon=1.0, delta=1e-5),
        count=20,
        references=4,
    )
    assert result.bounds[0].epsilon > 0
    found = result.run.cells[0].attacks[0]
    assert found.family == "label-only"
    assert found.queries == per_canary * len(found.scores.ids)


def test_models_answer_their_own_records():
    data = Dataset("normal", *(ArrayRecords(X[part::3], Y[part::3], 3) for part in range(3)))
    made = canaries.Mislabelled().make(data, 4, RNG)
    trainer = FunctionTrainer(ScikitLearn(DecisionTreeClassifier()))
    trained = trainer.train(data, made, np.array([[True] * 4, [False] * 4]), [1, 2])
    own = np.stack([X[:10], X[10:20]])
    np.testing.assert_array_equal(trained.labels_each(own), [trained.labels(own[0])[0], trained.labels(own[1])[1]])
