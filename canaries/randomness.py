"""Seeds: every random stream is named by a path below one seed, so streams never depend on order."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the stream called `path` below `seed`; equal arguments give equal seeds."""
    text = "\x1f".join([str(seed), *(f"{type(part).__name__}:{part}" for part in path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """An independent numpy generator for the stream called `path` below `seed`."""
    return np.random.default_rng(derive_seed(seed, *path))
