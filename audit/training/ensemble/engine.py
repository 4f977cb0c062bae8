"""The training loop: many models in lockstep, each with its own records, batches, noise and parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from audit.training.ensemble.augment import Augmentation
from audit.training.ensemble.flat import Flat
from audit.training.ensemble.gradients import Loss, PerExample, per_example
from audit.training.ensemble.layout import Layout
from audit.training.ensemble.portions import tensor_bytes
from audit.training.ensemble.recipe import Recipe
from audit.training.ensemble.sampling import SAMPLERS
from audit.training.ensemble.spikes import Spikes
from audit.training.ensemble.stacked import Stacked
from audit.training.speed import Speed
from canaries.randomness import derive_seed, generator


@dataclass(frozen=True)
class Task:
    """What the models are trained on.

    Attributes:
        inputs: [n, ...], every record that any model trains on.
        targets: [n, ...].
        members: for each model, int64[its records], positions in `inputs`; repeated where a record is inserted often.
            Positions from len(inputs) on are those of `spikes`.
        expected_records: what the sample rate is multiplied with to get the expected batch size.
        loss: each row's loss.
        spikes: gradients that are trained on like records' own.
    """

    inputs: Tensor
    targets: Tensor
    members: Sequence[NDArray[np.int64]]
    expected_records: int
    loss: Loss
    spikes: Spikes | None = None


@dataclass(frozen=True)
class Watch:
    """What is kept on the way.

    Attributes:
        every: parameters are kept after every `every` steps; 0 keeps the last ones alone.
        records: ascending positions, as in `Task.members`, whose clipped gradients are multiplied with every update.
        known: positions below this are of records whose part in every update is kept apart.
    """

    every: int = 0
    records: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    known: int = 0


@dataclass(frozen=True)
class Trained:
    """What training leaves.

    Attributes:
        parameters: [models, size], in the order of `Flat`.
        checkpoints: by step (1, 2, ...), [models, size].
        products: float64[models, steps, watched records], inner products of the privatised update (the noisy sum of
            clipped gradients over the expected batch size) with each watched record's clipped gradient.
        norms: float64[models, steps, watched records], norms of their gradients before clipping.
        known: float64[models, steps, watched records], the part of `products` that known records contributed.
        initial: [models, size], the parameters that training began with.
    """

    parameters: Tensor
    checkpoints: dict[int, Tensor]
    products: NDArray[np.float64]
    norms: NDArray[np.float64]
    known: NDArray[np.float64]
    initial: Tensor


def fit(
    stacked: Stacked,
    recipe: Recipe,
    task: Task,
    seeds: Sequence[int],
    initial: Tensor,
    speed: Speed | None = None,
    watch: Watch | None = None,
) -> Trained:
    """Train one model for each seed.

    Model i depends on the recipe, the task's records, `members[i]`, `seeds[i]` and `initial[i]` alone.

    Args:
        stacked: the model.
        recipe: how to train.
        task: the records.
        seeds: one for each model.
        initial: [models, size], the parameters to begin with.
        speed: device and portions.
        watch: what to keep on the way.
    """
    speed, watch = speed or Speed(), watch or Watch()
    dtype = getattr(torch, recipe.dtype)
    inputs, targets = (_moved(t, speed.device, dtype) for t in (task.inputs, task.targets))
    moved = task.spikes and task.spikes.moved(speed.device, dtype)
    task = replace(task, inputs=inputs, targets=targets, spikes=moved)
    stacked = stacked.moved(speed.device, dtype)
    initial = initial.to(speed.device, dtype)
    rows = speed.rows_for(bytes_per_row(stacked, initial[:1], inputs, targets, task.loss))
    expected = max(rate for _, rate in recipe.phases()) * task.expected_records * recipe.augmentations
    together = speed.models or max(1, min(len(seeds), int(rows / max(1.0, expected))))
    parts = [
        _Group(stacked, recipe, task, seeds, slice(k, k + together), initial, watch, rows).run()
        for k in range(0, len(seeds), together)
    ]
    return Trained(
        torch.cat([p.parameters for p in parts]),
        {step: torch.cat([p.checkpoints[step] for p in parts]) for step in parts[0].checkpoints},
        np.concatenate([p.products for p in parts]),
        np.concatenate([p.norms for p in parts]),
        np.concatenate([p.known for p in parts]),
        torch.cat([p.initial for p in parts]),
    )


class _Group:
    """Models that are trained side by side."""

    def __init__(
        self,
        stacked: Stacked,
        recipe: Recipe,
        task: Task,
        seeds: Sequence[int],
        which: slice,
        initial: Tensor,
        watch: Watch,
        rows: int,
    ) -> None:
        self.stacked, self.recipe, self.task, self.watch = stacked, recipe, task, watch
        self.members, seeds = task.members[which], seeds[which]
        self.flat = Flat(stacked.shapes)
        self.parameters = initial[which].clone(memory_format=torch.contiguous_format)
        self.initial = self.parameters.cpu().clone()
        self.gradient, self.noise = torch.zeros_like(self.parameters), torch.empty(self.parameters.shape)
        self.known = torch.zeros_like(self.parameters) if len(watch.records) else None
        self.named, self.named_gradient = self.flat.views(self.parameters), self.flat.views(self.gradient)
        self.named_known = {} if self.known is None else self.flat.views(self.known)
        kind = SAMPLERS[recipe.sampling]
        self.samplers = [kind(len(m), generator(s, "batches")) for m, s in zip(self.members, seeds, strict=True)]
        self.noises = [torch.Generator().manual_seed(derive_seed(s, "noise")) for s in seeds]
        self.moves = [generator(s, "augmentations") for s in seeds]
        self.augmentation = Augmentation(recipe.augmentations, recipe.shift, recipe.flip)
        self.optimiser = recipe.new_optimiser()
        self.portion = max(1, rows // (len(seeds) * recipe.augmentations))

    def run(self) -> Trained:
        """All steps."""
        checkpoints: dict[int, Tensor] = {}
        watched: list[tuple[Tensor, Tensor, Tensor]] = []
        for step in range(self.recipe.steps):
            self._privatised(step)
            if self.known is not None:
                watched.append(self._watched())
            self.optimiser.step(self.parameters, self.gradient, self.recipe.learning_rate_at(step))
            if self.watch.every and (step + 1) % self.watch.every == 0:
                checkpoints[step + 1] = self.parameters.cpu().clone()
        shape = (len(self.members), self.recipe.steps, 0)
        products, norms, known = (
            (torch.stack(list(values), 1).double().cpu().numpy() for values in zip(*watched, strict=True))
            if watched
            else (np.empty(shape), np.empty(shape), np.empty(shape))
        )
        return Trained(self.parameters.cpu(), checkpoints, products, norms, known, self.initial)

    def _privatised(self, step: int) -> None:
        """The noisy sum of clipped gradients over the expected batch size, left in `gradient`."""
        rate = self.recipe.rate_at(step)
        batches = [m[sampler.draw(rate)] for m, sampler in zip(self.members, self.samplers, strict=True)]
        self.gradient.zero_()
        if self.known is not None:
            self.known.zero_()
        if self.task.spikes is not None:
            records = len(self.task.inputs)
            self._add_spikes(self.task.spikes, [batch[batch >= records] - records for batch in batches])
            batches = [batch[batch < records] for batch in batches]
        longest = max(map(len, batches))
        index = np.zeros((len(batches), longest), dtype=np.int64)
        real = np.zeros((len(batches), longest), dtype=np.float64)
        moves = np.zeros((len(batches), longest, self.recipe.augmentations, 3), dtype=np.int64)
        for k, batch in enumerate(batches):
            index[k, : len(batch)] = batch
            real[k, : len(batch)] = 1
            if self.recipe.augmentations > 1:
                moves[k, : len(batch)] = self.augmentation.draw(len(batch), self.moves[k])
        places, weights, shifts = torch.from_numpy(index), torch.from_numpy(real), torch.from_numpy(moves)
        for start in range(0, longest, self.portion):
            part = slice(start, start + self.portion)
            self._add(places[:, part], weights[:, part], shifts[:, part])
        self._finish(rate * self.task.expected_records)

    def _add_spikes(self, spikes: Spikes, chosen: Sequence[NDArray[np.int64]]) -> None:
        """Add each model's clipped gradients of one coordinate; `chosen` are positions among them."""
        which = torch.from_numpy(np.concatenate(chosen)).to(self.gradient.device)
        models = np.repeat(np.arange(len(chosen)), [len(some) for some in chosen])
        where = (torch.from_numpy(models).to(which.device), spikes.coordinates[which])
        self.gradient.index_put_(where, spikes.clipped(self.recipe.max_grad_norm)[which], accumulate=True)

    def _add(self, index: Tensor, weights: Tensor, moves: Tensor) -> None:
        """Add a portion's clipped gradients; `index` and `weights` are [models, examples]."""
        examples = self._examples(index, moves)
        with torch.no_grad():
            factors = examples.clip_factors(self.recipe.max_grad_norm) * weights.to(self.gradient)
            for name, value in examples.weighted_sum(factors).items():
                self.named_gradient[name].add_(value)
            if self.known is not None:
                factors = factors * (index < self.watch.known).to(factors)
                for name, value in examples.weighted_sum(factors).items():
                    self.named_known[name].add_(value)

    def _examples(self, index: Tensor, moves: Tensor | None) -> PerExample:
        """Per-example gradients of the records at `index` [models, examples]."""
        where = index.to(self.gradient.device).flatten()
        x, y = self.task.inputs.index_select(0, where), self.task.targets.index_select(0, where)
        models, count = index.shape
        layout = Layout(models, count)
        if moves is not None and self.recipe.augmentations > 1:
            layout = Layout(models, count, self.recipe.augmentations)
            x = self.augmentation.apply(x, moves.flatten(0, 1).to(x.device))
            y = y.repeat_interleave(self.recipe.augmentations, 0)
        return per_example(self.stacked, self.named, x, y, layout, self.task.loss)

    def _finish(self, expected: float) -> None:
        """Add noise of standard deviation sigma C per coordinate, each model's from its own stream; then divide."""
        if self.recipe.noise_multiplier:
            for row, stream in zip(self.noise, self.noises, strict=True):
                row.normal_(generator=stream)
            scale = self.recipe.noise_multiplier * self.recipe.max_grad_norm
            self.gradient.add_(self.noise.to(self.gradient), alpha=scale)
        self.gradient.div_(expected)
        if self.known is not None:
            self.known.div_(expected)

    def _watched(self) -> tuple[Tensor, Tensor, Tensor]:
        """[models, watched]: inner products with the update, norms before clipping, and the known part of the first.

        No augmentation.
        """
        assert self.known is not None
        parts, records = [], len(self.task.inputs)
        watched = torch.from_numpy(self.watch.records[self.watch.records < records])
        for some in torch.split(watched, self.portion) if len(watched) else ():
            examples = self._examples(some.expand(len(self.members), -1), None)
            with torch.no_grad():
                factors = examples.clip_factors(self.recipe.max_grad_norm)
                dots = (examples.dot(named) * factors for named in (self.named_gradient, self.named_known))
                parts.append((next(dots), examples.norms, next(dots)))
        if self.task.spikes is not None:
            which = torch.from_numpy(self.watch.records[self.watch.records >= records] - records)
            values = self.task.spikes.clipped(self.recipe.max_grad_norm)[which]
            where = self.task.spikes.coordinates[which]
            norms = self.task.spikes.norms[which].expand(len(self.members), -1)
            parts.append((self.gradient[:, where] * values, norms, self.known[:, where] * values))
        products, norms, known = (torch.cat(list(found), 1) for found in zip(*parts, strict=True))
        return products, norms, known


def bytes_per_row(stacked: Stacked, parameters: Tensor, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """What one row holds during a pass, measured on two of the first record, of one model: parameters [1, size]."""
    layout = Layout(1, 1, 2)
    x, y = (t[:1].repeat_interleave(2, 0) for t in (inputs, targets))
    examples = per_example(stacked, Flat(stacked.shapes).views(parameters), x, y, layout, loss)
    return tensor_bytes(list(examples.terms.values()), layout)


def _moved(x: Tensor, device: str, dtype: torch.dtype) -> Tensor:
    return x.to(device, dtype) if x.is_floating_point() else x.to(device)
