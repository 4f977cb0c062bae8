"""Fine-tuning of a pretrained language model by low-rank adapters: the extra `hf`."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

from torch import nn

from audit.training.causal_lm import CausalLM, load_causal_lm, model_digest
from audit.training.subwords import Subwords
from audit.training.text_models import TextModel
from canaries.errors import InputError
from canaries.records import Records


@dataclass(frozen=True)
class LoRA(TextModel):
    """A pretrained causal language model of which low-rank adapters alone are trained (Hu et al. 2022).

    The model itself stays as it is, is shared by all fine-tuned copies, and is taken for public, its tokeniser too. For
    the trainers "opacus" and "nonprivate".

    Attributes:
        path: a GGUF file, or a folder as `save_pretrained` writes it, with its tokenizer.json; nothing is downloaded.
        layers: how many of the model's layers are kept, the first ones; 0 for all.
        length: the longest record in tokens, and the divisor of its loss.
        rank: of the adapters; their scale is 2 * rank.
        target_modules: names of the linear layers that get an adapter.
    """

    name = "lora"
    path: str = ""
    layers: int = 2
    length: int = 64
    rank: int = 4
    target_modules: tuple[str, ...] = ("q_proj", "v_proj")

    def __post_init__(self) -> None:
        if self.layers < 0 or min(self.length, self.rank) < 1 or not self.target_modules:
            raise InputError(
                "Expected layers >= 0, length and rank >= 1 and one or more target_modules, got "
                f"{self.layers}, {self.length}, {self.rank} and {list(self.target_modules)}."
            )

    @property
    def symbols(self) -> Subwords:
        """The model's own tokeniser."""
        return load_causal_lm(self.path, self.layers)[1]

    def module(self, example: Records) -> nn.Module:
        """A copy with fresh adapters, half of them zero, so that it says what the pretrained model says.

        Raises:
            InputError: where a package or the file is missing, or the model has no such layers.
        """
        del example
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise InputError("Fine-tuning by LoRA needs peft; install it with: firedamp[hf].") from None
        model, vocabulary, start = load_causal_lm(self.path, self.layers)
        config = LoraConfig(
            r=self.rank, lora_alpha=2 * self.rank, target_modules=list(self.target_modules), lora_dropout=0.0
        )
        shared = copy.deepcopy(model, {id(p): p for p in model.parameters()})
        with warnings.catch_warnings():
            # peft asks transformers for something by its old name.
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            try:
                adapted = get_peft_model(shared, config)
            except ValueError as error:
                raise InputError(f"Cannot adapt {list(self.target_modules)} of {self.path}: {error}") from None
        return CausalLM(adapted, len(vocabulary), start)

    def outside(self) -> str:
        """The digest of the model's files."""
        return model_digest(self.path)
