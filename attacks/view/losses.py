"""Views of models of any kind that answer losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from attacks.view.access import GRANTS, Access
from attacks.view.base import View
from canaries.errors import InputError
from canaries.records import Records


class LossView(View):
    """A view of models of any kind that answers one loss per record, and nothing else.

    Args:
        query: records -> float64[models, n], losses in nats.
        models: how many models answer.
    """

    answers: ClassVar[frozenset[Access]] = GRANTS[Access.LOSS]

    def __init__(self, query: Callable[[Records], NDArray[np.floating]], models: int) -> None:
        super().__init__(models, Access.LOSS)
        self._query = query

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]. Needs LOSS.

        Raises:
            InputError: where the answer has another shape.
        """
        self._require(Access.LOSS, len(records))
        answer = np.asarray(self._query(records), dtype=np.float64)
        if answer.shape != (self.models, len(records)):
            raise InputError(f"Expected losses of shape [{self.models}, {len(records)}], got {answer.shape}.")
        return answer
