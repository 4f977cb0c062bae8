"""The tiny experiment, changed and swept, and what it left on disk."""

import copy

import pandas as pd

from audit.config import parse
from audit.sweeping import sweep
from tests.tiny_experiment import TINY


class Counter:
    """Progress that remembers."""

    def __init__(self):
        self.total = self.before = self.done = self.failed = 0

    def announce(self, message):
        pass

    def start(self, total, done):
        self.total, self.before = total, done

    def advance(self, models, failed):
        self.done += models
        self.failed += failed


TEXT = {
    "data": {"name": "pydoc", "train": 30, "pool": 12, "test": 5},
    "canaries": {"design": {"name": "secrets", "digits": 2}, "count": 4, "references": 2},
    "trainer": {"name": "ensemble", "model": "ngram", "steps": 1, "sample_rate": 1.0},
}


def tiny(**changes):
    """The tiny experiment with three models, and changes of the file or, by any other key, of its audit."""
    table = copy.deepcopy(TINY)
    for key, value in {"models": 3, **changes}.items():
        (table if key in ("epsilons", "seed", "name", "delta") else table["audits"][0])[key] = value
    return table


def run(table, out, **options):
    counter = Counter()
    sweep(parse(table), out, progress=counter, **options)
    return counter


def scores(out, name="a"):
    keys = ["epsilon", "attack", "model", "canary"]
    return pd.read_parquet(out / "scores" / name).sort_values(keys).reset_index(drop=True)


def temporary(out):
    return list(out.rglob(".*"))


def written(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / "scores").rglob("*.parquet")}
