from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from attacks import Scores
from audit.estimators import Reconstruction, SecretGuess
from audit.manifest import Manifest
from audit.score_files import read_scores, write_scores
from canaries import Secret
from canaries.errors import InputError

MATRIX = "model,canary,score,member\n0,a,1,1\n0,b,2,0\n1,b,4,1\n1,a,3,0\n"


def csv(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return path


def test_score_and_member_alone_are_independent_runs(tmp_path):
    scores = read_scores(csv(tmp_path, "score,member\n0.5,1\n-1,0\n2e3,1\n"))
    assert scores.randomised == "model"
    np.testing.assert_array_equal(scores.score, [[0.5], [-1], [2000]])
    np.testing.assert_array_equal(scores.member, [[True], [False], [True]])


def test_the_caller_may_say_that_rows_are_canaries(tmp_path):
    scores = read_scores(csv(tmp_path, "score,member\n0.5,1\n-1,0\n2e3,1\n"), randomised="canary")
    assert scores.randomised == "canary"
    np.testing.assert_array_equal(scores.score, [[0.5, -1, 2000]])
    assert len(set(scores.ids)) == 3


def test_canaries_of_one_run(tmp_path):
    scores = read_scores(csv(tmp_path, "canary,score,member\n007,1,true\nNA,inf,FALSE\n"))
    assert scores.randomised == "canary"
    assert scores.ids == ("007", "NA")
    np.testing.assert_array_equal(scores.score, [[1, np.inf]])
    np.testing.assert_array_equal(scores.member, [[True, False]])


def test_models_of_one_canary(tmp_path):
    for text in ("model,score,member\n7,1,1\n3,2,0\n", "model,canary,score,member\n7,x,1,1\n3,x,2,0\n"):
        scores = read_scores(csv(tmp_path, text))
        assert scores.randomised == "model"
        np.testing.assert_array_equal(scores.score, [[1], [2]])


def test_a_full_matrix_in_any_order(tmp_path):
    scores = read_scores(csv(tmp_path, MATRIX))
    assert scores.randomised == "canary"
    assert scores.ids == ("a", "b")
    np.testing.assert_array_equal(scores.score, [[1, 2], [3, 4]])
    np.testing.assert_array_equal(scores.member, [[True, False], [False, True]])


def test_all_or_none_is_never_taken_for_independent_coins(tmp_path):
    text = "model,canary,score,member\n0,a,1,1\n0,b,2,1\n1,a,3,0\n1,b,4,0\n"
    assert read_scores(csv(tmp_path, text)).randomised == "model"
    assert read_scores(csv(tmp_path, text), randomised="canary").randomised == "canary"
    with pytest.raises(InputError, match=r"Models cannot be what was randomised"):
        read_scores(csv(tmp_path, MATRIX), randomised="model")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("score\n1\n", "no column 'member'; it has score"),
        ("member\n1\n", "no column 'score'"),
        ("score,member\n1,1\n,0\n", "number in column 'score' .* got '' in data row 2"),
        ("score,member\nnan,1\n", "number in column 'score' .* got 'nan' in data row 1"),
        ("score,member\n1,1\n1,0\n1,yes\n", "0, 1, true or false in column 'member' .* got 'yes' in data row 3"),
        ("score,member\n1,1\n1\n", "got '' in data row 2"),
        ("score,member\n", "has no rows"),
        ("", "Cannot read .* as CSV: No columns"),
        ("score,member\n1,2,3,4\n1,2\n1,2,3,4,5\n", "Cannot read .* as CSV"),
        ("score,member,score\n1,1,1\n", "has the column 'score' twice"),
        (MATRIX.replace("1,a,3,0\n", ""), "no row for model '1' and canary 'a'; .* 2 models and 2 canaries"),
        (MATRIX + "0,b,9,0\n", "more than one row for model '0' and canary 'b'"),
        ("canary,score,member\na,1,1\na,2,0\n", "more than one row for model '0' and canary 'a'"),
        ("canary,score,member\na,1,1\n,2,0\n", "Data row 2 of .* names no canary"),
        ("score,member,randomised\n1,1,coin\n", "'model' or 'canary' throughout column 'randomised' .* got 'coin'"),
        ("score,member,repetitions\n1,1,0\n", "at least 1"),
        ("model,canary,score,member,reference\n0,a,1,1,1\n1,a,2,0,0\n", "'reference' .* between rows of canary 'a'"),
    ],
)
def test_malformed_files_get_one_sentence(tmp_path, text, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        read_scores(csv(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match=r"named .csv or .parquet, got .*scores.xlsx"):
        read_scores(tmp_path / "scores.xlsx")
    with pytest.raises(InputError, match=r"No such scores file"):
        read_scores(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(InputError, match=r"Cannot read .* as Parquet") as caught:
        read_scores(tmp_path / "bad.parquet")
    assert "\n" not in str(caught.value)
    (tmp_path / "latin.csv").write_bytes(b"score,member\n1,\xff\n")
    with pytest.raises(InputError, match=r"Cannot read .* as CSV"):
        read_scores(tmp_path / "latin.csv")
    with pytest.raises(InputError, match=r"got 'both'"):
        read_scores(tmp_path / "none.csv", randomised="both")
    with pytest.raises(InputError, match=r"named .csv or .parquet, got .*\.json"):
        write_scores(Scores.from_arms(np.zeros(1), np.ones(1)), tmp_path / "x.json")


def test_parquet_with_types_of_its_own(tmp_path):
    table = pd.DataFrame({"model": [1, 2], "score": np.float32([0.5, 1]), "member": [True, False], "note": ["a", "b"]})
    table.to_parquet(tmp_path / "s.parquet")
    scores = read_scores(tmp_path / "s.parquet")
    np.testing.assert_array_equal(scores.score, [[0.5], [1]])
    assert scores.evidence == {}
    table["score"] = [1.0, None]
    table.to_parquet(tmp_path / "s.parquet")
    with pytest.raises(InputError, match=r"column 'score' .* in data row 2"):
        read_scores(tmp_path / "s.parquet")


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from(["csv", "parquet"]), st.sampled_from(["model", "canary"]))
def test_what_is_written_is_read_back(tmp_path, data, extension, randomised):
    models, n = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 5)))
    member = data.draw(arrays(bool, (models, n)))
    if randomised == "model":
        member[:] = member[:, :1]
    score = data.draw(arrays(np.float64, (models, n), elements=st.floats(allow_nan=False)))
    scores = Scores(
        ids=tuple(f"c{i}" for i in range(n)),
        score=score,
        member=member,
        reference=np.arange(n) % 2 == 1,
        repetitions=1 + np.arange(n),
        randomised=randomised,
        space=10.0 ** np.arange(n),
        evidence={"guessed": member, "exposure": np.arange(models * n).reshape(models, n) / 4},
        secret_set=data.draw(st.none() | arrays(np.int64, models, elements=st.integers(-(2**53), 2**53))),
    )
    path = tmp_path / f"scores.{extension}"
    write_scores(scores, path)
    back = read_scores(path)
    assert (back.ids, back.randomised) == (scores.ids, scores.randomised)
    for name in ("score", "member", "reference", "repetitions", "space"):
        np.testing.assert_array_equal(getattr(back, name), getattr(scores, name))
    assert set(back.evidence) == set(scores.evidence)
    if scores.secret_set is None:
        assert back.secret_set is None
    else:
        np.testing.assert_array_equal(back.secret_set, scores.secret_set)
    assert back.evidence["guessed"].dtype == bool
    for name, array in scores.evidence.items():
        np.testing.assert_array_equal(back.evidence[name], array)


