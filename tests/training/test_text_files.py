"""Documents cut into the records that are to be protected; and bytes as tokens."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from attacks.view import BYTES, encode, in_bytes
from audit.training.datasets import Pydoc, TextFiles
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
