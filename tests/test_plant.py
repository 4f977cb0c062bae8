import csv
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.manifest import Manifest
from audit.plant import plant
from audit.plant.columns import Column
from audit.plant.csv_source import logical_rows
from audit.plant.planting import places
from audit.score_files import read_scores
from canaries import Blank, LowVariance, Mislabelled, UniformNoise
from canaries.errors import InputError
from canaries.secrets import Secrets

CSV = "".join(
    ["id;name;price;zip;rate;label\r\n"]
    + [f'{i};"a; {i % 3}";{i % 7}.{i % 4}0;0{i % 5}00;{i + 1}e-2;{"yes" if i % 2 else "no"}\r\n' for i in range(50)]
)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "data.csv"
    path.write_bytes(CSV.encode())
    return path


@pytest.fixture
def objects(tmp_path):
    path = tmp_path / "data.jsonl"
    rows = [
        {
            "id": i,
            "features": [i / 8, -i],
            "meta": {"tag": "ab"[i % 2], "ok": i % 3 == 0},
            "text": f"é {i}",
            "label": i % 3,
        }
        for i in range(40)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows))
    return path


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "data.npz"
    rng = np.random.default_rng(0)
    np.savez_compressed(
        path,
        weight=rng.random(30).astype(np.float32),
        x=rng.integers(256, size=(30, 4, 4)).astype(np.uint8),
        y=np.array(["cat", "dog", "eel"] * 10),
        classes=np.array(["cat", "dog", "eel"]),
    )
    return path


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_bytes(
        "\ufeffzeile eins\n\nzeile zwei ä\n".encode() + b"".join(b"line %d\n" % i for i in range(30)) + b"end"
    )
    return path


def subsequence(few, many):
    rest = iter(many)
    return all(item in rest for item in few)


def outputs(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter=";"))


def test_a_planted_csv(table, tmp_path):
    out = tmp_path / "out"
    manifest = plant(table, Mislabelled(), 40, out, seed=1, references=3)
    assert sorted(outputs(out)) == ["canaries.csv", "manifest.json", "train/data.csv"]

    original, planted = CSV.encode().splitlines(True), (out / "train" / "data.csv").read_bytes().splitlines(True)
    assert planted[0] == original[0]
    assert subsequence(original, planted)
    inserted = manifest.member & ~manifest.reference
    assert 10 < inserted.sum() < 30
    assert len(planted) == 51 + inserted.sum()
    rows = [row.encode() + b"\r\n" for row in manifest.records]
    for row, is_in in zip(rows, inserted, strict=True):
        assert planted.count(row) == is_in  # a wrong label: no original row is the same
        flipped = row.replace(b";no\r", b";YES\r").replace(b";yes\r", b";no\r").replace(b";YES\r", b";yes\r")
        assert flipped in original
    where = [i for i, row in enumerate(planted) if row in rows]
    assert min(where) < 20
    assert max(where) > len(planted) - 20

    listing = read_csv(out / "canaries.csv")
    assert listing[0] == ["canary", "id", "name", "price", "zip", "rate", "label"]
    assert [row[0] for row in listing[1:]] == list(manifest.ids)
    assert b"member" not in (out / "canaries.csv").read_bytes()


def test_the_manifest_holds_what_was_done(table, tmp_path):
    out = tmp_path / "out"
    manifest = plant(table, Blank(label=1), 5, out, seed=3)
    back = Manifest.read(out / "manifest.json")
    assert (back.design, back.fields, back.seed, back.ids) == ("blank", {"label": 1}, 3, manifest.ids)
    assert back.records == manifest.records == ('0;"a; 0";0.00;0000;0.0;yes',) * 5
    np.testing.assert_array_equal(back.member, manifest.member)
    assert back.digests == {
        "input": hashlib.sha256(table.read_bytes()).hexdigest(),
        "training_set": hashlib.sha256((out / "train" / "data.csv").read_bytes()).hexdigest(),
        "canaries": hashlib.sha256((out / "canaries.csv").read_bytes()).hexdigest(),
    }


@pytest.mark.parametrize("design", [Blank(), UniformNoise(), Mislabelled(), LowVariance()], ids=lambda d: d.name)
def test_csv_cells_look_like_the_rest_of_their_column(table, tmp_path, design):
    manifest = plant(table, design, 8, tmp_path / "out", seed=0)
    for row in csv.reader(manifest.records, delimiter=";"):
        i, name, price, code, rate, label = row
        assert str(int(i)) == i
        assert name in {"a; 0", "a; 1", "a; 2"}
        assert len(price.partition(".")[2]) == 2
        float(price)
        assert code in {"0000", "0100", "0200", "0300", "0400"}
        float(rate)
        assert label in {"yes", "no"}
    assert all(';"a; ' in row for row in manifest.records)


