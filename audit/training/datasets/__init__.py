"""Data sets: each a frozen dataclass that loads into disjoint train, pool and test parts."""

from audit.training.datasets.base import DatasetSource
from audit.training.datasets.breast_cancer import BreastCancer
from audit.training.datasets.csv_file import Csv
from audit.training.datasets.digits import Digits
from audit.training.datasets.idx import FashionMnist, Idx, Mnist
from audit.training.datasets.npz import Npz
from audit.training.datasets.pydoc_topics import Pydoc
from audit.training.datasets.text_files import TextFiles
from audit.training.datasets.text_lines import TextLines
from audit.training.datasets.texts import ALPHABET

__all__ = [
    "ALPHABET",
    "BreastCancer",
    "Csv",
    "DatasetSource",
    "Digits",
    "FashionMnist",
    "Idx",
    "Mnist",
    "Npz",
    "Pydoc",
    "TextFiles",
    "TextLines",
]
