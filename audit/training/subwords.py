"""Tokenisers of Hugging Face's `tokenizers`, from a file that is there already: the extra `hf`."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from attacks.view import PAD
from canaries.errors import InputError, said
from canaries.spaces import Space

PREFIX = "huggingface:"
"""What stands before the path in a model's field `tokens`."""


class Subwords:
    """Subword tokens; token t >= 1 is the tokeniser's id t - 1. What looks like a special token in a text is text.

    Characters that the tokeniser does not know are what it makes of them: an unknown token, or nothing.

    Args:
        tokenizer: a `tokenizers.Tokenizer`.
        source: what messages call it.
    """

    def __init__(self, tokenizer: Any, source: str) -> None:
        self.tokenizer = tokenizer
        self.source = source
        self.tokenizer.no_padding()
        self.tokenizer.no_truncation()
        self.tokenizer.encode_special_tokens = True
        self._size = 1 + max(tokenizer.get_vocab().values())  # Ids may leave gaps.

    def __len__(self) -> int:
        return self._size

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subwords) and self.tokenizer.to_str() == other.tokenizer.to_str()

    def __hash__(self) -> int:
        return hash(self._size)

    def ids(self, text: str) -> list[int]:
        """The tokens of one text, PAD excluded, from 1.

        Raises:
            InputError: for a text that the tokeniser refuses.
        """
        try:
            return [i + 1 for i in self.tokenizer.encode(text, add_special_tokens=False).ids]
        except Exception as error:  # The package raises Exception itself.
            raise InputError(f"Cannot write a text in the tokens of {self.source}: {said(error)}.") from None

    def encode(self, texts: Sequence[str], length: int | None = None) -> NDArray[np.int64]:
        """int64[n, length]: tokens, PAD behind the shorter texts; longer texts are cut to `length`."""
        rows = [self.ids(text) for text in texts]
        width = max(map(len, rows), default=0) if length is None else length
        tokens = np.full((len(rows), width), PAD, dtype=np.int64)
        for out, row in zip(tokens, rows, strict=True):
            out[: len(row)] = row[:width]
        return tokens

    def letters(self, space: Space, contexts: Sequence[tuple[str, str]]) -> list[str]:
        """As `attacks.vocabulary.Vocabulary`; a space is refused unless no value can be spelt with fewer tokens.

        That can be told of byte-pair tokens alone (Sennrich, Haddow, Birch 2016).

        Each character has to be a token of its own between any of the contexts, and no two characters that may follow
        each other may be a token together: byte pairs merge neighbours first, so then nothing inside a value merges.

        Raises:
            InputError: where that is not so.
        """
        kind = type(self.tokenizer.model).__name__
        if kind != "BPE":
            raise InputError(f"Secrets are searched over byte-pair tokens (BPE), got {kind} in {self.source}.")
        token: dict[str, int] = {}
        inside, last = _beginnings(space)
        for before, _ in contexts:
            head = self.ids(before)
            for character, _ in space.moves[0]:
                self._learn(token, character, self.ids(before + character), head, before)
        # Every token is learnt without the suffix, so that it writes the character alone; then the suffix may not
        # change it.
        for character, beginning in inside.items():
            start = contexts[0][0] + beginning
            self._learn(token, character, self.ids(start + character), self.ids(start), start)
        for before, after in contexts:
            for character, beginning in last.items():
                head = self.ids(before + beginning)
                found = self.ids(before + beginning + character + after)[: len(head) + 1]
                self._learn(token, character, found, head, before + beginning, after)
        if len(set(token.values())) < len(token):
            raise InputError(f"{self._refusal} two characters of {space.alphabet!r} are one token.")
        for moves in space.moves:
            for one, state in moves:
                for other, _ in space.moves[state]:
                    pair = self._piece(token[one]) + self._piece(token[other])
                    if self.tokenizer.token_to_id(pair) is not None:
                        raise InputError(f"{self._refusal} {one + other!r} may be one token.")
        letters = [""] * len(self)
        for character, number in token.items():
            letters[number - 1] = character
        return letters

    def _learn(
        self, token: dict[str, int], character: str, found: list[int], head: list[int], before: str, after: str = ""
    ) -> None:
        if len(found) != len(head) + 1 or found[:-1] != head or token.setdefault(character, found[-1]) != found[-1]:
            where = f"after {before!r}" + (f" and before {after!r}" if after else "")
            raise InputError(f"{self._refusal} {character!r} is not a token of its own {where}.")

    def _piece(self, token: int) -> str:
        return str(self.tokenizer.id_to_token(token - 1))

    @property
    def _refusal(self) -> str:
        return (
            f"Secrets are searched token by token: each of their characters has to be one token, but in {self.source}"
        )


def _beginnings(space: Space) -> tuple[dict[str, str], dict[str, str]]:
    """By character, what a value may begin with before it: of each character, and of those that end values."""
    beginning, inside, last = {0: ""}, dict[str, str](), dict[str, str]()
    for state, moves in enumerate(space.moves):
        for character, after in moves:
            beginning.setdefault(after, beginning[state] + character)
            inside.setdefault(character, beginning[state])
            if not space.moves[after]:
                last.setdefault(character, beginning[state])
    return inside, last


def load_subwords(path: str) -> Subwords:
    """The tokeniser in a tokenizer.json file, a folder that holds one, or a GGUF file; nothing is downloaded.

    All calls are given the same one while the file stays as it is.

    Raises:
        InputError: where a package or the file is missing, or the file holds no tokeniser.
    """
    if importlib.util.find_spec("tokenizers") is None:
        raise InputError("Hugging Face tokenisers need the package tokenizers; install it with: firedamp[hf].")
    file = _file(path)
    return _loaded(file, stamp(file))


@lru_cache(maxsize=8)
def _loaded(file: Path, stamp: tuple[object, ...]) -> Subwords:
    if file.suffix.lower() == ".gguf":
        if importlib.util.find_spec("gguf") is None or importlib.util.find_spec("transformers") is None:
            raise InputError("A tokeniser in a GGUF file needs transformers and gguf; install them with: firedamp[hf].")
        from transformers import AutoTokenizer

        try:
            found = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name, local_files_only=True)
        except Exception as error:  # Whatever a damaged file makes the packages raise.
            raise InputError(f"Cannot read a tokeniser from {file}: {said(error)}.") from None
        return Subwords(found.backend_tokenizer, file.name)
    from tokenizers import Tokenizer

    try:
        return Subwords(Tokenizer.from_file(str(file)), file.name)
    except Exception as error:  # The package raises Exception itself.
        raise InputError(f"Cannot read a tokeniser from {file}: {said(error)}.") from None


def digest(path: str) -> str:
    """SHA-256 of the tokeniser's file, for the key of what was trained with it.

    Raises:
        InputError: where there is no such file.
    """
    return hashlib.sha256(_file(path).read_bytes()).hexdigest()


def parts(path: Path) -> list[Path]:
    """The file itself, or all files of a folder in order."""
    return [path] if path.is_file() else sorted(each for each in path.iterdir() if each.is_file())


def stamp(path: Path) -> tuple[object, ...]:
    """Changes when the file, or one in the folder, is replaced or written to."""
    found = [(each.name, each.stat()) for each in parts(path)]
    return tuple((name, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns) for name, now in found)


def _file(path: str) -> Path:
    file = Path(path).expanduser()
    file = file / "tokenizer.json" if file.is_dir() else file
    if not file.is_file():
        raise InputError(f"No such file: {file}. Give tokens = '{PREFIX}PATH' with a tokenizer.json or a GGUF file.")
    return file