def test_equal_arguments_give_equal_bytes(table, objects, arrays, lines, tmp_path):
    for path, design in (
        (table, UniformNoise()),
        (objects, LowVariance()),
        (arrays, Mislabelled()),
        (lines, Secrets()),
    ):
        first, second, third = (tmp_path / f"{path.suffix}{name}" for name in "abc")
        plant(path, design, 6, first, seed=1)
        plant(path, design, 6, second, seed=1)
        plant(path, design, 6, third, seed=2)
        assert outputs(first) == outputs(second)
        assert outputs(first) != outputs(third)


def test_the_coins_decide_nothing_but_what_is_in(table, tmp_path):
    """All canaries are listed whatever their coins; canaries of more models would have the same coins."""
    few = plant(table, UniformNoise(), 5, tmp_path / "few", seed=1)
    many = plant(table, UniformNoise(), 5, tmp_path / "many", seed=1, references=5)
    assert few.ids == many.ids[:5]
    np.testing.assert_array_equal(few.member, many.member[:5])


def test_planted_jsonl_arrays(objects, tmp_path):
    out = tmp_path / "out"
    manifest = plant(objects, UniformNoise(), 30, out, seed=1)
    planted = (out / "train" / "data.jsonl").read_text().splitlines()
    assert subsequence(objects.read_text().splitlines(), planted)
    assert len(planted) == 40 + manifest.member.sum()
    for row in manifest.records:
        item = json.loads(row)
        assert row == json.dumps(item, ensure_ascii=False, separators=(",", ":"))
        assert list(item) == ["id", "features", "meta", "text", "label"]
        assert isinstance(item["id"], int)
        assert 0 <= item["id"] <= 39
        assert isinstance(item["features"][0], float)
        assert isinstance(item["features"][1], int)
        assert item["meta"]["tag"] in ("a", "b")
        assert isinstance(item["meta"]["ok"], bool)
        assert item["label"] in (0, 1, 2)
    listed = [json.loads(line) for line in (out / "canaries.jsonl").read_text().splitlines()]
    assert [item.pop("canary") for item in listed] == list(manifest.ids)
    assert listed == [json.loads(row) for row in manifest.records]


def test_planted_jsonl_secrets(objects, tmp_path):
    manifest = plant(objects, Secrets(digits=4, repetitions=(1, 3)), 20, tmp_path / "out", seed=1)
    planted = (tmp_path / "out" / "train" / "data.jsonl").read_text().splitlines()
    assert len(planted) == 40 + (manifest.repetitions * manifest.member).sum()
    originals = [json.loads(line) for line in objects.read_text().splitlines()]
    for i, row in enumerate(manifest.records):
        assert planted.count(row) == manifest.member[i] * manifest.repetitions[i]
        item = json.loads(row)
        secret = manifest.secrets[i]
        assert item.pop("text") == secret.prefix + secret.value + secret.suffix
        assert any(item == {k: v for k, v in other.items() if k != "text"} for other in originals)


def test_planted_text(lines, tmp_path):
    out = tmp_path / "out"
    manifest = plant(lines, Secrets(repetitions=(2,)), 10, out, seed=4)
    before, after = lines.read_bytes(), (out / "train" / "corpus.txt").read_bytes()
    assert after.startswith(b"\xef\xbb\xbf")
    assert after.count(b"\xef\xbb\xbf") == 1
    assert not after.endswith(b"\n")
    planted = after[3:].split(b"\n")
    assert subsequence(before[3:].split(b"\n"), planted)
    for row, is_in in zip(manifest.records, manifest.member, strict=True):
        assert planted.count(row.encode()) == 2 * is_in
    listed = [line.split("\t") for line in (out / "canaries.txt").read_text().splitlines()]
    assert listed == [list(pair) for pair in zip(manifest.ids, manifest.records, strict=True)]
    np.testing.assert_array_equal(Manifest.read(out / "manifest.json").space, [1e6] * 10)


