"""The experiment file: TOML in, typed, validated and frozen objects out."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, PlainValidator, ValidationError, model_validator

from attacks.base import Attack
from attacks.cross_model import LEAST_MODELS, CrossModel
from attacks.view import WHITE_BOX, Access
from audit import registry
from audit.estimators.base import Estimator
from audit.policy import Policy
from audit.settings import parse_setting
from audit.training.base import SweepTrainer
from audit.training.datasets import DatasetSource
from canaries.base import CanaryDesign
from canaries.errors import InputError
from canaries.neighbours import ADD_OR_REMOVE_ONE, REPLACE_LABEL, Neighbours


def _plugin(kind: registry.Kind) -> tuple[PlainValidator, PlainSerializer]:
    return (
        PlainValidator(lambda spec: registry.build(kind, spec), json_schema_input_type=Any),
        PlainSerializer(registry.identity, return_type=dict),
    )


DesignField = Annotated[CanaryDesign, *_plugin(registry.DESIGNS)]
AttackField = Annotated[Attack, *_plugin(registry.ATTACKS)]
EstimatorField = Annotated[Estimator, *_plugin(registry.ESTIMATORS)]
TrainerField = Annotated[SweepTrainer, *_plugin(registry.TRAINERS)]
DatasetField = Annotated[DatasetSource, *_plugin(registry.DATASETS)]
RELEASED_BY = {
    Access.WEIGHTS: 'record = "weights"',
    Access.CHECKPOINTS: "checkpoint_every = 1",
    Access.GRADIENTS: 'record = "gradients"',
}
Epsilon = Annotated[float, Field(gt=0, allow_inf_nan=True)]


class Table(BaseModel):
    """A table of the file: frozen, strict about types, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class CanaryPlan(Table):
    """What is planted.

    Attributes:
        design: how canaries are made.
        count: canaries that a coin may insert.
        references: canaries that are never inserted, the negative control.
        randomise: "canary": each (model, canary) has a fair coin; "model": each model has all or none.
        sets: how many sets of canaries are drawn; model i gets set i modulo this. With as many sets as models no two
            models share a secret, so that intervals over models and secrets are honest and bounds are sharper.
        neighbours: what is in a canary's place where it is out: nothing ("add-or-remove-one"), another record of the
            pool ("replace-one"), or the same features under another label ("replace-label"). Claims are accounted for
            these neighbours.
        records_per_user: how many canaries one user owns, in or out together; `count` and `references` then count
            users.
        protects: what the claim covers. With "record", bounds are for one record, by group privacy where a user owns
            several; with "user" the accountant's epsilon is taken to cover a whole user, which training has to earn.
    """

    design: DesignField
    count: int = Field(ge=1)
    references: int = Field(default=16, ge=0)
    randomise: Literal["canary", "model"] = "canary"
    sets: int = Field(default=1, ge=1)
    neighbours: Neighbours = ADD_OR_REMOVE_ONE
    records_per_user: int = Field(default=1, ge=1)
    protects: Literal["record", "user"] = "record"

    @model_validator(mode="after")
    def _replaceable(self) -> CanaryPlan:
        kind = self.design.kind
        if kind == "gradient" and self.neighbours != ADD_OR_REMOVE_ONE:
            raise InputError(f"gradients are added or removed, got neighbours '{self.neighbours}'.")
        if kind == "text" and self.neighbours == REPLACE_LABEL:
            raise InputError(f"neighbours '{REPLACE_LABEL}' needs labelled records, '{self.design.name}' makes texts.")
        if self.sets > 1 and not self.design.redrawn:
            raise InputError(
                f"sets must be 1 with design '{self.design.name}', whose ids name the records of one set, "
                f"got {self.sets}."
            )
        if kind == "text" and self.records_per_user > 1:
            raise InputError(f"records_per_user must be 1 with secrets, got {self.records_per_user}.")
        return self


