"""The manifest of a planted training set: what was planted, and which coins decided it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from canaries.base import Secret
from canaries.errors import InputError

VERSION = 1
"""Version of the manifest's layout."""


@dataclass(frozen=True, eq=False)
class Manifest:
    """Everything about planted canaries. Whoever trains or attacks must not see it: it holds the coins and secrets.

    Attributes:
        design: the canary design's name.
        fields: the design's configuration.
        seed: what everything was drawn from.
        ids: canary ids.
        member: bool[canaries], what the coins said.
        reference: bool[canaries], canaries that were never inserted.
        repetitions: int64[canaries], copies inserted.
        records: one per canary, as it stands in the training set; for .npz its label and the SHA-256 of its features.
        secrets: one per canary, or empty.
        digests: SHA-256 by file: "input", "training_set" and "canaries".
    """

    design: str
    fields: dict[str, Any]
    seed: int
    ids: tuple[str, ...]
    member: NDArray[np.bool_]
    reference: NDArray[np.bool_]
    repetitions: NDArray[np.int64]
    records: tuple[Any, ...]
    secrets: tuple[Secret, ...]
    digests: dict[str, str]

    @property
    def space(self) -> NDArray[np.float64]:
        """float64[canaries]: how many equally likely secrets there were; 1 where there is no secret."""
        return np.array([float(s.space_size) for s in self.secrets] or [1.0] * len(self.ids))

    def write(self, path: Path) -> None:
        """Write it as JSON, one entry for each canary."""
        entries = [
            {
                "id": canary,
                "member": bool(self.member[i]),
                "reference": bool(self.reference[i]),
                "repetitions": int(self.repetitions[i]),
                "record": self.records[i],
                "secret": asdict(self.secrets[i]) if self.secrets else None,
            }
            for i, canary in enumerate(self.ids)
        ]
        document = {
            "firedamp_manifest": VERSION,
            "design": {"name": self.design, **self.fields},
            "seed": self.seed,
            "digests": self.digests,
            "canaries": entries,
        }
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: str | Path) -> Manifest:
        """The manifest in a file that `write` wrote.

        Raises:
            InputError: if the file is missing, no manifest, of another version, or damaged.
        """
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"Cannot read the manifest {path}: {error}.") from None
        version = document.get("firedamp_manifest") if isinstance(document, dict) else None
        if version != VERSION:
            raise InputError(f"Expected a manifest of version {VERSION} in {path}, got {version or 'something else'}.")
        try:
            entries = document["canaries"]
            design = dict(document["design"])
            manifest = cls(
                design=design.pop("name"),
                fields=design,
                seed=document["seed"],
                ids=tuple(entry["id"] for entry in entries),
                member=_flags(entries, "member"),
                reference=_flags(entries, "reference"),
                repetitions=np.array([entry["repetitions"] for entry in entries], dtype=np.int64),
                records=tuple(entry["record"] for entry in entries),
                secrets=tuple(Secret(**entry["secret"]) for entry in entries if entry["secret"]),
                digests=document["digests"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"The manifest {path} is damaged: {type(error).__name__}: {error}.") from None
        if len(set(manifest.ids)) != len(manifest.ids) or len(manifest.secrets) not in (0, len(manifest.ids)):
            raise InputError(
                f"The manifest {path} is damaged: canary ids must be unique, and all have secrets or none."
            )
        return manifest


def _flags(entries: list[dict[str, Any]], key: str) -> NDArray[np.bool_]:
    values = [entry[key] for entry in entries]
    if not all(isinstance(value, bool) for value in values):
        raise ValueError(f"'{key}' must be true or false")
    return np.array(values, dtype=bool)
