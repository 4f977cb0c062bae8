"""What a portion of the work holds in memory."""

from __future__ import annotations

from torch import Tensor

from audit.training.ensemble.layout import Layout
from audit.training.ensemble.terms import Term


def tensor_bytes(terms: list[Term], layout: Layout) -> float:
    """Bytes for each row that terms hold on to: inputs, output gradients, materialised gradients."""
    seen: dict[int, int] = {}
    for term in terms:
        for held in (*vars(term).values(), term.tap.gradient):
            if isinstance(held, Tensor):
                seen[held.untyped_storage().data_ptr()] = held.numel() * held.element_size()
    return sum(seen.values()) / layout.rows
