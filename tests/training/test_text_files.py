"""Documents cut into the records that are to be protected; and bytes as tokens."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.view import BYTES, encode, in_bytes
from audit.training.datasets import Pydoc, TextFiles, TextLines
from audit.training.datasets.base import DatasetSource
from audit.training.text_models import CharacterNGram
from canaries.errors import InputError
from canaries.records import TextRecords


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(12):
        inner = tmp_path / "texts" / f"part{i % 2}"
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{i:02d}.txt").write_text("\n".join(f"document {i} says line {j}" for j in range(4 + i)), "utf-8")
    (tmp_path / "texts" / "image.bin").write_bytes(bytes(range(256)))
    return tmp_path / "texts"


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    path = tmp_path / "mail.jsonl"
    rows = [{"from": f"a{i % 5}", "body": f"message {i} of author {i % 5}"} for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_windows_of_test_documents_are_in_no_other_part(folder: Path) -> None:
    source = TextFiles(str(folder), window=24, files="*.txt", test=10, pool=5)
    data = source.load(3)
    assert source.privacy_unit == "window of 24 characters"
    assert all(len(text) == 24 for text in data.train.texts)  # type: ignore[union-attr]

    def documents(texts: tuple[str, ...]) -> set[str]:
        return {number for text in texts for number in re.findall(r"document (\d+) s", text)}

    assert len(data.test.texts) == 10  # type: ignore[union-attr]
    assert not documents(data.test.texts) & documents(data.train.texts + data.pool.texts)  # type: ignore[union-attr]


@pytest.mark.parametrize(("unit", "count"), [("line", sum(4 + i for i in range(12))), ("document", 12)])
def test_lines_and_documents(folder: Path, unit: str, count: int) -> None:
    source = TextFiles(str(folder), unit=unit, window=30, files="*.txt")  # type: ignore[arg-type]
    texts = source.load(0).train.texts  # type: ignore[union-attr]
    assert len(texts) == count
    assert max(map(len, texts)) <= 30
    assert source.privacy_unit.startswith(unit)


def test_all_of_an_author_is_one_record(mail: Path) -> None:
    source = TextFiles(str(mail), unit="author", field="body", author="from", window=60)
    texts = source.load(0).train.texts  # type: ignore[union-attr]
    assert sorted(texts)[0] == "message 0 of author 0 message 5 of author 0 message 10 of author 0"[:60].strip()
    assert len(texts) == 5
    assert "author" in source.privacy_unit


def test_sizes_and_seeds(mail: Path) -> None:
    source = TextFiles(str(mail), unit="document", field="body", train=10, pool=4, test=6)
    one, again, other = source.load(1), source.load(1), source.load(2)
    assert one.digest() == again.digest() != other.digest()
    assert [len(part) for part in (one.train, one.pool, one.test)] == [10, 4, 6]
    assert len({*one.train.texts, *one.pool.texts, *one.test.texts}) == 20  # type: ignore[union-attr]


def test_what_is_wrong_is_named(folder: Path, mail: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        TextFiles(str(tmp_path / "none")).load(0)
    with pytest.raises(InputError, match="No file matches"):
        TextFiles(str(folder), files="*.rst").load(0)
    with pytest.raises(InputError, match=r"author each need a \.jsonl"):
        TextFiles(str(folder), unit="author").load(0)
    with pytest.raises(InputError, match="no text in the field 'text'"):
        TextFiles(str(mail)).load(0)
    with pytest.raises(InputError, match="Expected unit"):
        TextFiles(str(mail), unit="word", field="body").load(0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Expected unit"):
        _ = TextFiles(str(mail), unit="word").privacy_unit  # type: ignore[arg-type]
    with pytest.raises(InputError, match="20 records"):
        TextFiles(str(mail), unit="document", field="body", train=100).load(0)
    (tmp_path / "bad.jsonl").write_text("{\n", "utf-8")
    with pytest.raises(InputError, match=r"Line 1 of .* is no JSON"):
        TextFiles(str(tmp_path / "bad.jsonl")).load(0)


def test_the_claims_unit_is_the_record() -> None:
    assert Pydoc(window=32).privacy_unit == "window of 32 characters"


def test_bytes_write_any_text() -> None:
    texts = ("né", "日本")
    tokens = encode(texts, BYTES)
    assert tokens.tolist() == [[1 + b for b in t.encode()] + [0] * (6 - len(t.encode())) for t in texts]
    model = CharacterNGram(length=6, tokens="bytes", context=3, hidden=4)
    inputs, _ = model.tensors(TextRecords(texts))
    np.testing.assert_array_equal(inputs.numpy(), tokens)
    torch.manual_seed(0)
    view = model.view([model.module(TextRecords(texts))], TextRecords(texts))
    assert view.loss(TextRecords(texts)).shape == (1, 2)
    assert in_bytes("é") == "Ã©"
    with pytest.raises(InputError, match="reads 5 bytes a record"):
        CharacterNGram(length=5, tokens="bytes").tensors(TextRecords(texts))
    with pytest.raises(InputError, match="tokens 'characters', 'bytes' or"):
        CharacterNGram(tokens="words")  # type: ignore[arg-type]


def words(document: int, windows: int) -> str:
    """A document of so many windows of 12 characters, each of which names it, and a bit more."""
    return "".join(f"doc {document:02d} w{i:03d} " for i in range(windows)) + "left over"


def documents_of(records: object) -> dict[str, int]:
    assert isinstance(records, TextRecords)
    return Counter(text[4:6] for text in records.texts)


@pytest.fixture
def sized(tmp_path: Path) -> Callable[..., Path]:
    def make(*sizes: int) -> Path:
        folder = tmp_path / "-".join(map(str, sizes))
        folder.mkdir()
        for i, size in enumerate(sizes):
            (folder / f"{i:02d}.txt").write_text(words(i, size), "utf-8")
        return folder

    return make


@pytest.mark.parametrize("seed", range(4))
def test_large_documents_are_held_out_where_there_are_no_small_ones(sized: Callable[..., Path], seed: int) -> None:
    data = TextFiles(str(sized(66, 68)), window=12, train=60, pool=5, test=10).load(seed)
    assert documents_of(data.test) == {"00": 10}  # the smaller of them
    assert documents_of(data.train) + documents_of(data.pool) == {"01": 65}


@pytest.mark.parametrize("seed", range(4))
def test_small_documents_are_held_out_before_large_ones(sized: Callable[..., Path], seed: int) -> None:
    folder = sized(90, 4, 70, 5, 80, 6)
    test = TextFiles(str(folder), window=12, test=12).load(seed).test
    assert set(documents_of(test)) <= {"01", "03", "05"}
    test = TextFiles(str(folder), window=12, test=20).load(seed).test  # 15 are in small documents
    assert set(documents_of(test)) <= {"01", "02", "03", "05"}
    assert documents_of(test)["02"] >= 5


def test_one_document_alone_is_split(sized: Callable[..., Path]) -> None:
    data = TextFiles(str(sized(30)), window=12, train=18, pool=2, test=10).load(0)
    assert [len(part) for part in (data.train, data.pool, data.test)] == [18, 2, 10]
    assert len({*data.train.texts, *data.pool.texts, *data.test.texts}) == 30  # type: ignore[union-attr]


def test_too_few_records_are_counted_where_they_are(sized: Callable[..., Path]) -> None:
    sentence = (
        r"has 156 records of one window of 12 characters, 66 of them in documents held out whole for test=40; the "
        r"other 90 have to be enough for train=95 and pool=0; texts shorter than window=12 are left out\."
    )
    with pytest.raises(InputError, match=sentence):
        TextFiles(str(sized(66, 90)), window=12, train=95, test=40).load(1)
    with pytest.raises(InputError, match=r"0 records .*; texts shorter than window=500 are left out"):
        TextFiles(str(sized(3)), window=500).load(0)
    with pytest.raises(InputError, match=r"20 records .*, 5 of them held out for test=5; the other 15 .* train=16"):
        TextFiles(str(sized(20)), window=12, train=16, test=5).load(0)


def test_patterns_outside_the_folder_are_refused(folder: Path) -> None:
    with pytest.raises(InputError, match=r"files = a pattern inside the folder, such as '\*\.txt', got '/abs/\*'"):
        TextFiles(str(folder), files="/abs/*").load(0)


@pytest.fixture(params=["text-files", "text"])
def reader(request: pytest.FixtureRequest) -> Callable[..., DatasetSource]:
    if request.param == "text":
        return partial(TextLines, field="text")
    return partial(TextFiles, unit="document", window=60)


def test_lone_surrogates_are_refused_or_read_as_spaces(tmp_path: Path, reader: Callable[..., DatasetSource]) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude00"}\n\n{"text": "secret \\ud800 half"}\n', "utf-8")
    assert sorted(reader(str(path)).load(0).train.texts) == ["secret half", "whole"]  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"Line 3 of .*texts\.jsonl holds a lone surrogate") as caught:
        reader(str(path), normalised=False).load(0)
    assert "secret" not in str(caught.value)
    with pytest.raises(InputError, match="A text holds a lone surrogate") as caught:
        encode(["secret \ud800 half"], BYTES)
    assert "secret" not in str(caught.value)


def test_byte_order_marks_are_no_text(tmp_path: Path, reader: Callable[..., DatasetSource]) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "One"}\n{"text": "Two"}\n', "utf-8-sig")
    texts = reader(str(path), normalised=False).load(0).train.texts  # type: ignore[union-attr]
    assert sorted(texts) == ["One", "Two"]
    plain = tmp_path / "texts.txt"
    plain.write_text("One", "utf-8-sig")
    for source in (TextLines(str(plain), normalised=False), TextFiles(str(plain), unit="line", normalised=False)):
        assert source.load(0).train.texts == ("One",)  # type: ignore[union-attr]


@pytest.mark.parametrize("line", ["[" * 100_000, "9" * 5000])
def test_lines_that_break_the_parser_are_no_json(
    tmp_path: Path, reader: Callable[..., DatasetSource], line: str
) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "fine"}\n' + line + "\n", "utf-8")
    with pytest.raises(InputError, match=r"Line 2 of .*texts\.jsonl is no JSON") as caught:
        reader(str(path)).load(0)
    assert len(str(caught.value)) < 500


def test_tags_of_words_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "ca01").write_text(
        "\n\n\tThe/at jury/nn ,/, 1-1/2/cd feet/nns and/or/cc more/ap ./.\n\n\tplain text\n", "utf-8"
    )
    texts = TextFiles(str(tmp_path), unit="line", normalised=False, tagged=True).load(0).train.texts  # type: ignore[union-attr]
    assert sorted(texts) == ["\tThe jury , 1-1/2 feet and/or more .", "\tplain text"]
    (document,) = TextFiles(str(tmp_path), unit="document", window=30, tagged=True).load(0).train.texts  # type: ignore[union-attr]
    assert document == "the jury , 1-1 2 feet and or m"
    (document,) = TextFiles(str(tmp_path), unit="document", window=30).load(0).train.texts  # type: ignore[union-attr]
    assert document == "the at jury nn , , 1-1 2 cd fe"
