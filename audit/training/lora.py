"""Fine-tuning of a pretrained language model by low-rank adapters: the extra `hf`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from audit.training.causal_lm import CausalLM, load_causal_lm, model_digest
from audit.training.models import light_copy
from audit.training.subwords import Subwords
from audit.training.text_models import TextModel
from canaries.base import CanarySet
from canaries.errors import InputError, said
from canaries.records import Dataset, Records


@dataclass(frozen=True)
class LoRA(TextModel):
    """A pretrained causal language model of which low-rank adapters alone are trained (Hu et al. 2022).

    The model itself stays as it is, is shared by all fine-tuned copies, and is taken for public, its tokeniser too. It
    drops nothing out. Every trainer takes it.

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
        names = self.target_modules
        if isinstance(names, str) or self.layers < 0 or min(self.length, self.rank) < 1 or not names:
            raise InputError(
                "Expected layers >= 0, length and rank >= 1 and a list of one or more target_modules, got "
                f"{self.layers}, {self.length}, {self.rank} and {names!r}."
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
        transposed = self._check_targets(model)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=2 * self.rank,
            target_modules=list(self.target_modules),
            lora_dropout=0.0,
            fan_in_fan_out=transposed,
        )
        with warnings.catch_warnings():
            # peft asks transformers for something by its old name.
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            return CausalLM(get_peft_model(light_copy(model), config), len(vocabulary), start)

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """Turn every record into inputs, and ask the model once in both ways.

        Raises:
            InputError: for records that do not fit, saying whose they are; or a model that cannot be asked, reads fewer
                tokens, or answers in one way what it does not in the other.
        """
        super().check(dataset, canaries)
        module = cast(Any, self.build(dataset.train, 0))
        most = getattr(module.model.config, "max_position_embeddings", None)
        if most is not None and self.length > most:
            raise InputError(f"Expected length <= {most}, which is what {self.path} reads, got {self.length}.")
        tokens = torch.tensor([[1, 2, 1], [1, 2, 2], [2, 1, 1]])
        kind = type(module.model.base_model.model).__name__
        try:
            with torch.no_grad():
                whole, last = (
                    module(F.pad(tokens, (0, 1), value=1)).softmax(dim=2),
                    module.following(tokens).softmax(dim=1),
                )
        except Exception as error:  # Whatever a model of another kind raises.
            raise InputError(f"Cannot ask {kind} of {self.path} for tokens: {said(error)}.") from None
        # What follows may not change what was said before it.
        if not torch.allclose(whole[:, -1], last, atol=1e-3) or not torch.allclose(
            whole[0, :3], whole[1, :3], atol=1e-3
        ):
            raise InputError(f"Expected {kind} of {self.path} to read texts from left to right; it does not.")

    def _check_targets(self, model: nn.Module) -> bool:
        """Whether the layers that get adapters hold their weights as GPT-2's do, inputs first."""
        conv = {name for name, layer in model.named_modules() if type(layer).__name__ == "Conv1D"}
        linear = conv | {name for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
        chosen = set[str]()
        for target in self.target_modules:
            if not (found := {name for name in linear if name == target or name.endswith("." + target)}):
                last = sorted({name.rpartition(".")[2] for name in linear})
                raise InputError(
                    f"Expected target_modules of the linear layers of {self.path}, {', '.join(last)}; got {target!r}."
                )
            chosen |= found
        return bool(chosen & conv)

    def outside(self) -> str:
        """The digest of the model's files."""
        return model_digest(self.path)