class PilotPlan(Table):
    """What is tried on models of their own, which no bound is taken from, before an audit begins.

    Attributes:
        designs: canary designs to try; none keeps the audit's own.
        learning_rates: to try with each of them; none keeps the trainer's own.
        models: how many models each candidate is tried on.
        epochs: how long each is trained; sampled batches count by their expectation.
        epsilon: what each claims, accounted for the pilot's own steps; the experiment's largest finite one by default.
    """

    designs: tuple[DesignField, ...] = ()
    learning_rates: tuple[Annotated[float, Field(gt=0)], ...] = ()
    models: int = Field(default=32, ge=4, multiple_of=2)
    epochs: float = Field(default=1.0, gt=0)
    epsilon: Epsilon | None = None

    @model_validator(mode="after")
    def _a_choice(self) -> PilotPlan:
        if max(1, len(self.designs)) * max(1, len(self.learning_rates)) < 2:
            raise InputError("a pilot chooses among at least 2 designs, or 2 learning_rates.")
        return self


class AuditPlan(Table):
    """One pipeline under audit, at every epsilon.

    Attributes:
        name: what the report calls it.
        data: the data set.
        canaries: what is planted in it.
        trainer: what trains; its noise multiplier is set from each epsilon by the accountant.
        models: how many models an epsilon.
        attacks: what is run on each model.
        estimators: what turns scores into bounds.
        pilot: how the canary design or the learning rate is chosen first, on models of their own; none chooses nothing.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    data: DatasetField
    canaries: CanaryPlan
    trainer: TrainerField
    models: int = Field(ge=1)
    attacks: tuple[AttackField, ...] = Field(min_length=1)
    estimators: tuple[EstimatorField, ...] = Field(min_length=1)
    pilot: PilotPlan | None = None

    @model_validator(mode="after")
    def _consistent(self) -> AuditPlan:
        kind = self.canaries.design.kind
        for design in self.pilot.designs if self.pilot else ():
            if design.kind != kind:
                raise InputError(
                    f"the pilot's design '{design.name}' makes {design.kind} canaries, and the audit's {kind} ones."
                )
        if kind not in (self.data.kind, "gradient"):
            raise InputError(
                f"canary design '{self.canaries.design.name}' makes {kind} records, "
                f"data set '{self.data.name}' holds {self.data.kind} records."
            )
        for attack in self.attacks:
            if kind not in attack.kinds:
                raise InputError(f"attack '{attack.name}' cannot attack {kind} canaries.")
            if attack.access in WHITE_BOX - self.trainer.white_box:
                raise InputError(
                    f"attack '{attack.name}' needs access to {attack.access}, which trainer '{self.trainer.name}' does "
                    f"not give; 'ensemble' does with {RELEASED_BY[attack.access]}."
                )
            if isinstance(attack, CrossModel) and self.models < LEAST_MODELS:
                raise InputError(
                    f"attack '{attack.name}' compares each model with others, so models must be at least "
                    f"{LEAST_MODELS}, got {self.models}."
                )
            if self.canaries.sets > 1 and isinstance(attack, CrossModel):
                raise InputError(
                    f"attack '{attack.name}' compares what models make of one canary, but with sets = "
                    f"{self.canaries.sets} they hold different ones; set sets to 1."
                )
        registry.attack_titles(self.attacks)
        if self.canaries.randomise == "model" and self.models % 2:
            raise InputError(f"models must be even where each model has the canary or not, got {self.models}.")
        return self


class Experiment(Table):
    """A whole experiment file.

    Attributes:
        name: what the report calls it; also the run directory's name.
        epsilons: claims to audit; inf (no noise, clipping kept) is the positive control and is added where missing.
        delta: of every claim.
        confidence: simultaneous over all bounds of the run.
        accountant: which accountant turns epsilon into noise.
        seed: every random draw derives from it.
        audits: the pipelines.
        gate: when the gate fails.
    """

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    epsilons: tuple[Epsilon, ...] = Field(min_length=1)
    delta: float = Field(ge=0, lt=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    accountant: Literal["pld", "opacus-prv"] = "pld"
    seed: int = Field(default=0, ge=0)
    audits: tuple[AuditPlan, ...] = Field(min_length=1)
    gate: Policy = Policy()

    @model_validator(mode="after")
    def _distinct(self) -> Experiment:
        names = [audit.name for audit in self.audits]
        if len(set(names)) != len(names):
            raise InputError(f"each audit needs a name of its own, got {', '.join(names)}.")
        if len(set(self.epsilons)) != len(self.epsilons):
            raise InputError(f"each epsilon may be named once, got {list(self.epsilons)}.")
        return self

    @property
    def all_epsilons(self) -> tuple[float, ...]:
        """Ascending, with the positive control (infinity) last."""
        return tuple(sorted({*self.epsilons, math.inf}))

    def plain(self) -> dict[str, Any]:
        """The experiment as plain data, every default spelled out but the gate's, which a project's policy may fill."""
        return self.model_dump(mode="python") | {"gate": self.gate.model_dump(exclude_unset=True)}


def load(path: Path, overrides: Sequence[str] = ()) -> Experiment:
    """An experiment from a TOML file, with `key=value` overrides (dots between keys, TOML values).

    Lists of tables are entered by name or by position: `audits.digits.models=4`.

    Raises:
        InputError: for a file that cannot be read, or any key or value that is not allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read the experiment file '{path}': {error}.") from None
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}.") from None
    for override in overrides:
        _set(table, override)
    return parse(table, str(path))


