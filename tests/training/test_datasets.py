import dataclasses
import gzip
import inspect
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_breast_cancer, load_digits

import audit.training.datasets as datasets
from audit.training.datasets import (
    ALPHABET,
    BreastCancer,
    Csv,
    DatasetSource,
    Digits,
    FashionMnist,
    Idx,
    Mnist,
    Npz,
    Pydoc,
    TextFiles,
    TextLines,
)
from audit.training.datasets.base import split
from audit.training.datasets.texts import normalise
from canaries.errors import InputError
from canaries.records import ArrayRecords, TextRecords


def write_idx(path, array):
    raw = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


@pytest.fixture
def mnist_like(tmp_path):
    rng = np.random.default_rng(0)
    for part, n in (("train", 60), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(256, size=(n, 4, 5)).astype(np.uint8))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte", (np.arange(n) % 10).astype(np.uint8))
    return tmp_path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.csv"
    rows = [f"{i},{i * 0.5},{'red' if i % 3 else 'blue'},{10 if i % 2 else 9}" for i in range(40)]
    path.write_text("\n".join(["id,half,colour,target", *rows]) + "\n")
    return path


@pytest.fixture
def arrays(tmp_path):
    path = tmp_path / "arrays.npz"
    np.savez(path, x=np.arange(90).reshape(30, 3), y=np.array(["cat", "dog", "eel"] * 10))
    return path


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("".join(f"Line {i}!\n\n" for i in range(30)))
    return path


@pytest.fixture
def sources(mnist_like, table, arrays, lines):
    return [
        Digits(),
        BreastCancer(),
        Pydoc(),
        Idx(str(mnist_like), pool=10),
        FashionMnist(str(mnist_like), pool=10),
        Mnist(str(mnist_like), pool=10),
        Npz(str(arrays), pool=5, test=5),
        Csv(str(table), "target", pool=5, test=5),
        TextLines(str(lines), pool=5, test=5),
        TextFiles(str(lines), unit="line", pool=5, test=5),
    ]


def rows_of(records):
    if isinstance(records, TextRecords):
        return list(records.texts)
    return [x.tobytes() + bytes([y]) for x, y in zip(records.x, records.y, strict=True)]


def test_every_source_is_here(sources):
    exported = {c for _, c in inspect.getmembers(datasets, inspect.isclass)} - {DatasetSource}
    assert {type(source) for source in sources} == exported
    assert len({source.name for source in sources}) == len(sources)


def test_promises_of_every_source(sources):
    for source in sources:
        data = source.load(3)
        assert data.name == source.name
        assert data.digest() == source.load(3).digest(), source
        assert data.digest() != source.load(4).digest(), source
        assert {"train", "pool", "test"} <= {field.name for field in dataclasses.fields(source)}
        wanted = ArrayRecords if source.kind == "array" else TextRecords
        assert all(isinstance(part, wanted) for part in (data.train, data.pool, data.test))
        assert len(data.pool) == source.pool
        assert len(data.train) > 0
        rows = [row for part in (data.train, data.pool, data.test) for row in rows_of(part)]
        assert len(set(rows)) == len(rows), source


def test_a_smaller_train_is_the_beginning_of_a_larger_one(sources):
    for source in sources:
        small, large = (dataclasses.replace(source, train=n).load(1) for n in (8, 15))
        assert rows_of(small.train) == rows_of(large.train)[:8], source
        assert small.pool.digest() == large.pool.digest()
        assert small.test.digest() == large.test.digest()


def test_sizes_that_do_not_fit():
    with pytest.raises(InputError, match=r"'digits' has 1797 records, but train=1500, pool=200 and test=100 need 1800"):
        Digits(train=1500, pool=200, test=100).load(0)
    with pytest.raises(InputError, match=r"train=all that is left, pool=1000 and test=797 need at least 1798"):
        Digits(pool=1000, test=797).load(0)
    with pytest.raises(InputError, match=r"got 0, 1 and 1"):
        Digits(train=0, pool=1, test=1).load(0)
    with pytest.raises(InputError, match=r"got None, -1 and 400"):
        Digits(pool=-1).load(0)


@given(st.integers(1, 40), st.integers(0, 20), st.integers(0, 20), st.integers(0, 9))
def test_splits_are_disjoint(train, pool, test, seed):
    parts = split("x", 80, train, pool, test, seed)
    assert [len(part) for part in parts] == [train, pool, test]
    assert len(set(np.concatenate(parts).tolist())) == train + pool + test


