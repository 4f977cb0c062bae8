"""A view of one or many models, and the white box that may lie behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from attacks.record import GradientRecord
from attacks.view.access import ANSWERS, GRANTS, Access, AccessError
from canaries.records import Records


@dataclass(frozen=True, eq=False)
class WhiteBox:
    """What training leaves beside the final models' answers.

    Attributes:
        parameters: float[models, size], the final parameters, in the module's order.
        initial: float[models, size], those that training began with, where an adversary knows them: shared by all
            models or public. None where each model drew its own in secret.
        movement: records -> float64[models, n]; see `View.movement`.
        checkpoints: views of the models after some of the steps (1, 2, ...), by step.
        record: the gradient record, where one was kept.
    """

    parameters: NDArray[np.floating]
    initial: NDArray[np.floating] | None
    movement: Callable[[Records], NDArray[np.floating]]
    checkpoints: Mapping[int, View] = field(default_factory=dict)
    record: GradientRecord | None = None

    @property
    def grants(self) -> frozenset[Access]:
        """The kinds of answer that this can give."""
        kept = {Access.CHECKPOINTS: bool(self.checkpoints), Access.GRADIENTS: self.record is not None}
        return frozenset({Access.WEIGHTS, *(access for access, there in kept.items() if there)})

    @property
    def access(self) -> Access:
        """The level that grants all of it."""
        order = (Access.GRADIENTS, Access.CHECKPOINTS, Access.WEIGHTS)
        return next(access for access in order if access in self.grants)

    def limited(self, access: Access) -> WhiteBox | None:
        """What of it a lower access level may hold."""
        granted = GRANTS[access]
        if Access.WEIGHTS not in granted:
            return None
        return replace(
            self,
            checkpoints=self.checkpoints if Access.CHECKPOINTS in granted else {},
            record=self.record if Access.GRADIENTS in granted else None,
        )


class View:
    """What one adversary may ask of `models` models, and how many queries it has made of each.

    Attributes:
        models: how many models answer; every answer has them as its leading axis.
        access: what was granted.
        queries: records sent to each model so far, checkpoints included.

    Class attributes:
        answers: what models of this kind can answer at all.
        keys: a number for each model. What an attack draws for one model alone it derives from that model's number, so
            that it depends on no other model; views that are scored together must not share numbers.
    """

    answers: ClassVar[frozenset[Access]] = ANSWERS

    def __init__(self, models: int, access: Access) -> None:
        self.models = models
        self.access = access
        self.queries = 0
        self.keys: tuple[int, ...] = tuple(range(models))
        self._white_box: WhiteBox | None = None
        self._counts_for: View | None = None

    def opened(self, white_box: WhiteBox) -> Self:
        """A fresh view of the same models that grants what `white_box` holds as well."""
        opened = self._fresh()
        opened._white_box = white_box
        opened.access = white_box.access
        return opened

    def grant(self, access: Access) -> Self:
        """A fresh view of the same models at a lower access level, with its own count of queries.

        Raises:
            AccessError: if this view does not itself hold `access`.
        """
        self._require(access)
        granted = self._fresh()
        granted.access = access
        granted._white_box = self._white_box and self._white_box.limited(access)
        return granted

    def _fresh(self) -> Self:
        fresh = object.__new__(type(self))
        fresh.__dict__.update(self.__dict__, queries=0)
        return fresh

    def loss(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: the loss of each record, in nats. Needs LOSS."""
        raise NotImplementedError

    def parameters(self) -> NDArray[np.floating]:
        """float[models, size]: the final parameters, in the module's order. Needs WEIGHTS."""
        return self._opened(Access.WEIGHTS).parameters

    def initial_parameters(self) -> NDArray[np.floating]:
        """float[models, size]: those that training began with, where they are known. Needs WEIGHTS.

        Raises:
            AccessError: where each model drew its own in secret; no level of access releases them.
        """
        initial = self._opened(Access.WEIGHTS).initial
        if initial is None:
            raise AccessError(
                "This view holds no initial parameters, because each model drew its own in secret; a trainer with "
                "initial = 'shared', 'pretrained' or 'given' lets the adversary know them."
            )
        return initial

    def movement(self, records: Records) -> NDArray[np.float64]:
        """float64[models, n]: how far training moved the parameters against each record's gradient. Needs WEIGHTS.

        The inner product of initial less final parameters with the record's clipped gradient at the final parameters.
        Where the initial parameters are not known, zero stands for them.
        """
        white_box = self._opened(Access.WEIGHTS, len(records))
        return np.asarray(white_box.movement(records), dtype=np.float64)

    def checkpoints(self) -> dict[int, View]:
        """Views of the models after some of the steps (1, 2, ...), by step. Needs CHECKPOINTS.

        Each grants what the final model answers, and its weights; its queries count for this view as well.
        """
        found = {step: view._fresh() for step, view in self._opened(Access.CHECKPOINTS).checkpoints.items()}
        for view in found.values():
            view._counts_for = self
        return found

    def gradient_record(self) -> GradientRecord:
        """The gradient record. Needs GRADIENTS."""
        record = self._opened(Access.GRADIENTS).record
        assert record is not None
        return record

    def _opened(self, access: Access, queries: int = 0) -> WhiteBox:
        self._require(access, queries)
        assert self._white_box is not None
        return self._white_box

    def _require(self, access: Access, queries: int = 0) -> None:
        held = self.answers | (self._white_box.grants if self._white_box else frozenset())
        if access not in GRANTS[self.access] & held:
            allowed = ", ".join(sorted(GRANTS[self.access] & held))
            raise AccessError(f"This view grants {allowed}; the attack asked for {access}.")
        self._count(queries)

    def _count(self, queries: int) -> None:
        self.queries += queries
        if self._counts_for is not None:
            self._counts_for._count(queries)