@pytest.mark.parametrize("extension", ["csv", "parquet"])
def test_secrets_of_each_model_s_own_prove_as_much_after_the_round_trip(tmp_path, extension):
    member = np.random.default_rng(0).random((8, 5)) < 0.5
    scores = replace(
        Scores.from_matrix(np.zeros((8, 5)), member, "canary"),
        space=np.full(5, 1e6),
        evidence={"guessed": member},
        secret_set=np.arange(8),
    )
    path = tmp_path / f"scores.{extension}"
    write_scores(scores, path)
    for estimator in (SecretGuess(), Reconstruction(prior=1e-6)):
        given = replace(scores, evidence={"guessed": member, "reconstructed": member})
        write_scores(given, path)
        bound = estimator.bound(read_scores(path), 1e-5)
        assert bound == estimator.bound(given, 1e-5)
        assert bound.epsilon > estimator.bound(replace(given, secret_set=None), 1e-5).epsilon


def test_a_file_may_say_which_models_hold_secrets_of_their_own(tmp_path):
    head = "model,canary,score,member,space,guessed,secret_set\n"
    rows = [f"{m},{c},0,{(m + i) % 2},100,1,{m // 2}\n" for m in range(4) for i, c in enumerate("ab")]
    np.testing.assert_array_equal(read_scores(csv(tmp_path, head + "".join(rows))).secret_set, [0, 0, 1, 1])
    assert set(read_scores(csv(tmp_path, head + "".join(rows))).evidence) == {"guessed"}


def test_canaries_named_for_their_model_are_told_of_the_column_that_is_meant(tmp_path):
    with pytest.raises(InputError, match=r"no row for model '0' and canary 'b'; .* 'secret_set' tells them apart\.$"):
        read_scores(csv(tmp_path, "model,canary,score,member\n0,a,1,1\n1,b,0,0\n"))
    with pytest.raises(InputError, match=r"no row for model '1' and canary 'b'; .* 2 models and 2 canaries\.$"):
        read_scores(csv(tmp_path, "model,canary,score,member\n0,a,1,1\n0,b,0,0\n1,a,1,1\n"))


