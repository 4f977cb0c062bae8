"""Architectures: what is trained. Each is a frozen dataclass that builds a seeded torch module.

No layer mixes examples, so per-example gradients exist for all of them.
"""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from attacks.view import ArrayView, View
from attacks.vocabulary import Vocabulary
from canaries.base import CanarySet
from canaries.errors import InputError
from canaries.records import ArrayRecords, Dataset, GradientRecords, Records

DRAWING = threading.Lock()
"""Held while parameters are drawn: torch's global generator is one for all threads."""


def light_copy(module: nn.Module) -> nn.Module:
    """A copy whose frozen parameters have the module's own memory; moving it elsewhere leaves the module as it is."""
    frozen = [p for p in module.parameters() if not p.requires_grad]
    return copy.deepcopy(module, {id(p): nn.Parameter(p.detach(), requires_grad=False) for p in frozen})


@dataclass(frozen=True)
class Architecture(ABC):
    """A kind of model, and how records become its inputs. A subclass's fields are its whole configuration.

    Class attributes:
        name: what the configuration calls it.
        kind: the records that it learns from, "array" or "text".
    """

    name: ClassVar[str]
    kind: ClassVar[Literal["array", "text"]]

    @abstractmethod
    def module(self, example: Records) -> nn.Module:
        """A module with freshly drawn parameters for records like `example`; draws from torch's global generator."""

    @abstractmethod
    def tensors(self, records: Records) -> tuple[Tensor, Tensor]:
        """The module's inputs and the criterion's targets, a row per record."""

    @abstractmethod
    def criterion(self) -> nn.Module:
        """Module (outputs, targets) -> loss, with the attribute `reduction` ("mean", or "none" for one per record)."""

    @abstractmethod
    def view(self, modules: Sequence[nn.Module], example: Records) -> View:
        """A view of trained modules with full access."""

    @property
    def symbols(self) -> str | Vocabulary | None:
        """What the tokens of its language models are: characters, or a tokeniser; None for other models."""
        return None

    def check(self, dataset: Dataset, canaries: CanarySet) -> None:
        """Turn every record into inputs, those of gradients excepted.

        Raises:
            InputError: for records that do not fit, saying whose they are.
        """
        parts = {
            f"The training records of data set '{dataset.name}'": dataset.train,
            f"The texts of '{canaries.design}' canaries" if self.kind == "text" else "Canaries": canaries.records,
            f"The test records of data set '{dataset.name}'": dataset.test,
        }
        for whose, records in parts.items():
            try:
                if not isinstance(records, GradientRecords):
                    self.tensors(records)
            except InputError as error:
                raise InputError(f"{whose} do not fit the model: {error}") from None

    def outside(self) -> str:
        """A digest of what it depends on beside its fields, such as a file; part of every unit's key."""
        return ""

    def build(self, example: Records, seed: int) -> nn.Module:
        """A module whose initial parameters depend on `seed` alone."""
        with DRAWING, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.module(example)


@dataclass(frozen=True)
class Classifier(Architecture):
    """An architecture that classifies arrays under cross-entropy."""

    kind = "array"

    def tensors(self, records: Records) -> tuple[Tensor, Tensor]:
        """float32[n, ...] features and int64[n] labels."""
        arrays = _arrays(records, self.name)
        return torch.from_numpy(arrays.x), torch.from_numpy(arrays.y)

    def criterion(self) -> nn.Module:
        """Cross-entropy in nats."""
        return nn.CrossEntropyLoss()

    def view(self, modules: Sequence[nn.Module], example: Records) -> View:
        """A view that answers class probabilities."""
        _arrays(example, self.name)
        device = next(modules[0].parameters()).device

        def query(x: NDArray[np.float32]) -> NDArray[np.float64]:
            with torch.no_grad():
                inputs = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)
                logits = torch.stack([module(inputs) for module in modules])
            return torch.softmax(logits.double(), dim=2).cpu().numpy()

        def query_each(x: NDArray[np.float32]) -> NDArray[np.float64]:
            with torch.no_grad():
                inputs = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)).to(device)
                logits = torch.stack([module(own) for module, own in zip(modules, inputs, strict=True)])
            return torch.softmax(logits.double(), dim=2).cpu().numpy()

        return ArrayView(query, len(modules), query_each=query_each)


@dataclass(frozen=True)
class Softmax(Classifier):
    """Softmax (multinomial logistic) regression."""

    name = "softmax"

    def module(self, example: Records) -> nn.Module:
        """Flatten, then one linear layer."""
        arrays = _arrays(example, self.name)
        return nn.Sequential(nn.Flatten(), nn.Linear(_features(arrays), arrays.classes))


@dataclass(frozen=True)
class MLP(Classifier):
    """A multilayer perceptron with ReLU; `hidden` holds the widths of the hidden layers."""

    name = "mlp"
    hidden: tuple[int, ...] = (32,)

    def __post_init__(self) -> None:
        if not self.hidden or min(self.hidden) < 1:
            raise InputError(f"Expected hidden to be one or more widths >= 1, got {list(self.hidden)}.")

    def module(self, example: Records) -> nn.Module:
        """Flatten, then linear layers with ReLU between them."""
        arrays = _arrays(example, self.name)
        layers: list[nn.Module] = [nn.Flatten()]
        widths = (_features(arrays), *self.hidden)
        for fan_in, fan_out in pairwise(widths):
            layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(widths[-1], arrays.classes))


@dataclass(frozen=True)
class CNN(Classifier):
    """A small convolutional network: 3x3 convolutions with GroupNorm, ReLU and 2x2 max pooling, then one linear layer.

    Attributes:
        channels: width of each convolution.
        groups: groups of every GroupNorm; must divide each width.
    """

    name = "cnn"
    channels: tuple[int, ...] = (16, 32)
    groups: int = 4

    def __post_init__(self) -> None:
        if not self.channels or self.groups < 1 or any(width < 1 or width % self.groups for width in self.channels):
            raise InputError(f"Expected channels to be multiples of groups ({self.groups}), got {list(self.channels)}.")

    def module(self, example: Records) -> nn.Module:
        """The network for images float32[n, channels, height, width].

        Raises:
            InputError: for records that are not images, or too small to be halved once per convolution.
        """
        arrays = _arrays(example, self.name)
        if arrays.x.ndim != 4:
            raise InputError(
                f"Model '{self.name}' needs images of shape [n, channels, height, width], got {arrays.x.shape}."
            )
        fan_in, height, width = arrays.x.shape[1:]
        if min(height, width) >> len(self.channels) < 1:
            raise InputError(f"Images of {height}x{width} are too small for {len(self.channels)} poolings.")
        layers: list[nn.Module] = []
        for fan_out in self.channels:
            layers += [
                nn.Conv2d(fan_in, fan_out, 3, padding=1),
                nn.GroupNorm(self.groups, fan_out),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
            fan_in, height, width = fan_out, height // 2, width // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(fan_in * height * width, arrays.classes))


def _arrays(records: Records, name: str) -> ArrayRecords:
    if not isinstance(records, ArrayRecords):
        raise InputError(f"Model '{name}' learns from array records, got text.")
    return records


def _features(arrays: ArrayRecords) -> int:
    return int(np.prod(arrays.x.shape[1:]))
