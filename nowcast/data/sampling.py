"""Randomness as a pure function of (seed, epoch, sample index).

No generator is carried from sample to sample, so any number of workers draws the same batches, two
runs with one seed are identical, and a resumed run goes on exactly where the uninterrupted one
would be.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from nowcast.data.base import Cases
from nowcast.types.batch import Batch
from nowcast.types.scale import Scale

_TIMEOUT = 600.0  # seconds that a process may take for a batch


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index]))


class EpochSampler(Sampler):
    """Keys (epoch, index) of one epoch, each index once, shared out among processes.

    Process r of n takes the places r, r + n, r + 2 n, ..., so that together their batches are those
    of one process with batches n times as large, in the same order. All need equally many batches,
    or they would wait for each other for ever: one that has none left for the last gets a sample of
    which nothing counts, with the key (epoch, -1 - index).

    Where cases are of several kinds, such as sizes, every batch is of one kind; the last one of
    each kind is filled up with samples of which nothing counts.

    Args:
        length: number of samples in an epoch.
        seed: of the shuffled order; None keeps the order 0, 1, 2, ... and the epoch 0.
        batch_size: samples of a batch of one process.
        kinds: of each sample, see ``Cases.kind_of``; None: all are of one kind.
    """

    def __init__(
        self,
        length: int,
        *,
        seed: int | None = None,
        batch_size: int = 1,
        kinds: Sequence[int] | None = None,
    ):
        self.length, self.seed, self.epoch, self.batch_size = length, seed, 0, batch_size
        several = kinds is not None and len(set(kinds)) > 1
        self.kinds = np.asarray(kinds) if several else None
        # an epoch, and how many of its samples lie behind: what a resumed run begins in
        self.done = (0, 0)

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch if self.seed is not None else 0

    def _share(self) -> tuple[range, bool]:
        """Places of this process, and whether it needs a sample of which nothing counts besides."""
        rank, world = _process()
        length = self.length
        if self.kinds is not None:
            size = self.batch_size * world
            _, counts = np.unique(self.kinds, return_counts=True)
            length = int((-(-counts // size)).sum()) * size
        own, most = range(rank, length, world), range(0, length, world)
        return own, math.ceil(len(own) / self.batch_size) < math.ceil(len(most) / self.batch_size)

    def __len__(self) -> int:
        own, lacks_one = self._share()
        return len(own) + lacks_one

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order, generator = np.arange(self.length), None
        if self.seed is not None:
            generator = sample_generator(self.seed, self.epoch, self.length)
            order = generator.permutation(self.length)
        if self.kinds is not None:
            order = self._in_batches_of_one_kind(order, generator)
        # a resumed run goes on behind the samples that its epoch has had
        done = self.done[1] if self.done[0] == self.epoch else 0
        own, lacks_one = self._share()
        keys = [(self.epoch, int(order[place])) for place in own]
        if lacks_one:
            keys.append((self.epoch, -1 - int(order[-1])))
        return iter(keys[done:])

    def _in_batches_of_one_kind(
        self, order: np.ndarray, generator: np.random.Generator | None
    ) -> np.ndarray:
        """The order with whole batches of all processes of one kind after another, filled up."""
        size = self.batch_size * _process()[1]
        batches = []
        for kind in dict.fromkeys(self.kinds[order].tolist()):
            indices = order[self.kinds[order] == kind]
            blanks = np.full(-len(indices) % size, -1 - indices[-1])
            batches.append(np.concatenate([indices, blanks]).reshape(-1, size))
        batches = np.concatenate(batches)
        # steps of all kinds take turns, or those at the end of an epoch would weigh the most
        return (batches if generator is None else generator.permutation(batches)).reshape(-1)


def _process() -> tuple[int, int]:
    """The number of this process, and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


class SequenceDataset(Dataset):
    """Cases in physical values -> normalised tensors; the only place numpy becomes torch.

    Args:
        cases: of one part of a data set.
        transform: see ``nowcast.types.transform``.
        context_length: frames that go in; the rest is target.
    """

    def __init__(self, cases: Cases, transform, *, context_length: int):
        self.cases, self.transform, self.context_length = cases, transform, context_length

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        """A batch of one sample, by its epoch and index.

        Of an index below 0, see ``EpochSampler``, nothing was observed in the target.
        """
        epoch, index = key
        counts = index >= 0
        place = (epoch, index if counts else -1 - index)
        values, observed = self.transform.normalise(self.cases.case(*place)[None, :, None])
        scale = self.cases.scale(*place)
        past, future = slice(None, self.context_length), slice(self.context_length, None)
        return Batch(
            context=values[:, past],
            target=values[:, future],
            context_observed=observed[:, past],
            target_observed=observed[:, future] & counts,
            key=torch.tensor([key]),
            scale=None if scale is None else Scale.of_samples([scale]),
        )


def loader(
    cases: Cases,
    transform,
    *,
    context_length: int,
    batch_size: int,
    workers: int = 0,
    seed: int | None = None,
) -> DataLoader:
    """Batches of ``SequenceDataset`` samples; shuffled and new every epoch where a seed is given.

    Args:
        cases: of one part of a data set.
        transform: see ``nowcast.types.transform``.
        context_length: frames that go in.
        batch_size: B.
        workers: processes that prepare batches.
        seed: of the order; None: cases come in their own.
    """
    dataset = SequenceDataset(cases, transform, context_length=context_length)
    kinds = [cases.kind_of(index) for index in range(len(cases))]
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), seed=seed, batch_size=batch_size, kinds=kinds),
        collate_fn=Batch.of_samples,
        num_workers=workers,
        persistent_workers=workers > 0,
        timeout=_TIMEOUT if workers else 0,
        pin_memory=torch.cuda.is_available(),
    )