@pytest.mark.parametrize(
    ("cells", "sentence"),
    [
        (("0", "1"), "Column 'secret_set' of .* differs between rows of model 'm'"),
        (("0", "0.5"), "Expected a whole number in column 'secret_set' of .*, got '0.5' in data row 2"),
        (("0", "inf"), "Expected a whole number in column 'secret_set' of .*, got 'inf' in data row 2"),
        (("a", "0"), "Expected a number in column 'secret_set' of .*, got 'a' in data row 1"),
    ],
)
def test_a_secret_set_that_is_none_is_refused(tmp_path, cells, sentence):
    text = "model,canary,score,member,secret_set\n" + "".join(
        f"m,{name},0,{i},{cell}\n" for i, (name, cell) in enumerate(zip("ab", cells, strict=True))
    )
    with pytest.raises(InputError, match=sentence):
        read_scores(csv(tmp_path, text))


@pytest.fixture
def manifest():
    return Manifest(
        design="secrets",
        fields={"digits": 2, "repetitions": [1, 4]},
        seed=5,
        ids=("a", "b", "c"),
        member=np.array([True, False, True]),
        reference=np.array([False, False, True]),
        repetitions=np.array([1, 4, 1]),
        records=("code 12.", "code 34.", "code 56."),
        secrets=tuple(Secret("code ", value, ".", "0123456789") for value in ("12", "34", "56")),
        digests={"input": "0" * 64},
    )


def test_manifests_are_read_back(tmp_path, manifest):
    manifest.write(tmp_path / "m.json")
    back = Manifest.read(tmp_path / "m.json")
    for name in ("design", "seed", "ids", "records", "secrets", "digests", "fields"):
        assert getattr(back, name) == getattr(manifest, name)
    for name in ("member", "reference", "repetitions"):
        np.testing.assert_array_equal(getattr(back, name), getattr(manifest, name))


def test_scores_are_joined_to_the_manifest_by_id(tmp_path, manifest):
    manifest.write(tmp_path / "m.json")
    scores = read_scores(csv(tmp_path, "canary,score\nc,3\na,1\nb,2\n"), tmp_path / "m.json")
    assert scores.randomised == "canary"
    assert scores.ids == ("c", "a", "b")
    np.testing.assert_array_equal(scores.score, [[3, 1, 2]])
    np.testing.assert_array_equal(scores.member, [[True, True, False]])
    np.testing.assert_array_equal(scores.reference, [True, False, False])
    np.testing.assert_array_equal(scores.repetitions, [1, 1, 4])
    np.testing.assert_array_equal(scores.space, [100, 100, 100])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("canary,score\na,1\nb,2\n", "different canaries: .* lacks 'c'"),
        ("canary,score\na,1\nb,2\nc,3\nd,4\n", "the manifest lacks 'd'"),
        ("canary,score,member\na,1,1\nb,2,1\nc,3,1\n", "disagree whether canary 'b' is a member"),
        ("canary,score\na,1\nb,2\nc,3\nc,3\n", "more than one row"),
        ("canary,score\na,1\nb,x\nc,3\n", "got 'x' in data row 2"),
        ("score\n1\n", "no column 'canary'"),
        ("model,canary,score\n0,a,1\n0,b,1\n0,c,1\n1,a,1\n1,b,1\n1,c,1\n", "scores of one model .* got 2"),
    ],
)
def test_scores_that_do_not_fit_the_manifest(tmp_path, manifest, text, sentence):
    with pytest.raises(InputError, match=sentence):
        read_scores(csv(tmp_path, text), manifest)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "Cannot read the manifest"),
        ("[]", "version 1 in .* got something else"),
        ('{"firedamp_manifest": 2}', "got 2"),
        ('{"firedamp_manifest": 1}', "is damaged: KeyError: 'canaries'"),
    ],
)
def test_bad_manifests(tmp_path, content, sentence):
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InputError, match=sentence):
        Manifest.read(tmp_path / "m.json")
    with pytest.raises(InputError, match=r"Cannot read the manifest"):
        Manifest.read(tmp_path / "none.json")


def test_sets_may_have_any_numbers():
    member = np.array([[True, False], [True, True], [False, True]])
    scores = Scores.from_matrix(np.zeros((3, 2)), member, "canary")
    for sets in ([-5, 10**12, -5], [7, 2**53, 7]):
        numbers = replace(scores, secret_set=np.array(sets)).secret_numbers
        np.testing.assert_array_equal(numbers[0], numbers[2])
        assert not set(numbers[0]) & set(numbers[1])
        assert 0 <= numbers.min() <= numbers.max() < 6
