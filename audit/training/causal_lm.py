"""Causal language models of Hugging Face's transformers: read from a file, and asked as any language model is."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audit.training.subwords import Subwords, load_subwords, parts, stamp
from canaries.errors import InputError, said


class CausalLM(nn.Module):
    """A causal language model of transformers as a `LanguageModel`: token t >= 1 is its id t - 1, PAD is never said.

    Args:
        model: answers logits to `input_ids`.
        tokens: size of the vocabulary, PAD excluded; logits beyond it are left out.
        start: the id that stands in front of every text and is never scored (a beginning-of-text token).

    Class attributes:
        tie: see `TextView`; some twenty times the largest difference that 30 layers and 49,152 tokens were seen to make
            between a prefix read alone and among others.
    """

    tie: ClassVar[float] = 1e-3

    def __init__(self, model: nn.Module, tokens: int, start: int) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens
        self.start = start
        head = cast(Any, model).get_output_embeddings()
        if _contiguous not in head._forward_pre_hooks.values():
            head.register_forward_pre_hook(_contiguous)

    def forward(self, tokens: Tensor) -> Tensor:
        """int64[n, length] -> logits float[n, length, tokens] of each token, given those before it."""
        return self._said(self._read(self._ids(tokens[:, :-1]), use_cache=False).logits)

    def following(self, prefixes: Tensor) -> Tensor:
        """int64[n, length], no PAD -> logits float[n, tokens] of what comes after each prefix.

        Prefixes that begin alike are read together as far as that saves work, which is most of it where an attack walks
        the values of one secret.
        """
        ids = self._ids(prefixes)
        shared, cache = _shared(ids), None
        if shared:
            heads, row = torch.unique(ids[:, :shared], dim=0, return_inverse=True)
            cache = cast(Any, getattr(self._read(heads, logits_to_keep=1, use_cache=True), "past_key_values", None))
            if all(hasattr(layer, "batch_select_indices") for layer in getattr(cache, "layers", [None])):
                cache.batch_select_indices(row)
            else:  # The model keeps something else than keys and values.
                shared, cache = 0, None
        rest = self._read(ids[:, shared:], shared, logits_to_keep=1, use_cache=shared > 0, past_key_values=cache)
        return self._said(rest.logits)[:, -1]

    def _ids(self, tokens: Tensor) -> Tensor:
        """int64[n, 1 + length]: the start and the tokens' ids; anything behind a text, for nothing looks there."""
        return F.pad((tokens - 1).clamp(min=0), (1, 0), value=self.start)

    def _read(self, ids: Tensor, before: int = 0, **options: Any) -> Any:
        # Positions are given: made by the model they would have no batch axis, and Opacus needs one.
        positions = torch.arange(before, before + ids.shape[1], device=ids.device).expand_as(ids)
        return self.model(input_ids=ids, position_ids=positions, **options)

    def _said(self, logits: Tensor) -> Tensor:
        return F.pad(logits[..., : self.tokens], (1, 0), value=-torch.inf)


def _shared(ids: Tensor) -> int:
    """How many leading tokens of int64[n, length] to read once for each distinct beginning, for the least work."""
    rows = np.unique(ids.cpu().numpy(), axis=0)
    n, length = ids.shape
    first = (rows[1:] != rows[:-1]).argmax(axis=1)
    leading = np.arange(length)
    beginnings = 1 + (first[:, None] < leading).sum(axis=0)
    return int(leading[np.argmin(beginnings * leading + n * (length - leading))])


def load_causal_lm(path: str, layers: int) -> tuple[nn.Module, Subwords, int]:
    """The first layers of a causal language model, in float32, its tokeniser, and the id that texts begin with.

    All calls are given the same model while its files stay as they are: frozen, and without dropout.

    Args:
        path: a GGUF file, or a folder as `save_pretrained` writes it, with its tokenizer.json; nothing is downloaded.
        layers: how many of its layers are kept; 0 for all.

    Raises:
        InputError: where a package or the file is missing, the file cannot be read, or the model has fewer layers, no
            layers to tell apart, no token that texts begin with, or fewer tokens than its tokeniser.
    """
    file = _existing(path)
    needed = ["transformers", "gguf"] if file.is_file() else ["transformers"]
    if not all(map(importlib.util.find_spec, needed)):
        raise InputError(f"Pretrained language models need {' and '.join(needed)}; install with: firedamp[hf].")
    if file.is_dir() and not (file / "tokenizer.json").is_file():
        raise InputError(f"Expected a tokenizer.json in the model's folder {file}, there is none.")
    return _loaded(file, layers, stamp(file))


@lru_cache(maxsize=4)
def _loaded(file: Path, layers: int, stamp: tuple[object, ...]) -> tuple[nn.Module, Subwords, int]:
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    where: dict[str, Any] = {"gguf_file": file.name} if file.is_file() else {}
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent if where else file), local_files_only=True, dtype=torch.float32, **where
        )
    except Exception as error:  # Whatever a damaged file makes the packages raise.
        raise InputError(f"Cannot read a language model from {file}: {said(error)}.") from None
    finally:
        if bars:
            logging.enable_progress_bar()
    if layers:
        _keep(model, layers)
    _without_dropout(model)
    vocabulary, config = load_subwords(str(file)), model.config
    start = config.eos_token_id if config.bos_token_id is None else config.bos_token_id
    known = model.get_input_embeddings().num_embeddings
    if not isinstance(start, int) or not 0 <= start < known or len(vocabulary) > known:
        raise InputError(
            f"Expected a model with a token that texts begin with and with one for each of its tokeniser's "
            f"{len(vocabulary)}, got {start} and {known} in {file}."
        )
    return model.eval().requires_grad_(False), vocabulary, start


def _keep(model: Any, layers: int) -> None:
    """Cut off all but the first layers."""
    decoder = model.base_model
    there = getattr(decoder, "layers", None)
    if there is None or layers > len(there):
        raise InputError(
            f"Expected a model with {layers} layers or more, got {type(model).__name__} with "
            f"{'none that can be told apart' if there is None else len(there)}; layers = 0 keeps it whole."
        )
    decoder.layers = there[:layers]
    model.config.num_hidden_layers = layers


def _without_dropout(model: Any) -> None:
    """Models of dropout would differ with what torch has drawn before, and the ensemble could not train them."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def _contiguous(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Of a slice of positions torch multiplies row by row with a large output layer, in 30 times the time."""
    return (inputs[0].contiguous(),)


def model_digest(path: str) -> str:
    """SHA-256 of a model's file, or of all files in its folder, for the key of what was trained from it.

    Raises:
        InputError: where there is nothing.
    """
    whole = hashlib.sha256()
    for each in parts(_existing(path)):
        with each.open("rb") as opened:
            whole.update(hashlib.file_digest(opened, "sha256").digest())
    return whole.hexdigest()


def _existing(path: str) -> Path:
    file = Path(path).expanduser()
    if not path or not file.exists():
        raise InputError(f"Expected `path`, a GGUF file or a model's folder, got '{path}', which is not there.")
    return file