def test_digits_are_those_of_scikit_learn():
    data = Digits(train=1797, pool=0, test=0).load(0)
    assert data.train.x.shape == (1797, 64)
    assert data.train.x.max() == 1
    pixels, y = load_digits(return_X_y=True)
    np.testing.assert_allclose(np.sort(data.train.x.sum(axis=1)), np.sort(pixels.sum(axis=1)) / 16)
    np.testing.assert_array_equal(np.bincount(data.train.y), np.bincount(y))
    images = Digits(train=1797, pool=0, test=0, flat=False).load(0)
    np.testing.assert_array_equal(images.train.x.reshape(1797, 64), data.train.x)
    assert images.train.x.shape == (1797, 1, 8, 8)


def test_breast_cancer_is_standardised_by_its_test_part_alone():
    data = BreastCancer().load(0)
    assert len(data.train) == 369
    np.testing.assert_allclose(data.test.x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(data.test.x.std(axis=0), 1, atol=1e-4)
    assert np.abs(data.train.x.mean(axis=0)).max() > 0.01
    assert data.train.y.sum() + data.pool.y.sum() + data.test.y.sum() == load_breast_cancer().target.sum()
    with pytest.raises(InputError, match=r"test >= 2, got 1"):
        BreastCancer(test=1).load(0)


def test_normalised_text():
    assert len(ALPHABET) == len(set(ALPHABET)) == 46
    assert normalise('  A_b\n"C" [7]: d—e!') == 'a b "c" 7 : d e'


@given(st.text("aZ9 _\n-é.", max_size=30))
def test_normalised_text_is_within_the_alphabet_and_stays_as_it_is(text):
    once = normalise(text)
    assert set(once) <= set(ALPHABET)
    assert "  " not in once
    assert normalise(once) == once


def test_pydoc_windows_come_from_documents_held_out():
    source = Pydoc(window=30, train=None, pool=50, test=200)
    data = source.load(0)
    texts = [*data.train.texts, *data.pool.texts, *data.test.texts]
    assert {len(text) for text in texts} == {30}
    assert len(set(texts)) == len(texts)
    assert set("".join(texts)) <= set(ALPHABET)
    held_out = set(data.test.texts)
    for document in source._documents():
        if held_out & set(document):
            assert not set(document) & {*data.train.texts, *data.pool.texts}
    assert len(data.train) > 10_000


def test_pydoc_sizes():
    with pytest.raises(InputError, match=r"windows of 40 characters, .* fewer than train=50000 and pool=256 need"):
        Pydoc(train=50_000).load(0)
    with pytest.raises(InputError, match=r"window >= 1 for data set 'pydoc', got 0"):
        Pydoc(window=0).load(0)


def test_idx_values(mnist_like):
    data = Idx(str(mnist_like), train=30, pool=30, test=20, mean=0.5, std=0.25, flat=True).load(0)
    assert data.train.x.shape == (30, 20)
    raw = gzip.decompress((mnist_like / "train-images-idx3-ubyte.gz").read_bytes())[16:]
    expected = (np.frombuffer(raw, np.uint8).astype(float) / 255 - 0.5) / 0.25
    both = np.concatenate([data.train.x, data.pool.x]).ravel()
    np.testing.assert_allclose(np.sort(both), np.sort(expected), atol=1e-5)
    assert list(np.bincount(data.test.y)) == [2] * 10
    fashion = FashionMnist(str(mnist_like), pool=0).load(0)
    assert fashion.train.x.shape == (60, 1, 4, 5)
    np.testing.assert_allclose(fashion.train.x.min(), -0.286 / 0.353, rtol=0.05)


def test_idx_mistakes(mnist_like, tmp_path):
    with pytest.raises(InputError, match=r"No such file or directory: .*none\. Get it with: apt-get install dataset-f"):
        FashionMnist(str(tmp_path / "none")).load(0)
    with pytest.raises(InputError, match=r"20 test images, but test=21"):
        Idx(str(mnist_like), pool=0, test=21).load(0)
    with pytest.raises(InputError, match=r"'idx' has 60 records"):
        Idx(str(mnist_like), pool=60).load(0)
    with pytest.raises(InputError, match=r"std > 0"):
        Idx("x", std=0)
    labels = mnist_like / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"Expected 20 bytes for shape \(20,\) .* got 17"):
        Idx(str(mnist_like), pool=0).load(0)
    labels.write_bytes(b"hello")
    with pytest.raises(InputError, match=r"it begins 68656c6c"):
        Idx(str(mnist_like), pool=0).load(0)
    labels.unlink()
    with pytest.raises(InputError, match=r"No t10k-labels-idx1-ubyte, .gz or not, in"):
        Idx(str(mnist_like), pool=0).load(0)
    (mnist_like / "train-images-idx3-ubyte.gz").write_bytes(b"no gzip")
    with pytest.raises(InputError, match=r"Cannot read .*train-images-idx3-ubyte.gz"):
        Idx(str(mnist_like), pool=0).load(0)


