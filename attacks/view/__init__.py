"""What an adversary may query: a view of one or many models that refuses what was not granted."""

from attacks.tokens import BYTES, PAD, encode, in_bytes, letters_of, tokens_of
from attacks.view.access import ANSWERS, GRANTS, WHITE_BOX, Access, AccessError
from attacks.view.arrays import ArrayView
from attacks.view.base import View, WhiteBox
from attacks.view.losses import LossView
from attacks.view.texts import BLOCK, TIE, NextTokenOf, TextView

__all__ = [
    "ANSWERS",
    "BLOCK",
    "BYTES",
    "GRANTS",
    "PAD",
    "TIE",
    "WHITE_BOX",
    "Access",
    "AccessError",
    "ArrayView",
    "LossView",
    "NextTokenOf",
    "TextView",
    "View",
    "WhiteBox",
    "encode",
    "in_bytes",
    "letters_of",
    "tokens_of",
]
