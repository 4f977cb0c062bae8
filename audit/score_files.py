"""Scores made elsewhere: CSV and Parquet files of scores, alone or beside the manifest of what was planted.

A file has the columns `score` (higher = more likely a member) and `member` (0/1 or true/false in any case), and,
where there are several, `model` and `canary`:

- neither: each row is an independent run with or without one canary;
- `model` alone: likewise, one row for each model;
- `canary` alone: one run, a row for each of its canaries;
- both: every model has every canary, in any order.

What was randomised is, in this order: what the caller says; the column `randomised` that `write_scores` writes;
"model" where there is one canary, or where there are several models and each has all its canaries or none (coins of
their own for each canary would hardly fall so, and taking them for independent would prove too much); else "canary".

The further columns that `write_scores` writes (`reference`, `repetitions`, `space`, `secret_set`) are read where they
are there, and other columns of numbers or truth values become evidence. `secret_set` is a whole number for each model:
models of equal numbers hold the same secrets under the canaries' names, others hold secrets of their own; without it
all hold the same. A file beside a manifest needs `score` and `canary` only.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from attacks.scores import Scores
from audit.csv_text import read_csv_text
from audit.manifest import Manifest
from canaries.errors import InputError
from canaries.inclusion import Randomised

KNOWN = ("model", "canary", "member", "score", "randomised", "reference", "repetitions", "space", "secret_set")
TRUTH = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def read_scores(
    path: str | Path, manifest: Manifest | str | Path | None = None, randomised: Randomised | None = None
) -> Scores:
    """The scores in a CSV or Parquet file, joined to the manifest by canary id if there is one.

    Args:
        path: a file with the columns described above.
        manifest: what `plant` wrote; the coins are then taken from it.
        randomised: "model" or "canary", where the caller knows.

    Raises:
        InputError: one sentence for whatever is wrong with the file, or between the file and the manifest.
    """
    if randomised not in (None, "model", "canary"):
        raise InputError(f"Expected randomised to be 'model' or 'canary', got {randomised!r}.")
    table = read_table(Path(path))
    if manifest is not None:
        return _join(table, manifest if isinstance(manifest, Manifest) else Manifest.read(manifest), str(path))
    _require(table, ("score", "member"), path)
    scores = _scores(table, truth(table["member"], path), str(path), rows_are_canaries=randomised == "canary")
    scores = replace(scores, randomised=randomised or _stated(table, path) or _guess(scores))
    if scores.randomised == "model" and not _all_or_none(scores):
        raise InputError(f"Models cannot be what was randomised in {path}: one has some of its canaries, not all.")
    return scores


def write_scores(scores: Scores, path: str | Path) -> None:
    """Write scores as CSV or Parquet, whichever the name says; `read_scores` gives them back.

    Raises:
        InputError: for another extension, or for scores made from each other's coins, which a file cannot say.
    """
    if scores.calibrated == "leave-one-out":
        raise InputError("Scores that were calibrated leave-one-out prove nothing; write the signals they came from.")
    table = scores.frame().assign(randomised=scores.randomised)
    if scores.secret_set is not None:
        table["secret_set"] = np.repeat(scores.secret_set, len(scores.ids))
    if (extension := Path(path).suffix.lower()) == ".csv":
        table.to_csv(path, index=False)
    elif extension == ".parquet":
        table.to_parquet(path, index=False)
    else:
        raise InputError(f"Expected a scores file named .csv or .parquet, got {path}.")


def read_table(path: Path) -> pd.DataFrame:
    """The rows of a CSV file, all as text, or of a Parquet file.

    Raises:
        InputError: if the file is missing, unreadable, empty, or named otherwise.
    """
    extension = path.suffix.lower()
    if extension not in (".csv", ".parquet"):
        raise InputError(f"Expected a scores file named .csv or .parquet, got {path}.")
    if not path.is_file():
        raise InputError(f"No such scores file: {path}.")
    table = read_csv_text(path) if extension == ".csv" else _read_parquet(path)
    if table.empty:
        raise InputError(f"{path} has no rows.")
    return table.reset_index(drop=True)


def truth(cells: pd.Series[Any], path: str | Path) -> NDArray[np.bool_]:
    """bool[n] from cells of 0/1 or true/false in any case.

    Raises:
        InputError: for another value, with its row.
    """
    text = cells.astype(str).str.strip().str.lower()
    if (bad := ~text.isin(list(TRUTH)).to_numpy()).any():
        row = int(bad.argmax())
        raise InputError(
            f"Expected 0, 1, true or false in column '{cells.name}' of {path}, "
            f"got {str(cells.iloc[row])!r} in data row {row + 1}."
        )
    return text.map(TRUTH).to_numpy(dtype=bool)


def numbers(cells: pd.Series[Any], path: str | Path) -> NDArray[np.float64]:
    """float64[n] from cells of numbers, infinite ones allowed.

    Raises:
        InputError: for NaN or anything else, with its row.
    """
    values = pd.to_numeric(cells, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    if (bad := np.isnan(values)).any():
        row = int(bad.argmax())
        raise InputError(
            f"Expected a number in column '{cells.name}' of {path}, got {str(cells.iloc[row])!r} in data row {row + 1}."
        )
    return values


def _scores(table: pd.DataFrame, member: NDArray[np.bool_], path: str, rows_are_canaries: bool) -> Scores:
    """The full matrix; what was randomised is left at "canary" for the caller to decide."""
    rows = [f"{i:04d}" for i in range(len(table))]
    canaries_vary = "canary" not in table and "model" not in table and rows_are_canaries
    one_canary = [f"canary-{i}" for i in rows] if canaries_vary else ["canary-0000"] * len(rows)
    one_model = rows if "canary" not in table and not canaries_vary else ["0"] * len(rows)
    model, models = pd.factorize(_names(table, "model", one_model, path))
    canary, ids = pd.factorize(_names(table, "canary", one_canary, path))
    order = _full_matrix(model, canary, models, ids, path)

    def matrix(values: NDArray[Any]) -> NDArray[Any]:
        return values[order].reshape(len(models), len(ids))

    def per_canary(column: str, values: NDArray[Any]) -> NDArray[Any]:
        square = matrix(values)
        if (differs := (square != square[0]).any(axis=0)).any():
            raise InputError(f"Column '{column}' of {path} differs between rows of canary '{ids[differs.argmax()]}'.")
        return square[0]

    def per_model(column: str, values: NDArray[Any]) -> NDArray[Any]:
        square = matrix(values)
        if (differs := (square != square[:, :1]).any(axis=1)).any():
            raise InputError(f"Column '{column}' of {path} differs between rows of model '{models[differs.argmax()]}'.")
        return square[:, 0]

    ones = np.ones(len(table))
    reference = truth(table["reference"], path) if "reference" in table else ones == 0
    repetitions = numbers(table["repetitions"], path) if "repetitions" in table else ones
    space = numbers(table["space"], path) if "space" in table else ones
    if not ((repetitions >= 1) & (repetitions == np.floor(repetitions)) & (space >= 1)).all():
        raise InputError(f"Expected repetitions and space in {path} to be at least 1, and repetitions whole numbers.")
    return Scores(
        ids=tuple(ids),
        score=matrix(numbers(table["score"], path)),
        member=matrix(member),
        reference=per_canary("reference", reference),
        repetitions=per_canary("repetitions", repetitions).astype(np.int64),
        randomised="canary",
        space=per_canary("space", space),
        secret_set=per_model("secret_set", _whole(table["secret_set"], path)) if "secret_set" in table else None,
        evidence={name: matrix(values) for name, values in _evidence(table).items()},
    )


def _whole(cells: pd.Series[Any], path: str) -> NDArray[np.int64]:
    """int64[n] from cells of whole numbers."""
    values = numbers(cells, path)
    if (bad := (np.abs(values) > 2**53) | (values != np.floor(values))).any():
        row = int(bad.argmax())
        raise InputError(
            f"Expected a whole number in column '{cells.name}' of {path}, got {str(cells.iloc[row])!r} in data row "
            f"{row + 1}."
        )
    return values.astype(np.int64)


def _names(table: pd.DataFrame, column: str, default: list[str], path: str) -> NDArray[Any]:
    """object[n]: the names in `column` as text, or `default` where there is no such column."""
    if column not in table:
        return np.array(default, dtype=object)
    text = table[column].astype(str).str.strip()
    if (bad := (table[column].isna() | (text == "")).to_numpy()).any():
        raise InputError(f"Data row {bad.argmax() + 1} of {path} names no {column}.")
    return text.to_numpy(dtype=object)


def _full_matrix(
    model: NDArray[np.intp], canary: NDArray[np.intp], models: Any, ids: Any, path: str
) -> NDArray[np.intp]:
    """intp[models * canaries]: the row of each pair, model by model."""
    counts = np.bincount(model * len(ids) + canary, minlength=len(models) * len(ids))
    for wrong, what in ((counts > 1, "more than one row"), (counts == 0, "no row")):
        if wrong.any():
            i, j = divmod(int(wrong.argmax()), len(ids))
            hint = ""
            if len(models) > 1 and np.bincount(canary).max() == 1:
                hint = "; secrets of each model's own share canaries' names, and column 'secret_set' tells them apart"
            raise InputError(
                f"{path} has {what} for model '{models[i]}' and canary '{ids[j]}'; "
                f"expected one for each of {len(models)} models and {len(ids)} canaries{hint}."
            )
    return np.argsort(model * len(ids) + canary, kind="stable")


def _evidence(table: pd.DataFrame) -> dict[str, NDArray[Any]]:
    """Columns beside the known ones that hold numbers or truth values throughout."""
    found: dict[str, NDArray[Any]] = {}
    for name in table.columns.difference(list(KNOWN), sort=False):
        text = table[name].astype(str).str.strip().str.lower()
        if text.isin(["true", "false"]).all():
            found[name] = (text == "true").to_numpy(dtype=bool)
            continue
        values = pd.to_numeric(table[name], errors="coerce")
        if not values.isna().any():
            found[name] = values.to_numpy()
    return found


def _stated(table: pd.DataFrame, path: str | Path) -> Randomised | None:
    if "randomised" not in table:
        return None
    match values := sorted({str(value).strip() for value in table["randomised"]}):
        case ["model"]:
            return "model"
        case ["canary"]:
            return "canary"
    raise InputError(f"Expected 'model' or 'canary' throughout column 'randomised' of {path}, got {values[-1]!r}.")


def _guess(scores: Scores) -> Randomised:
    several = scores.models > 1 and len(scores.ids) > 1
    return "model" if len(scores.ids) == 1 or (several and _all_or_none(scores)) else "canary"


def _all_or_none(scores: Scores) -> bool:
    member = scores.member[:, ~scores.reference]
    return bool((member.all(axis=1) | ~member.any(axis=1)).all())


def _join(table: pd.DataFrame, manifest: Manifest, path: str) -> Scores:
    """Scores of one training set's canaries, joined to the coins of its manifest."""
    _require(table, ("score", "canary"), path)
    coins = dict(zip(manifest.ids, manifest.member, strict=True))
    names = _names(table, "canary", [], path)
    if odd := sorted(set(names) ^ set(coins)):
        where = "the manifest lacks" if odd[0] in set(names) else f"{path} lacks"
        raise InputError(f"Scores and manifest are of different canaries: {where} '{odd[0]}'.")
    member = np.array([coins[name] for name in names], dtype=bool)
    if "member" in table and (differs := truth(table["member"], path) != member).any():
        raise InputError(f"{path} and the manifest disagree whether canary '{names[differs.argmax()]}' is a member.")
    scores = _scores(table, member, path, rows_are_canaries=False)
    if scores.models > 1:
        raise InputError(
            f"Expected the scores of one model in {path}, got {scores.models}: models of one planted training set "
            f"share their coins, and taking them for independent would prove too much; plant one set for each."
        )
    position = {canary: i for i, canary in enumerate(manifest.ids)}
    mine = np.array([position[canary] for canary in scores.ids], dtype=np.intp)
    return replace(
        scores,
        reference=manifest.reference[mine],
        repetitions=manifest.repetitions[mine],
        space=manifest.space[mine],
    )


def _require(table: pd.DataFrame, columns: tuple[str, ...], path: str | Path) -> None:
    for column in columns:
        if column not in table:
            raise InputError(f"{path} has no column '{column}'; it has {', '.join(table.columns)}.")


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:  # Arrow's own errors are ValueErrors
        raise InputError(f"Cannot read {path} as Parquet: {' '.join(str(error).split())}") from None
    return table.set_axis([str(column) for column in table.columns], axis=1)