def test_planted_arrays(arrays, tmp_path):
    out = tmp_path / "out"
    manifest = plant(arrays, LowVariance(), 20, out, seed=1)
    with (
        np.load(arrays) as before,
        np.load(out / "train" / "data.npz") as after,
        np.load(out / "canaries.npz") as listed,
    ):
        assert after.files == before.files
        assert all(after[name].dtype == before[name].dtype for name in before.files)
        n = 30 + manifest.member.sum()
        assert (after["x"].shape, after["y"].shape, after["weight"].shape) == ((n, 4, 4), (n,), (n,))
        np.testing.assert_array_equal(after["classes"], before["classes"])
        rows = [x.tobytes() for x in after["x"]]
        assert subsequence([x.tobytes() for x in before["x"]], rows)
        assert list(listed["canary"]) == list(manifest.ids)
        for i, x in enumerate(listed["x"]):
            assert manifest.records[i] == {"label": listed["y"][i], "sha256": hashlib.sha256(x.tobytes()).hexdigest()}
            assert rows.count(x.tobytes()) == manifest.member[i]
        assert set(listed["weight"]) <= set(before["weight"])


def test_a_mislabelled_array_is_exact(arrays, tmp_path):
    plant(arrays, Mislabelled(), 30, tmp_path / "out", seed=1)
    with np.load(arrays) as before, np.load(tmp_path / "out" / "canaries.npz") as listed:
        truth = {x.tobytes(): y for x, y in zip(before["x"], before["y"], strict=True)}
        assert all(truth[x.tobytes()] != y for x, y in zip(listed["x"], listed["y"], strict=True))


def test_from_planting_to_scores(table, tmp_path):
    out = tmp_path / "out"
    manifest = plant(table, UniformNoise(), 12, out, seed=1, references=2)
    trained_on = (out / "train" / "data.csv").read_text().splitlines()
    with (out / "canaries.csv").open(newline="") as file:
        listing = [line.rstrip("\r\n").split(";", 1) for line in file][1:]
    scored = [f"{canary},{float(row in trained_on)}\n" for canary, row in reversed(listing)]
    (tmp_path / "scores.csv").write_text("canary,score\n" + "".join(scored))
    scores = read_scores(tmp_path / "scores.csv", out / "manifest.json")
    np.testing.assert_array_equal(scores.score == 1, scores.member & ~scores.reference)
    assert scores.reference.sum() == 2
    assert set(scores.ids) == set(manifest.ids)


