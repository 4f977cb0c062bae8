"""Causal language models of Hugging Face's transformers, fine-tuned by LoRA with Opacus: the extra `hf`."""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn

from attacks.view import Access, View
from audit.mechanism import DPSGD
from audit.training.models import DRAWING
from canaries.errors import InputError
from canaries.randomness import derive_seed
from canaries.records import Records, TextRecords

BATCH = 8
"""Texts that are scored at once: speed and memory only."""


@dataclass(frozen=True, eq=False)
class TunedModel:
    """A fine-tuned model, as `audit.run` asks it: texts -> float64[n] losses in nats.

    Attributes:
        module: the model.
        encode: text -> token ids, the first of which is given and never scored (a beginning-of-text token).
        length: longer texts are cut to so many tokens.
    """

    module: nn.Module
    encode: Callable[[str], Sequence[int]]
    length: int

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Minus the log-probability of each text, float64[n], in nats."""
        return -self.token_log_probabilities(texts).sum(axis=1)

    def token_log_probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64[n, length - 1]: of each token given those before it, from the second on; 0 behind shorter texts."""
        found = np.zeros((len(texts), self.length - 1))
        device = next(self.module.parameters()).device
        with torch.no_grad():
            for start in range(0, len(texts), BATCH):
                part = texts[start : start + BATCH]
                ids, mask = (each.to(device) for each in tokens(part, self.encode, self.length))
                scored = token_log_probabilities(self.module, ids, mask)
                found[start : start + len(part), : scored.shape[1]] = scored.double().cpu().numpy()
        return found


@dataclass(frozen=True, eq=False)
class LoRAFineTuning:
    """A training function for `audit.run`: DP-SGD (Abadi et al. 2016) on low-rank adapters (Hu et al. 2022).

    Full-batch steps of Adam on each text's loss, with Opacus's per-example gradients of the adapters; the model
    itself stays as it is, is shared between all fine-tuned copies, and is taken for public. Sums of clipped gradients
    are divided by `expected_records`, and a text's loss by the fixed length: dividing by how many texts there happen to
    be, as is customary, lets the noise's scale tell whether a record is there, which `mechanism` does not cover.

    It trains on the device that the model's parameters are on.

    Attributes:
        model: a causal language model of transformers (its parameters are frozen).
        encode: text -> token ids, the first of which is given and never scored.
        expected_records: what updates are divided by, a constant that must not depend on which canaries are in: the
            number of texts without any canary, for instance.
        length: longer texts are cut to so many tokens; a text's loss is divided by length - 1.
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
    encode: Callable[[str], Sequence[int]]
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
        if self.length < 2 or self.rank < 1 or self.steps < 1:
            raise InputError(
                f"Expected length >= 2, rank >= 1 and steps >= 1, got {self.length}, {self.rank} and {self.steps}."
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

    def __call__(self, texts: Sequence[str], seed: int) -> TunedModel:
        """Fine-tune on `texts`; the result depends on them, the fields and the seed alone.

        Raises:
            InputError: without texts, or where peft is not installed.
        """
        if not texts:
            raise InputError("Expected at least one text to fine-tune on, got none.")
        module = self._with_adapters(derive_seed(seed, "parameters"))
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
        ids, mask = (part.to(device) for part in tokens(texts, self.encode, self.length))
        for _ in range(self.steps):
            optimizer.zero_grad()
            # Opacus takes the mean over texts apart again: it clips the gradient of each text's own loss.
            loss = -token_log_probabilities(private, ids, mask).sum(dim=1).mean() / (self.length - 1)
            torch.autograd.backward(loss)
            optimizer.step()
        private.remove_hooks()
        return TunedModel(module.eval(), self.encode, self.length)

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


class CausalLMView(View):
    """A view of fine-tuned language models that answers token log-probabilities of whole texts, and losses.

    Args:
        tuned: the models, all with one tokeniser and one length.
        access: what is granted, at most TOKEN_LOG_PROBABILITIES.
    """

    def __init__(self, tuned: Sequence[TunedModel], access: Access = Access.TOKEN_LOG_PROBABILITIES) -> None:
        super().__init__(len(tuned), access)
        self._tuned = tuple(tuned)

    def token_log_probabilities(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """float64[models, n, length - 1], 0 behind shorter texts. Needs TOKEN_LOG_PROBABILITIES."""
        self._require(Access.TOKEN_LOG_PROBABILITIES, len(texts))
        return np.stack([model.token_log_probabilities(texts) for model in self._tuned])

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: minus the log-probability of the whole text, in nats. Needs LOSS."""
        self._require(Access.LOSS, len(records))
        if not isinstance(records, TextRecords):
            raise InputError("A view of language models can only score text records.")
        return np.stack([model(records.texts) for model in self._tuned])


def tokens(texts: Sequence[str], encode: Callable[[str], Sequence[int]], length: int) -> tuple[Tensor, Tensor]:
    """int64[n, longest] token ids, 0 behind shorter texts, and int64[n, longest], 1 where there is a token.

    Raises:
        InputError: for a text of no token.
    """
    rows = [torch.tensor(list(encode(text))[:length], dtype=torch.int64) for text in texts]
    if empty := [i for i, row in enumerate(rows) if not len(row)]:
        raise InputError(f"Expected at least one token for every text, got none for text {empty[0]}.")
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True)
    size = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < size[:, None]).long()


def token_log_probabilities(module: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """float[n, longest - 1]: log-probability of each token given those before it, 0 where there is none."""
    # Positions are given: made by the model they would have no batch axis, and Opacus needs one.
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    logits = module(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[:, :-1]
    chosen = logits.gather(2, ids[:, 1:, None])[..., 0] - logits.logsumexp(dim=2)
    return chosen * mask[:, 1:]


def first_layers(path: str | Path, layers: int) -> tuple[nn.Module, Callable[[str], Sequence[int]]]:
    """The first layers of a model in a GGUF file, in float32, and its tokeniser: text -> token ids, bos in front.

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
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": file.name, "local_files_only": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), **source)
        model = AutoModelForCausalLM.from_pretrained(str(file.parent), dtype=torch.float32, **source)
    except Exception as error:  # Whatever a damaged file makes the packages raise.
        raise InputError(f"Cannot read a language model from {file}: {error}.") from None
    model.model.layers = model.model.layers[:layers]
    model.config.num_hidden_layers = len(model.model.layers)
    start = [tokenizer.bos_token_id]
    return model, lambda text: start + tokenizer(text, add_special_tokens=False)["input_ids"]
