"""Where and in what portions to compute: settings that no result depends on beyond rounding, but for one.

Trainers that train one by one draw their noise on the device, so another kind of device draws other noise of the
same law.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch

from canaries.errors import InputError

CACHE_MB = 12
"""Size of a portion on a CPU: what stays near the core; measured."""


@dataclass(frozen=True)
class Speed:
    """Device and portions; part of no identity.

    Attributes:
        device: "cpu", "cuda" or "cuda:0" and so on; "auto" is "cuda" where there is one, else "cpu".
        memory_mb: what one portion's layer inputs, output gradients and written-down gradients may take, in MiB (about
            as much again passes through); None for what suits the device.
        rows: examples (times augmentations) a portion, over all its models; None to work it out from `memory_mb`.
        models: models a portion; None for as many as a portion of their batches holds, and at least one.

    Raises:
        InputError: for values out of range, or a device that is not there.
    """

    device: str = "cpu"
    memory_mb: float | None = None
    rows: int | None = None
    models: int | None = None

    def __post_init__(self) -> None:
        for name in ("memory_mb", "rows", "models"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"Expected {name} > 0, got {value}.")
        if self.device == "auto":
            object.__setattr__(self, "device", "cuda" if torch.cuda.is_available() else "cpu")
        if re.fullmatch(r"cpu|cuda(:\d+)?", self.device) is None:
            raise InputError(f"Expected device 'auto', 'cpu', 'cuda' or 'cuda:0' and so on, got '{self.device}'.")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise InputError(f"Expected a device of this machine, got '{self.device}': it has no CUDA device.")

    def rows_for(self, bytes_per_row: float) -> int:
        """Rows of a portion."""
        if self.rows is not None:
            return self.rows
        default = CACHE_MB if self.device == "cpu" else 2048
        budget = (default if self.memory_mb is None else self.memory_mb) * 2**20
        return max(1, int(budget / max(1.0, bytes_per_row)))