def test_npz_labels_are_in_sorted_order(arrays):
    data = Npz(str(arrays)).load(0)
    assert data.train.classes == 3
    np.testing.assert_array_equal(data.train.x[:, 0] / 3 % 3, data.train.y)


def test_npz_mistakes(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(InputError, match=r"No such file or directory: .*a\.npz\. Write one with numpy\.savez"):
        Npz(str(path)).load(0)
    np.savez(path, x=np.zeros((2, 2)), z=np.zeros(2))
    with pytest.raises(InputError, match=r"no array 'y'; it has x, z"):
        Npz(str(path)).load(0)
    np.savez(path, x=np.array([["a"], ["b"]]), y=np.zeros(2))
    with pytest.raises(InputError, match=r"Expected numbers in array 'x'"):
        Npz(str(path)).load(0)
    np.savez(path, x=np.zeros((2, 2)), y=np.array([0, np.nan]))
    with pytest.raises(InputError, match=r"y of shape \[n\] without NaN"):
        Npz(str(path)).load(0)
    np.savez(path, x=np.array([[object()]]), y=np.zeros(1))
    with pytest.raises(InputError, match=r"no .npz file of plain arrays"):
        Npz(str(path)).load(0)
    path.write_text("hello")
    with pytest.raises(InputError, match=r"no .npz file of plain arrays"):
        Npz(str(path)).load(0)


def test_csv_values(table):
    data = Csv(str(table), "target", train=40, pool=0, test=0, standardised=False).load(0)
    x, y = data.train.x, data.train.y
    assert x.shape == (40, 4)
    number = x[:, 0].astype(int)
    np.testing.assert_array_equal(np.sort(number), np.arange(40))
    np.testing.assert_array_equal(x[:, 1], number / 2)
    np.testing.assert_array_equal(x[:, 2], number % 3 == 0)  # blue
    np.testing.assert_array_equal(x[:, 3], number % 3 > 0)  # red
    np.testing.assert_array_equal(y, number % 2)  # 9 comes before 10
    scaled = Csv(str(table), "target", test=10).load(0)
    np.testing.assert_allclose(scaled.test.x[:, :2].mean(axis=0), 0, atol=1e-5)
    assert set(np.unique(scaled.test.x[:, 2:])) == {0, 1}
    assert Csv(str(table), "target", test=2, categorical=("id",)).load(0).train.x.shape == (38, 43)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,y\n1,0\nx,1\n", "Data row 2 of .* has 'x' in column 'a', whose other cells are numbers"),
        ("a,y\n1,0\n,1\n", "Data row 2 of .* has no value in column 'a'"),
        ("a,y\n1,0\n2\n", "Data row 2 of .* has no value in column 'y'"),
        ("a,b\n1,0\n", "no column 'y'; it has a, b"),
        ("y\n1\n", "no column beside the label 'y'"),
        ("a,y\n1,0\n1,2,3\n", "Cannot read .* as CSV"),
        ("", "Cannot read .* as CSV"),
        ("a,y\n", "has 0 records"),
    ],
)
def test_csv_mistakes(tmp_path, content, sentence):
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        Csv(str(path), "y", standardised=False).load(0)


def test_text_lines_and_json_lines(tmp_path, lines):
    assert sorted(TextLines(str(lines)).load(0).train.texts)[:2] == ["line 0", "line 1"]
    assert "Line 0!" in TextLines(str(lines), normalised=False).load(0).train.texts
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"body": f"Text {i}"}) + "\n" for i in range(5)) + "\n")
    assert sorted(TextLines(str(path), "body").load(0).train.texts) == [f"text {i}" for i in range(5)]
    with pytest.raises(InputError, match=r"Line 1 of .* has no text in the field 'title'"):
        TextLines(str(path), "title").load(0)
    path.write_text("{oops\n")
    with pytest.raises(InputError, match=r"Line 1 of .* is no JSON"):
        TextLines(str(path), "body").load(0)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"as UTF-8 text"):
        TextLines(str(path)).load(0)
