"""Randomness as a pure function of (seed, epoch, sample index).

No generator is carried from sample to sample, so any number of workers draws the same batches, two runs with one seed
are identical, and a resumed run goes on exactly where the uninterrupted one would be.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler


def sample_generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample."""
    return np.random.default_rng(np.random.SeedSequence([seed, epoch, index]))


_TIMEOUT = 600.0  # seconds that a process may take for a batch


class EpochSampler(Sampler):
    """Keys (epoch, index) of one epoch, each index once, split over the processes of a distributed run (a
    remainder that cannot be split evenly is left out there).

    Args:
        length: number of samples in an epoch.
        seed: of the shuffled order; None keeps the order 0, 1, 2, ... and the epoch 0.
    """

    def __init__(self, length: int, *, seed: int | None = None):
        self.length, self.seed, self.epoch = length, seed, 0
        self.done = (0, 0)  # an epoch, and how many of its samples lie behind: what a resumed run begins in

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch if self.seed is not None else 0

    def _share(self) -> range:
        """Places of this process; all processes get equally many, or they would wait for each other for ever."""
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank, world = (torch.distributed.get_rank(), torch.distributed.get_world_size()) if distributed else (0, 1)
        return range(rank, self.length // world * world, world)

    def __len__(self) -> int:
        return len(self._share())

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.length)
        if self.seed is not None:
            order = sample_generator(self.seed, self.epoch, self.length).permutation(self.length)
        done = self.done[1] if self.done[0] == self.epoch else 0
        return iter([(self.epoch, int(order[place])) for place in self._share()[done:]])


class SequenceDataset(Dataset):
    """Cases in physical values -> normalised tensors for training. The only place numpy becomes torch for training.

    Args:
        cases: has ``len()`` and ``case(epoch, index) -> (T, H, W)`` values with NaN for "not observed"; where its frames have a scale, also
            ``scale(epoch, index) -> (minutes between frames, kilometres between pixels)``.
        transform: see ``nowcast.transform``.
        context_length: frames that go in; the rest is target.
    """

    def __init__(self, cases, transform, *, context_length: int):
        self.cases, self.transform, self.context_length = cases, transform, context_length

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, torch.Tensor]:
        """One sample, tensors (T, 1, H, W): context, target and what was observed of each; (2,) its key, and its scale, where it has one."""
        values, observed = self.transform.normalise(self.cases.case(*key)[:, None])
        past, future = slice(None, self.context_length), slice(self.context_length, None)
        scale = {"scale": torch.tensor(self.cases.scale(*key))} if hasattr(self.cases, "scale") else {}
        return scale | {
            "key": torch.tensor(key),
            "context": values[past],
            "context_observed": observed[past],
            "target": values[future],
            "target_observed": observed[future],
        }


def loader(cases, transform, *, context_length: int, batch_size: int, workers: int = 0, seed: int | None = None) -> DataLoader:
    """Batches of ``SequenceDataset`` samples, (B, T, 1, H, W) each; shuffled and new every epoch where a seed is given."""
    dataset = SequenceDataset(cases, transform, context_length=context_length)
    return DataLoader(
        dataset,
        batch_size=batch_size,
        sampler=EpochSampler(len(dataset), seed=seed),
        num_workers=workers,
        persistent_workers=workers > 0,
        timeout=_TIMEOUT if workers else 0,
        pin_memory=torch.cuda.is_available(),
    )
