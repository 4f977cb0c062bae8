"""A Llama of two tiny layers and a tokeniser of single characters, in a folder as transformers writes it."""

from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import BPE

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789 :"
START = 39
SIZE = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(**settings):
    """With random parameters, large enough that what it says is far from uniform."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        **({"vocab_size": 41, "initializer_range": 0.3, "bos_token_id": START, "eos_token_id": 40} | SIZE | settings)
    )
    return transformers.LlamaForCausalLM(config).eval()


def save(folder: Path, model=None) -> str:
    """The folder's path."""
    (llama() if model is None else model).save_pretrained(folder)
    Tokenizer(BPE({character: i for i, character in enumerate(ALPHABET)}, [])).save(str(folder / "tokenizer.json"))
    return str(folder)
