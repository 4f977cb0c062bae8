"""Causal language models of Hugging Face's transformers, fine-tuned by LoRA with Opacus: the extra `hf`."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from attacks.view import PAD, TextView, encode
from attacks.vocabulary import Vocabulary
from audit.mechanism import DPSGD
from audit.training.language import RecordLoss, language_view
from audit.training.models import DRAWING
from audit.training.subwords import Subwords, load_subwords
from canaries.errors import InputError
from canaries.randomness import derive_seed


class CausalLM(nn.Module):
    """A causal language model of transformers as a `LanguageModel`: token t >= 1 is its id t - 1, PAD is never said.

    Args:
        model: answers logits to `input_ids`, and keeps the keys and values of what it has read as a `DynamicCache`.
        tokens: size of the vocabulary, PAD excluded; logits beyond it are left out.
        start: the id that stands in front of every text and is never scored (a beginning-of-text token).
    """

    def __init__(self, model: nn.Module, tokens: int, start: int) -> None:
        super().__init__()
        self.model = model
        self.tokens = tokens
        self.start = start
        # Of a slice of positions torch multiplies row by row with a large output layer, which takes 30 times as long.
        head: Any = model
        head.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))

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
            cache = self._read(heads, logits_to_keep=1, use_cache=True).past_key_values
            cache.batch_select_indices(row)
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


@dataclass(frozen=True, eq=False)
class LoRAFineTuning:
    """A training function for `audit.run`: DP-SGD (Abadi et al. 2016) on low-rank adapters (Hu et al. 2022).

    Full-batch steps of Adam on each text's loss, with Opacus's per-example gradients of the adapters; the model
    itself stays as it is, is shared between all fine-tuned copies, and is taken for public. Sums of clipped gradients
    are divided by `expected_records`, and a text's loss by the fixed length: dividing by how many texts there happen to
    be, as is customary, lets the noise's scale tell whether a record is there, which `mechanism` does not cover.

    It trains on the device that the model's parameters are on, and what it returns is asked there.

    Attributes:
        model: a causal language model of transformers (its parameters are frozen).
        alphabet: one character for each of the model's token ids, or a tokeniser.
        start: the token id that stands in front of every text and is never scored.
        expected_records: what updates are divided by, a constant that must not depend on which canaries are in: the
            number of texts without any canary, for instance.
        length: the longest text in tokens, and the divisor of its loss.
        rank: of the adapters; their scale is 2 * rank.
        target_modules: names of the linear layers that get an adapter.
        steps: full-batch updates.
        learning_rate: of Adam.
        max_grad_norm: C, the clipping norm of one text's gradient.
        noise_multiplier: sigma; the noise's standard deviation is sigma * C. 0 clips without noise.

    Raises:
        InputError: for values out of range.
    """

    model: nn.Module
    alphabet: str | Vocabulary
    start: int
    expected_records: int
    length: int = 64
    rank: int = 4
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")
    steps: int = 10
    learning_rate: float = 0.01
    max_grad_norm: float = 1.0
    noise_multiplier: float = 1.0

    def __post_init__(self) -> None:
        if self.expected_records < 1:
            raise InputError(f"Expected expected_records >= 1, got {self.expected_records}.")
        if self.length < 1 or self.rank < 1 or self.steps < 1:
            raise InputError(
                f"Expected length >= 1, rank >= 1 and steps >= 1, got {self.length}, {self.rank} and {self.steps}."
            )
        known: Any = self.model
        rows = known.get_input_embeddings().num_embeddings
        if not 0 <= self.start < rows or len(self.alphabet) > rows:
            raise InputError(
                f"Expected a start in [0, {rows}) and at most {rows} tokens, for that is what the model knows, got "
                f"start = {self.start} and {len(self.alphabet)} tokens."
            )
        if not 0 < self.learning_rate < math.inf or not 0 < self.max_grad_norm < math.inf:
            raise InputError(
                f"Expected a finite learning_rate > 0 and max_grad_norm > 0, got {self.learning_rate} and "
                f"{self.max_grad_norm}."
            )
        if not 0 <= self.noise_multiplier < math.inf:
            raise InputError(f"Expected a finite noise_multiplier >= 0, got {self.noise_multiplier}.")

    @property
    def __name__(self) -> str:
        """What the report calls the pipeline."""
        return f"{type(self.model).__name__} with LoRA"

    @property
    def mechanism(self) -> DPSGD:
        """What the accountant is told: full-batch Gaussians, composed over the steps."""
        return DPSGD(1.0, self.steps, self.noise_multiplier)

    def __call__(self, texts: Sequence[str], seed: int) -> TextView:
        """What the adversary may ask of `fit(texts, seed)`."""
        return language_view([self.fit(texts, seed)], self.alphabet)

    def fit(self, texts: Sequence[str], seed: int) -> CausalLM:
        """Fine-tune on `texts`; the result depends on them, the fields and the seed alone.

        Raises:
            InputError: without texts, for one that is too long, or where peft is not installed.
        """
        tokens = self._tokens(texts)
        module = CausalLM(self._with_adapters(derive_seed(seed, "parameters")), len(self.alphabet), self.start)
        device = next(module.parameters()).device
        private = GradSampleModule(module, strict=False)
        trainable = [p for p in private.parameters() if p.requires_grad]
        optimizer = DPOptimizer(
            torch.optim.Adam(trainable, lr=self.learning_rate),
            noise_multiplier=self.noise_multiplier,
            max_grad_norm=self.max_grad_norm,
            expected_batch_size=self.expected_records,
            generator=torch.Generator(device).manual_seed(derive_seed(seed, "noise")),
        )
        tokens, criterion = tokens.to(device), RecordLoss(self.length)
        for _ in range(self.steps):
            optimizer.zero_grad()
            # Opacus takes the mean over texts apart again: it clips the gradient of each text's own loss.
            torch.autograd.backward(criterion(private(tokens), tokens))
            optimizer.step()
        private.remove_hooks()
        return module.eval()

    def _tokens(self, texts: Sequence[str]) -> Tensor:
        """int64[n, longest], PAD behind shorter texts."""
        if not texts:
            raise InputError("Expected at least one text to fine-tune on, got none.")
        symbols = self.alphabet
        rows = encode(list(texts), symbols) if isinstance(symbols, str) else symbols.encode(texts)
        lengths = (rows != PAD).sum(axis=1)
        if not lengths.min() or lengths.max() > self.length:
            odd = int(lengths.argmax() if lengths.min() else lengths.argmin())
            raise InputError(f"Expected texts of 1 to {self.length} tokens, got {lengths[odd]} in text {odd}.")
        return torch.from_numpy(rows)

    def _with_adapters(self, seed: int) -> nn.Module:
        """A copy with fresh adapters; the model's own parameters are shared, not copied."""
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise InputError("Fine-tuning by LoRA needs peft; install it with: firedamp[hf].") from None
        shared = copy.deepcopy(self.model, {id(p): p for p in self.model.parameters()})
        config = LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank, target_modules=list(self.target_modules), lora_dropout=0.0
        )
        with DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module: nn.Module = get_peft_model(shared, config)
        return module.train()


def first_layers(path: str | Path, layers: int) -> tuple[nn.Module, Subwords, int]:
    """The first layers of a model in a GGUF file, in float32, its tokeniser, and the id that texts begin with.

    Args:
        path: of the file; nothing is downloaded.
        layers: how many of its layers are kept.

    Raises:
        InputError: where transformers or gguf is not installed, or there is no such file or it cannot be read.
    """
    file = Path(path)
    if layers < 1 or not file.is_file():
        raise InputError(f"Expected layers >= 1 and a GGUF file, got {layers} and '{path}'.")
    if importlib.util.find_spec("gguf") is None or importlib.util.find_spec("transformers") is None:
        raise InputError("Language models need transformers and gguf; install them with: firedamp[hf].")
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(file.parent), gguf_file=file.name, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # Whatever a damaged file makes the packages raise.
        raise InputError(f"Cannot read a language model from {file}: {error}.") from None
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = len(model.model.layers)
    return model, load_subwords(str(file)), int(model.config.bos_token_id)
