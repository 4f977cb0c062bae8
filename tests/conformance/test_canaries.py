"""Every canary design in the package keeps these promises; a design without a row in the table fails the suite."""

import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import canaries
from canaries import (
    Blank,
    Boundary,
    CanaryDesign,
    Dirac,
    HotPixel,
    Inclusion,
    LowVariance,
    Mislabelled,
    Natural,
    UniformNoise,
)
from canaries.errors import InputError
from canaries.inclusion import training_set
from canaries.passages import Passages
from canaries.records import ArrayRecords, Dataset, GradientRecords, TextRecords
from canaries.secrets import Secrets

RNG = np.random.default_rng(5)


def arrays(n: int) -> ArrayRecords:
    return ArrayRecords(RNG.random((n, 1, 3, 4)), RNG.integers(3, size=n), 3)


def texts(n: int) -> TextRecords:
    return TextRecords(tuple(f"line {i} of some text" for i in range(n)))


DATA = {
    "array": Dataset("arrays", arrays(50), arrays(20), arrays(10)),
    "text": Dataset("texts", texts(50), texts(20), texts(10)),
}
DATA["gradient"] = DATA["array"]

DESIGNS = [
    Blank(),
    Blank(label=1),
    UniformNoise(),
    Mislabelled(),
    LowVariance(),
    HotPixel(),
    HotPixel(value=-2.0, label=1),
    Boundary(),
    Natural(),
    Secrets(),
    Dirac(),
    Dirac(norm=3.0),
    Secrets(template="{name}: {words:1}-{card:3}", per_record=2),
    Passages(),
]


def designs_in_package() -> set[type[CanaryDesign]]:
    modules = [importlib.import_module(f"canaries.{module.name}") for module in pkgutil.iter_modules(canaries.__path__)]
    classes = {c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)}
    return {c for c in classes if issubclass(c, CanaryDesign) and not inspect.isabstract(c)}


def test_the_table_is_complete():
    assert {type(design) for design in DESIGNS} == designs_in_package()


def test_names_are_unique():
    names = [cls.name for cls in designs_in_package()]
    assert len(set(names)) == len(names)


def make(design: CanaryDesign, seed: int = 0, count: int = 12, references: int = 4):
    initial = linear_model if design.needs_initial_model else None
    return design.make(DATA[design.kind], count, np.random.default_rng(seed), references, initial)


def linear_model(records: ArrayRecords):
    scores = np.exp(records.x.reshape(len(records), -1) @ np.random.default_rng(0).normal(size=(12, 3)))
    return scores / scores.sum(axis=1, keepdims=True)


pytestmark = pytest.mark.filterwarnings("error")
every_design = pytest.mark.parametrize("design", DESIGNS, ids=repr)


@every_design
def test_equal_generators_make_equal_canaries(design):
    assert make(design).digest() == make(design).digest()


@every_design
def test_what_can_be_redrawn_keeps_its_ids(design):
    assert (make(design, 0).ids == make(design, 1).ids) == design.redrawn


@every_design
def test_counts_and_ids(design):
    made = make(design)
    assert len(made) == len(made.records) == len(set(made.ids)) == 16
    assert list(np.flatnonzero(made.reference)) == [12, 13, 14, 15]
    assert all(canary.startswith(f"{design.name}-") for canary in made.ids)
    assert (made.repetitions >= 1).all()
    assert len(made.secrets) in (0, 16)


@every_design
def test_records_are_of_the_data(design):
    made, train = make(design), DATA[design.kind].train
    if design.kind == "gradient":
        assert isinstance(made.records, GradientRecords)
        assert len(set(made.records.place.tolist())) == len(made)
        return
    assert type(made.records) is type(train)
    if isinstance(train, ArrayRecords):
        assert made.records.x.shape[1:] == train.x.shape[1:]
        assert made.records.classes == train.classes
        assert made.records.y.min() >= 0
        assert made.records.y.max() < train.classes


@every_design
def test_the_data_stays_as_it_was(design):
    before = DATA[design.kind].digest()
    make(design)
    assert DATA[design.kind].digest() == before


@every_design
@pytest.mark.parametrize("randomised", ["model", "canary"])
def test_references_are_never_inserted(design, randomised):
    made = make(design)
    inclusion = Inclusion.draw(made, 8, randomised, seed=1)
    assert not inclusion.inserted[:, made.reference].any()
    assert inclusion.member[:, made.reference].any()
    train = DATA[design.kind].train
    if design.kind == "gradient":
        with pytest.raises(InputError, match="trainer 'ensemble' alone can train on them"):
            training_set(train, made, inclusion.inserted[0])
        return
    sizes = [len(training_set(train, made, row)) for row in inclusion.inserted]
    assert sizes == [len(train) + int(made.repetitions[row].sum()) for row in inclusion.inserted]


@every_design
def test_secrets_stand_in_their_records(design):
    made = make(design)
    for secret, text in zip(made.secrets, made.records.texts if made.secrets else (), strict=True):
        assert text.startswith(secret.prefix + secret.value + secret.suffix)
