"""Guarantees of the data path: every sample once, the same batches whoever prepares them, and data
larger than memory.
"""

import numpy as np

from nowcast.benchmark.measuring import resident
from tests.battery import workers
from tests.battery.foreign import archive
from tests.battery.stage import Outcome, Stage, rain


def processes(stage: Stage) -> Outcome:
    """Every sample exactly once in an epoch, with one process, two, and one again."""
    outcome, length = Outcome(), 64
    seen: dict[int, list] = {}
    for turn, (world, epochs) in enumerate(((1, [0, 1]), (2, [2, 3, 4]), (1, [5]))):
        address = f"file://{stage.folder}/meeting-{turn}"
        shares = _shares(stage, world, address, epochs, length)
        for place, epoch in enumerate(epochs):
            seen[epoch] = [key for share in shares for key in share[place]]
    for epoch, keys in seen.items():
        outcome.count(
            sorted(keys) == [(epoch, index) for index in range(length)],
            f"epoch {epoch}: {len(keys)} keys, {len(set(keys))} of them different",
        )
    for epoch in list(seen)[1:]:
        outcome.count(
            [index for _, index in seen[epoch]] != [index for _, index in seen[epoch - 1]],
            f"epochs {epoch - 1} and {epoch} have one order",
        )
    return outcome


def _shares(stage: Stage, world: int, address: str, epochs: list[int], length: int) -> list:
    """What each of several processes draws."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        pipes = [
            stack.enter_context(
                stage.process(workers.keys_of_epochs, rank, world, address, epochs, length)
            )[1]
            for rank in range(world)
        ]
        return [pipe.recv() for pipe in pipes]


def batches(stage: Stage) -> Outcome:
    """The same batches for 0, 1, 2 and 4 workers, forked or started anew."""
    import torch

    from nowcast.data.sampling import loader
    from nowcast.types.transform import Identity

    outcome, reference = Outcome(), None
    for workers_, method in (
        (0, None),
        (2, "fork"),
        (1, "spawn"),
        (1, "fork"),
        (4, "fork"),
        (2, "spawn"),
        (4, "spawn"),
    )[: stage.number(3, 7)]:
        found = loader(
            workers.Noise(24), Identity(), context_length=2, batch_size=4, workers=workers_, seed=5
        )
        if method is not None:
            found.multiprocessing_context = method
        drawn = []
        for epoch in (0, 1):
            found.sampler.set_epoch(epoch)
            for batch in found:
                tensors = [value for value in vars(batch).values() if value is not None]
                drawn.append(torch.cat([value.flatten().double() for value in tensors]))
        reference = reference or drawn
        same = len(drawn) == len(reference) and all(
            torch.equal(a, b) for a, b in zip(drawn, reference)
        )
        outcome.count(same, f"{workers_} workers, {method}: other batches")
        del found
    return outcome


def larger_than_memory(stage: Stage) -> Outcome:
    """Data ten times larger than the memory they may take: an archive is read and learnt from, and
    memory stays far below its size.
    """
    import torch

    from nowcast.data.archive import Archive
    from nowcast.data.radar import Radar
    from nowcast.data.sampling import loader
    from nowcast.types.task import Task
    from nowcast.types.transform import LogRainRate

    outcome = Outcome()
    copies = stage.number(60, 200)
    path = archive(stage.folder / "large.nc", rain(8, 512, 512), copies=copies)
    size = 8 * copies * 512 * 512 * 4
    data = Radar(
        path, Task(4, 4, 5), 1, crop=64, samples_per_epoch=256, validation_samples=4, memory_mb=0
    )
    torch.set_num_threads(1)
    before = resident("self") or 0
    highest = before
    for count, batch in enumerate(
        loader(data.part("train"), LogRainRate(), context_length=4, batch_size=8, seed=1)
    ):
        outcome.count(
            batch.context.shape == (8, 4, 1, 64, 64), f"batch {count}: {tuple(batch.context.shape)}"
        )
        highest = max(highest, resident("self") or 0)
    with Archive(path) as source:
        for index in range(len(source)):
            field = source.read(index, index + 1)
            highest = max(highest, resident("self") or 0)
    outcome.count(
        np.isfinite(field).any() and highest - before < size / 10,
        f"memory grew by {(highest - before) / 1e6:,.0f} MB on {size / 1e6:,.0f} MB of data",
    )
    outcome.note = f"{(highest - before) / 1e6:,.0f} MB for {size / 1e6:,.0f} MB"
    return outcome