def test_nothing_is_overwritten(table, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    plant(table, Blank(), 1, out, seed=0)
    before = outputs(out)
    with pytest.raises(InputError, match=r"empty or not there yet .*out holds something"):
        plant(table, Blank(), 1, out, seed=1)
    assert outputs(out) == before
    with pytest.raises(InputError, match=r"data.csv holds something"):
        plant(table, Blank(), 1, table, seed=1)


@pytest.mark.parametrize(
    ("name", "content", "design", "sentence"),
    [
        ("d.xml", "x", Blank(), r"named \.csv, .*\.text, got .*d\.xml"),
        ("d.csv", "", Blank(), "has no header row"),
        ("d.csv", "a,label\n", Blank(), "one row or more"),
        ("d.csv", "a,b\n1,2\n", Blank(), r"no column 'label' \(the default; name another as label\); it has a, b"),
        ("d.csv", "a,label\n1,2\n1,2,3\n", Blank(), "Data row 2 of .* has 3 cells, the header has 2"),
        ("d.csv", "a,label\n1,2\n", Secrets(), "no column 'text'"),
        ("d.csv", "a,label\n1,2\n", Mislabelled(), "^3 mislabelled canaries .* holds 1"),
        ("d.jsonl", "", Blank(), "one JSON object or more"),
        ("d.jsonl", "[1]\n", Blank(), "Line 1 of .* is no JSON object"),
        ("d.jsonl", '{"a": 1, "label": 0}\n{"label": 0}\n', Blank(), "Objects 1 and 2 of .* only one of them has 'a'"),
        ("d.jsonl", '{"text": 3}\n', Secrets(), "Object 1 of .* has no text in 'text'"),
        ("d.txt", "hello\n", Blank(), "makes array records, which .txt files do not hold"),
        ("d.txt", "\n", Secrets(), "one row or more"),
        ("d.npz", "hello", Blank(), "no .npz file"),
        ("d.npz", "hello", Secrets(), "makes text records, which .npz files do not hold"),
    ],
)
def test_bad_input_gets_a_sentence_and_writes_nothing(tmp_path, name, content, design, sentence):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        plant(path, design, 3, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def test_encodings(tmp_path):
    path = tmp_path / "d.txt"
    path.write_bytes("naïve\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"as utf-8: .* name its encoding"):
        plant(path, Secrets(), 1, tmp_path / "out", seed=0)
    plant(path, Secrets(), 4, tmp_path / "out", seed=0, encoding="latin-1")
    assert b"na\xefve\n" in (tmp_path / "out" / "train" / "d.txt").read_bytes()
    with pytest.raises(InputError, match=r"cannot be written in the encoding"):
        plant(path, Secrets(template="→ {name} {secret}"), 4, tmp_path / "two", seed=0, encoding="latin-1")
    with pytest.raises(InputError, match=r"Cannot read the training set .*none.txt: No such file"):
        plant(tmp_path / "none.txt", Secrets(), 1, tmp_path / "three", seed=0)


def test_missing_array(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.zeros((3, 2)), z=np.zeros(3))
    with pytest.raises(InputError, match=r"no column 'y'"):
        plant(tmp_path / "d.npz", Blank(), 1, tmp_path / "out", seed=0)
    manifest = plant(tmp_path / "d.npz", Blank(), 1, tmp_path / "out", seed=0, label="z", field="x")
    assert manifest.records[0]["label"] == 0


@given(st.integers(0, 30), st.integers(0, 10), st.integers(0, 5))
def test_places_keep_the_order_of_originals(originals, inserted, seed):
    order = places(originals, inserted, np.random.default_rng(seed))
    assert sorted(order) == list(range(originals + inserted))
    assert list(order[order < originals]) == list(range(originals))


def test_places_are_uniform():
    counts = np.zeros(6)
    for seed in range(3000):
        counts[np.argmax(places(5, 1, np.random.default_rng(seed)) == 5)] += 1
    np.testing.assert_allclose(counts / 3000, 1 / 6, atol=0.03)


@given(st.lists(st.integers(-(10**6), 10**6), min_size=1))
def test_integer_columns_are_read_back(values):
    cells = [str(value) for value in values]
    column = Column.learn(cells)
    assert column.decode(column.encode(cells)) == cells


@given(st.lists(st.decimals(-1000, 1000, places=2), min_size=1))
def test_columns_of_two_decimals_are_read_back(values):
    cells = [f"{value + 0:.2f}".replace("-0.00", "0.00") for value in values]
    column = Column.learn(cells)
    assert column.decode(column.encode(cells)) == cells


@given(st.lists(st.sampled_from(["", "red", "007", "12", "-3.5", "nan", "é"]), min_size=1))
def test_columns_of_categories_are_read_back(cells):
    column = Column.learn(cells, categorical=True)
    assert column.decode(column.encode(cells)) == cells
    assert Column.learn([*cells, "red"]).decode(Column.learn([*cells, "red"]).encode(cells)) == cells


def test_how_numbers_are_written():
    feature = np.array([1.0, 0.25, -0.0], dtype=np.float32)
    assert Column.learn(["4", "-8"]).decode(feature) == ["8", "2", "0"]
    assert Column.learn(["4.5", "8.125"]).decode(feature) == ["8.125", "2.031", "0.0"]
    assert Column.learn(["0.1000000001", "1.50"]).decode(np.float32([0.1000000001 / 1.5, 1])) == [
        "0.1000000001",
        "1.50",
    ]
    assert Column.learn(["4.50", "8.00"]).decode(feature) == ["8.00", "2.00", "0.00"]
    assert Column.learn(["1e-3", "2"]).decode(feature) == ["2", "0.5", "0.0"]
    assert Column.learn(["0", "0"]).decode(feature) == ["1", "0", "0"]
    assert Column.learn(["2", "10", "b", "a"], categorical=True).values == ("2", "10", "a", "b")


def test_rows_with_line_breaks_in_quotes_stay_whole():
    assert logical_rows(['a,"b\n', 'c"\n', 'd,"e""f"\n']) == ['a,"b\nc"\n', 'd,"e""f"\n']


def test_multiline_cells_are_kept(tmp_path):
    body = 'text,label\n"one\ntwo",1\n' + "".join(f'"row {i}",0\n' for i in range(20))
    (tmp_path / "d.csv").write_text(body)
    manifest = plant(tmp_path / "d.csv", Secrets(), 10, tmp_path / "out", seed=0)
    planted = (tmp_path / "out" / "train" / "d.csv").read_text()
    assert '"one\ntwo",1\n' in planted
    assert all(row.startswith('"the access code') for row in manifest.records)
