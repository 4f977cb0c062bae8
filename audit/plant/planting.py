"""Plant canaries into a training set, for pipelines that train elsewhere: one-run auditing (Steinke et al. 2023)."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path

import numpy as np

from audit.manifest import Manifest
from audit.plant.csv_source import CsvSource
from audit.plant.jsonl_source import JsonlSource
from audit.plant.npz_source import NpzSource
from audit.plant.source import Order, Source, TextSource
from canaries.base import CanaryDesign
from canaries.errors import InputError
from canaries.inclusion import Inclusion
from canaries.randomness import generator

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".npz": "npz",
    ".txt": "text",
    ".text": "text",
}


def plant(
    data_path: str | Path,
    design: CanaryDesign,
    count: int,
    out_dir: str | Path,
    seed: int,
    *,
    label: str | None = None,
    field: str | None = None,
    references: int = 0,
    encoding: str = "utf-8",
) -> Manifest:
    """Write a training set with canaries planted, and apart from it what decided which ones.

    Each canary has a fair coin; those it says are in stand in the training set as often as they repeat, at random
    places, written as the rows around them are. Original rows keep their order, and in formats of lines their bytes.
    There is no pool of unused records here: a mislabelled canary is a second copy, with a wrong label, of a row that
    is in the training set anyway. Equal arguments give equal bytes.

    It writes:
        out_dir/train/<name of data_path>: the training set. Train on this and nothing else.
        out_dir/canaries.<extension>: every canary, in and out, with its id, for scoring. It does not say which are in.
        out_dir/manifest.json: coins, secrets and digests. Keep it from whoever trains and attacks.

    Args:
        data_path: .csv or .tsv with a header, .jsonl or .ndjson, .npz, or .txt with one record on each line.
        design: how canaries are made; text designs need text.
        count: how many canaries have a coin.
        out_dir: a directory that is not there yet, or empty.
        seed: what everything is drawn from.
        label: the column, key or array of labels ("label", in .npz "y").
        field: the column or key of the text ("text"), or the array of features in .npz ("x").
        references: further canaries that are never inserted: an attack must see nothing there.
        encoding: of a file of lines.

    Returns:
        The manifest, as written.

    Raises:
        InputError: for data that cannot be read or does not fit the design, and an out_dir that holds anything.
    """
    path, out = Path(data_path), Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"Expected a directory that is empty or not there yet to write to, but {out} holds something.")
    data = _read(path)
    source = open_source(path, data, design, label, field, encoding)
    canaries = design.make(source.dataset, count, generator(seed, "plant", "canaries"), references)
    inclusion = Inclusion.draw(canaries, 1, "canary", seed)
    rows = source.express(canaries.records, generator(seed, "plant", "rows"))
    copies = np.repeat(np.arange(len(canaries)), canaries.repetitions * inclusion.inserted[0])
    order = places(source.rows, len(copies), generator(seed, "plant", "places"))
    training_set = source.seeded([rows[i] for i in copies], order)
    listing = source.listing(canaries.ids, rows)
    files = {"input": data, "training_set": training_set, "canaries": listing}
    manifest = Manifest(
        design=design.name,
        fields=asdict(design),
        seed=seed,
        ids=canaries.ids,
        member=inclusion.member[0],
        reference=canaries.reference,
        repetitions=canaries.repetitions,
        records=tuple(source.describe(row) for row in rows),
        secrets=canaries.secrets,
        digests={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    (out / "train").mkdir(parents=True)
    (out / "train" / path.name).write_bytes(training_set)
    (out / f"canaries{path.suffix}").write_bytes(listing)
    manifest.write(out / "manifest.json")
    return manifest


def open_source(
    path: Path, data: bytes, design: CanaryDesign, label: str | None, field: str | None, encoding: str
) -> Source:
    """The training set in `data`, read as the extension of `path` says.

    Raises:
        InputError: for an unknown extension, malformed content, or a format without records of the design's kind.
    """
    match FORMATS.get(path.suffix.lower()):
        case "csv" if design.kind != "gradient":
            return CsvSource(data, encoding, str(path), design.kind, label, field)
        case "jsonl" if design.kind != "gradient":
            return JsonlSource(data, encoding, str(path), design.kind, label, field)
        case "npz" if design.kind == "array":
            return NpzSource(data, str(path), label, field)
        case "text" if design.kind == "text":
            return TextSource(data, encoding, str(path))
        case None:
            raise InputError(f"Expected a training set named {', '.join(FORMATS)}, got {path}.")
    raise InputError(
        f"Canary design '{design.name}' makes {design.kind} records, which {path.suffix} files do not hold."
    )


def places(originals: int, inserted: int, rng: np.random.Generator) -> Order:
    """int64[originals + inserted]: a uniformly random interleaving in which the originals keep their order.

    Numbers from `originals` on stand for inserted rows, which come in random order.
    """
    order = np.full(originals + inserted, -1, dtype=np.int64)
    order[rng.choice(originals + inserted, size=inserted, replace=False)] = originals + np.arange(inserted)
    order[order < 0] = np.arange(originals)
    return order


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read the training set {path}: {error.strerror}.") from None