def parse(table: dict[str, Any], where: str = "experiment") -> Experiment:
    """An experiment from plain data; `where` opens every error sentence.

    Raises:
        InputError: one sentence with the key, the value and what is allowed.
    """
    try:
        return Experiment.model_validate(_tuples(table))
    except ValidationError as error:
        raise InputError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        table, allowed = _table_at(first["loc"][:-1])
        return registry.unknown_key(str(first["loc"][-1]), allowed, table)
    return registry.sentence(error)


def _table_at(loc: tuple[int | str, ...]) -> tuple[str, set[str]]:
    """What to call the table at `loc`, and its keys."""
    model: type[BaseModel] = Experiment
    nested: dict[str, type[BaseModel]] = {
        "audits": AuditPlan,
        "canaries": CanaryPlan,
        "pilot": PilotPlan,
        "gate": Policy,
    }
    for part in loc:
        model = nested.get(str(part), model)
    return f"[{'.'.join(str(part) for part in loc)}]" if loc else "the file", set(model.model_fields)


def _set(table: dict[str, Any], override: str) -> None:
    key, parsed = parse_setting(override)
    *parents, last = key.split(".")
    here: Any = table
    for part in parents:
        here = _enter(here, part, key)
    if isinstance(here, list):
        raise InputError(f"--set {key}: '{last}' stands in a list; name an entry of it first.")
    if not isinstance(here, dict):
        raise InputError(f"--set {key}: '{parents[-1]}' is not a table.")
    here[last] = parsed


def _enter(here: Any, part: str, key: str) -> Any:
    if isinstance(here, dict):
        if isinstance(here.get(part), str) and part in ("data", "trainer", "design", "model"):
            here[part] = {"name": here[part]}
        return here.setdefault(part, {})
    if isinstance(here, list):
        for i, item in enumerate(here):
            if part == str(i) or (isinstance(item, dict) and item.get("name") == part):
                return item
        names = ", ".join(str(item.get("name", i)) if isinstance(item, dict) else str(i) for i, item in enumerate(here))
        raise InputError(f"--set {key}: there is no '{part}'; allowed: {names}.")
    raise InputError(f"--set {key}: '{part}' is not inside a table.")


def _tuples(value: Any) -> Any:
    """TOML's arrays as tuples: the strict validator takes no lists for them."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    return {key: _tuples(item) for key, item in value.items()} if isinstance(value, dict) else value
