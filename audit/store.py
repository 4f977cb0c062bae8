"""The run directory: plain files, each written whole or not at all. A unit whose scores exist is done.

    run.json                     schema version, experiment, claims, planned units, versions
    scores/<audit>/<unit>.parquet   one row per attack and canary of one model
    models/<audit>/<unit>.json      utility, seed and seconds of one model
    failures/<unit>.txt             traceback of a unit that failed; gone once it succeeds
    superseded/<audit>/<unit>.parquet   scores of units that the experiment no longer plans
    pilots/                      scores and models of pilots, laid out alike; no bound is taken from them

`pandas.read_parquet("RUN/scores/<audit>")` reads all scores of a pipeline.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from canaries.errors import InputError

SCHEMA_VERSION = 1


class RunDirectory:
    """A run on disk."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run.

        Raises:
            InputError: if there is none at `path`, or it has another schema version.
        """
        run = cls(path)
        if not run.exists():
            raise InputError(f"'{path}' is no run directory: it has no run.json.")
        found = run.manifest().get("schema_version")
        if found != SCHEMA_VERSION:
            raise InputError(f"'{path}' has schema version {found}, this version reads {SCHEMA_VERSION}.")
        return run

    def exists(self) -> bool:
        """Whether there is a run.json."""
        return self._manifest.is_file()

    @property
    def _manifest(self) -> Path:
        return self.path / "run.json"

    def manifest(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            InputError: if it is not valid JSON.
        """
        try:
            return dict(json.loads(self._manifest.read_text(encoding="utf-8")))
        except (ValueError, OSError) as error:
            raise InputError(f"Cannot read '{self._manifest}': {error}.") from None

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Write run.json, whole."""
        self.write_json("run.json", {"schema_version": SCHEMA_VERSION, **manifest})

    def is_done(self, audit: str, unit: str) -> bool:
        """Whether this unit's scores and facts are there."""
        path = self._scores(audit, unit)
        return path.is_file() and path.stat().st_size > 0 and self._facts(audit, unit).is_file()

    def write_unit(self, audit: str, unit: str, scores: pd.DataFrame, facts: dict[str, Any]) -> None:
        """Write a finished unit: facts first, scores last, so that scores never lack their facts."""
        self.write_json(f"models/{audit}/{unit}.json", facts)
        path = self._scores(audit, unit)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{unit}.{os.getpid()}")
        with temporary.open("wb") as file:
            scores.to_parquet(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        (self.path / "failures" / f"{unit}.txt").unlink(missing_ok=True)

    def put_aside_all_but(self, planned: dict[str, set[str]]) -> None:
        """Move scores of units that are not planned (by audit) to superseded/, and planned ones back from there.

        So `scores/` holds one configuration at a time, and going back to an earlier one trains nothing again.
        """
        for here, there, wanted in (("scores", "superseded", False), ("superseded", "scores", True)):
            for path in (self.path / here).glob("*/*.parquet"):
                if (path.stem in planned.get(path.parent.name, set())) is wanted:
                    target = self.path / there / path.parent.name / path.name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(path, target)

    def write_failure(self, unit: str, traceback: str) -> None:
        """Leave the traceback of a unit that failed."""
        self._write(f"failures/{unit}.txt", traceback)

    def failures(self, units: Sequence[str]) -> dict[str, str]:
        """Traceback by unit, for those of `units` that failed and are not done."""
        paths = {unit: self.path / "failures" / f"{unit}.txt" for unit in units}
        return {unit: path.read_text(encoding="utf-8") for unit, path in paths.items() if path.is_file()}

    def scores(self, audit: str, units: Sequence[str]) -> pd.DataFrame:
        """Rows of every unit of `units` that is done, in the order of `units`; empty if none is."""
        paths = [str(self._scores(audit, unit)) for unit in units if self.is_done(audit, unit)]
        if not paths:
            return pd.DataFrame()
        try:
            return ds.dataset(paths, format="parquet").to_table().to_pandas()
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(
                f"A file of scores is damaged; delete it and run the sweep again: {str(error).splitlines()[0]}"
            ) from None

    def facts(self, audit: str, units: Sequence[str]) -> list[dict[str, Any]]:
        """Facts of every unit of `units` that is done, in that order."""
        return [
            dict(json.loads(self._facts(audit, unit).read_text(encoding="utf-8")))
            for unit in units
            if self.is_done(audit, unit)
        ]

    def write_json(self, name: str, document: Any) -> Path:
        """Write `document` as JSON under `name`, whole; infinities are written as the string "inf"."""
        return self._write(name, json.dumps(jsonable(document), indent=1, sort_keys=False, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> Path:
        """Write `text` under `name`, whole."""
        return self._write(name, text)

    def _facts(self, audit: str, unit: str) -> Path:
        return self.path / "models" / audit / f"{unit}.json"

    def _scores(self, audit: str, unit: str) -> Path:
        return self.path / "scores" / audit / f"{unit}.parquet"

    def _write(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        return path


def jsonable(value: Any) -> Any:
    """`value` with infinities as "inf" and "-inf", NaN as null, tuples as lists; floats come back by `float`."""
    if isinstance(value, dict):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None if value != value else str(value)
    return value
