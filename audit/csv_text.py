"""CSV files as tables of text, so that nothing is guessed about their cells."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from canaries.errors import InputError


def read_csv_text(path: Path) -> pd.DataFrame:
    """The rows of a UTF-8 CSV file below its header, every cell as text (empty where a row ends early).

    Raises:
        InputError: if the file cannot be read, or names a column twice.
    """
    try:
        # Not header=0: pandas then renames repeated columns, and takes the first for an index if rows are longer.
        table = pd.read_csv(
            path, dtype=str, keep_default_na=False, skipinitialspace=True, header=None, encoding="utf-8-sig"
        )
    except (OSError, ValueError) as error:  # what pandas raises for bad CSV and bad encodings is a ValueError
        raise InputError(f"Cannot read {path} as CSV: {' '.join(str(error).split())}") from None
    names = [str(name).strip() for name in table.iloc[0]]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{path} has the column '{twice[0]}' twice.")
    return table.iloc[1:].set_axis(names, axis=1).reset_index(drop=True)
