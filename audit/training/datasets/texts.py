"""The alphabet of the text data sets, and how texts are brought into it."""

from __future__ import annotations

import re
import string

ALPHABET = string.ascii_lowercase + string.digits + " .,:;'\"()-"
"""46 characters: lower-case letters, digits, space and common punctuation."""

_TAG = re.compile(r"/[^/\s]*(?=\s|$)")

_OUTSIDE = re.compile(f"[^{re.escape(ALPHABET)}]+")


def normalise(text: str) -> str:
    r"""`text` in lower case, what is outside ALPHABET as space, and runs of spaces as one; none at either end.

    >>> normalise("The 'Secret'\n\tof  1_000 foxes!")
    "the 'secret' of 1 000 foxes"
    """
    return " ".join(_OUTSIDE.sub(" ", text.lower()).split())


def untagged(text: str) -> str:
    """`text` without the tags of its words: what follows each word's last slash, as in the Brown corpus.

    >>> untagged("The/at jury/nn and/or/cc 1-1/2/cd said/vbd ,/,")
    'The jury and/or 1-1/2 said ,'
    """
    return _TAG.sub("", text)
