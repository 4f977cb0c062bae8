"""Exposure of secrets by their rank, greedy decoding, the best guess and the best hundred."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.base import Attack
from attacks.extraction.rank import count_rivals, sample_rivals
from attacks.extraction.task import record_score, tasks
from attacks.view import Access, View
from canaries.base import CanarySet
from canaries.errors import InputError

BITS = ("exposure", "exposure_cap", "exposure_floor")
SEEN = ("exact", "extracted", "guessed", "top_1", "top_100")


@dataclass(frozen=True)
class Extraction(Attack):
    """How far a model gives its secrets away: exposure, greedy decoding and the best guesses.

    A secret is ranked by the log-probability of its value given the prefix. The suffix is left out: it is the
    same after every value, so it says next to nothing, and it would make the tree of values ten times larger.

    Evidence, each [models, canaries]:
        exposure: log2 |R| - log2 rank, in bits (Carlini et al. 2019, "The Secret Sharer", Definition 4), among all
            values of the secret's space R. About 1 / ln 2 = 1.44 on average where nothing leaked, log2 |R| at most.
            Ties count as more likely (see `TextView`): beyond rounding, exposure is never overstated where its rank
            is exact.
        exact: the rank was counted. Where more than `width` branches of the tree were left at one length, it is
            estimated from `samples` draws, and held between what the search has proven from below and above.
        exposure_cap, exposure_floor: what the exposure is proven not to exceed, and not to fall below; the exposure
            itself where the rank is exact.
        extracted: greedy decoding from the prefix, over the model's whole alphabet, gives the secret exactly.
        guessed: the secret is the one most likely value of its space: a right k-ary guess, k = |R|. Never where the
            rank is estimated.
        top_1, top_100: the same, and whether it is among the 100 most likely, as far as the search has proven it.

    The score is that of the whole record, name and secret: see `record_score`.

    Attributes:
        width: branches of the tree that are followed for each secret and model; 100,000 count any 6 digits exactly.
        samples: draws where that is not enough; few draws overstate low exposures, by a tenth of a bit or so at 128.
    """

    width: int = 100_000
    samples: int = 512

    name: ClassVar[str] = "extraction"
    access: ClassVar[Access] = Access.TOKEN_LOG_PROBABILITIES
    kinds: ClassVar[frozenset[str]] = frozenset({"text"})
    family: ClassVar[str] = "extraction"
    evidence: ClassVar[frozenset[str]] = frozenset(BITS + SEEN)
    needs_secrets: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for label in ("width", "samples"):
            if getattr(self, label) < 1:
                raise InputError(f"Expected {label} >= 1, got {label} = {getattr(self, label)}.")

    def score(
        self, view: View, canaries: CanarySet, seed: int
    ) -> tuple[NDArray[np.float64], Mapping[str, NDArray[Any]]]:
        """Calibrated log-probability of each record, and the evidence; see the class.

        Raises:
            InputError: if the canaries have no secrets, or the view is of no language model that can write them.
        """
        text, groups = tasks(view, canaries, self.name)
        shape = (view.models, len(canaries))
        evidence: dict[str, NDArray[Any]] = {name: np.zeros(shape) for name in BITS}
        evidence |= {name: np.zeros(shape, dtype=bool) for name in SEEN}
        for task in groups:
            truth, evidence["extracted"][:, task.columns] = task.truth(text)
            found = count_rivals(text, task, truth, self.width)
            rivals, open_ = found.least.copy(), np.flatnonzero(~found.exact)
            if len(open_):
                estimate = sample_rivals(text, task, truth, open_, self.samples, seed)
                rivals[open_] = np.clip(estimate, found.least[open_], found.most[open_])
            space = math.log2(task.space.size)
            each = {
                "exposure": space - np.log2(1 + rivals),
                "exposure_cap": space - np.log2(1 + found.least),
                "exposure_floor": space - np.log2(1 + found.most),
                "exact": found.exact,
                "guessed": found.most == 0,
                "top_1": found.most == 0,
                "top_100": 1 + found.most <= 100,
            }
            for name, array in each.items():
                evidence[name][:, task.columns] = array.reshape(view.models, -1)
        return record_score(view, canaries), evidence
