"""Attacks: a view and canaries in, scores out; no attack sees the coins of what it scores.

Those that compare models see the coins of others: `attacks.cross_model`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import wraps
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.fields import check_fields
from attacks.scores import Observations
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError

OMITTED = "omitted where default"
"""Key of a field's metadata: at its default it is no part of a plug-in's identity, nor of any unit's key."""


@dataclass(frozen=True)
class Attack(ABC):
    """One attack. A subclass is a frozen dataclass; its fields are its whole configuration.

    Attributes:
        label: what the report calls this configuration of it; empty for the attack's name. One attack under several
            configurations in one audit needs a label for each but one. Scores do not depend on it.

    Class attributes:
        name: what the configuration calls it, and the report where it has no label.
        access: all that it may ask of a view.
        kinds: the canaries that it can attack, "array", "text" or both.
        family: the row of the threat-model table: "membership", "label-only", "extraction" or "white-box".
        evidence: names of all evidence that `score` gives; a field's value stands for its name in braces ("top_{k}").
            None where an attack does not say: then no estimator of evidence is refused before training.
        rates: evidence, 0 or 1, whose rate reports show, with what they call it; braces likewise. "extracted",
            "exposure" and "top_<k>" are shown without.
        needs_references: whether it can score nothing without canaries that no model trains on.
        needs_secrets: whether it can score nothing but canaries with secrets.
    """

    label: str = field(default="", kw_only=True, metadata={OMITTED: True})

    name: ClassVar[str]
    access: ClassVar[Access]
    kinds: ClassVar[frozenset[str]]
    family: ClassVar[str]
    evidence: ClassVar[frozenset[str] | None] = None
    rates: ClassVar[Mapping[str, str]] = MappingProxyType({})
    needs_references: ClassVar[bool] = False
    needs_secrets: ClassVar[bool] = False

    def __init_subclass__(cls, **options: Any) -> None:
        """A subclass's own `__post_init__` finds fields of the annotated types."""
        super().__init_subclass__(**options)
        if own := cls.__dict__.get("__post_init__"):

            @wraps(own)
            def checked(self: Attack) -> None:
                check_fields(self)
                own(self)

            cls.__post_init__ = checked  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Refuse fields of another type than annotated.

        Raises:
            InputError: for such a field.
        """
        check_fields(self)

    @property
    def title(self) -> str:
        """What scores, bounds, reports and gates call it: its label, or its name."""
        return self.label or self.name

    def gives(self) -> frozenset[str] | None:
        """Names of the evidence that this configuration gives; None where the attack does not say."""
        return None if self.evidence is None else frozenset(self._filled(name) for name in self.evidence)

    def shown(self) -> dict[str, str]:
        """What reports call the rate of each evidence in `rates`, by its name."""
        return {self._filled(name): self._filled(title) for name, title in self.rates.items()}

    def _filled(self, text: str) -> str:
        return text.format(**{f.name: getattr(self, f.name) for f in fields(self)})

    def check(self, canaries: CanarySet) -> None:
        """Refuse canaries that it cannot attack, before anything is trained.

        Raises:
            InputError: a sentence that says what does not fit.
        """
        if self.needs_references and not canaries.reference.any():
            raise InputError(f"Attack '{self.name}' needs a population: name some references.")
        if self.needs_secrets:
            refuse_without_secrets(canaries, self.name)

    @abstractmethod
    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """float64[models, canaries], higher = more likely a member; and evidence arrays of the same shape.

        Deterministic given `seed`; model i's scores must not depend on which models stand beside it.
        """

    def observe(self, view: View, canaries: CanarySet, seed: int) -> Observations:
        """Score every canary through a view that grants this attack's access and nothing more.

        Raises:
            AccessError: if `view` does not hold that access, or the attack asks for more.
            InputError: if the scores have the wrong shape.
        """
        granted = view.grant(self.access)
        score, evidence = self.score(granted, canaries, seed)
        if score.shape != (view.models, len(canaries)):
            raise InputError(
                f"Attack '{self.name}' returned scores of shape {score.shape}, "
                f"expected ({view.models}, {len(canaries)})."
            )
        return Observations(canaries.ids, score, evidence, granted.queries)


def refuse_without_secrets(canaries: CanarySet, attack: str) -> None:
    """Refuse canaries without secrets.

    Raises:
        InputError: for such canaries.
    """
    if not canaries.secrets:
        raise InputError(f"Attack '{attack}' needs canaries with secrets; design '{canaries.design}' has none.")
