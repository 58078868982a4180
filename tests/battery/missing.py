"""Guarantees on missing data, times and grids: missing is never dry, and nothing about a frame is
assumed.
"""

import itertools

import numpy as np

from nowcast.data.archive import NewestFrames
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames, Grid
from tests.battery.foreign import write
from tests.battery.stage import Outcome, Stage, frames, network, rain

_MODELS = ("convlstm_small", "unet", "lagrangian", "simvp", "predrnn", "convgru_hko7")


def truth_table(stage: Stage) -> Outcome:
    """Missing is never dry: four context frames, each of them whole, in part missing, wholly
    missing or absent, and what may come of it.

    It rains everywhere, so that a dry pixel in a forecast was invented.
    """
    from nowcast.baselines.persistence import Persistence
    from nowcast.forecasting.forecaster import Forecaster
    from nowcast.types.task import Task
    from nowcast.types.transform import LogRainRate

    outcome, values = Outcome(), rain(4)
    persistence, learned = Forecaster(Persistence(), LogRainRate(), Task(4, 3, 5)), network()
    for states in itertools.product(("whole", "part", "none", "absent"), repeat=4):
        changed = values.copy()
        for index, state in enumerate(states):
            if state == "none":
                changed[index] = np.nan
            elif state == "part":
                changed[index, :, 7 + 3 * index : 15 + 3 * index] = np.nan
        there = [index for index, state in enumerate(states) if state != "absent"]
        name = " ".join(states)
        if len(there) < 4 or states[-1] == "none":
            if not there:
                outcome.count(True, name)
                continue
            source = frames(changed)
            given = Frames(source.values[there], source.times[there], source.grid)
            outcome.refused(lambda given=given: persistence(given), name)
            continue
        given = frames(changed)
        observed = np.isfinite(changed)
        kept, made = persistence(given), learned(given)
        ever = observed.any(axis=0)
        as_it_was = all(
            np.allclose(field, changed[-1], rtol=1e-4, equal_nan=True) for field in kept.values
        )
        outcome.count(
            as_it_was and kept.analysis_time == given.times[-1],
            f"{name}: persistence is not the last frame, or not of its time",
        )
        if not (np.isfinite(made.values) == ever).all():
            outcome.failures.append(
                f"{name}: the network has a forecast where nothing was observed, or none where "
                "something was"
            )
    return outcome


def poison(stage: Stage) -> Outcome:
    """Whatever lies under a mask, no forecast, loss or gradient changes by a bit."""
    import torch

    from nowcast.cli import config as configuration
    from nowcast.runtime.build import build_part

    outcome = Outcome()
    values = torch.from_numpy(
        np.stack([rain(10, 16, 16, seed=seed)[:, None] for seed in (1, 2)]) / 100
    ).float()
    observed = torch.from_numpy(stage.generator.random(values.shape) < 0.8) & values.isfinite()
    garbage = (0.0, 7.5, -3.0, 1e6)
    for name in _MODELS[: stage.number(4, 6)]:
        overrides = [
            "data=radar",
            "data.archive=none",
            f"model={name}",
            "task.context_length=4",
            "task.forecast_length=6",
        ]
        if name == "lagrangian":
            overrides = ["experiment=lagrangian", "task.context_length=4", "task.forecast_length=6"]
        torch.manual_seed(1)
        model = build_part(
            configuration.plain(configuration.compose("train", overrides)), "model"
        ).eval()
        results = [
            _forecast_and_gradient(
                model,
                torch.where(observed[:, :4], values[:, :4], under),
                observed[:, :4],
                values[:, 4:],
            )
            for under in garbage
        ]
        for under, result in zip(garbage[1:], results[1:]):
            outcome.count(
                all(torch.equal(a, b) for a, b in zip(result, results[0])),
                f"model={name} with {under:g} under the mask: another forecast or gradient",
            )
    forecast = torch.rand(2, 6, 1, 16, 16)
    for name in (
        "squared_error",
        "absolute_error",
        "weighted_error",
        "balanced_error",
        "cross_entropy",
    ):
        loss = build_part(
            configuration.plain(
                configuration.compose("train", ["data=radar", "data.archive=none", f"loss={name}"])
            ),
            "loss",
        )
        truth, seen = values[:, 4:].clamp(0, 1), observed[:, 4:]
        reference, *others = (
            loss.compare(forecast, torch.where(seen, truth, under), seen)
            for under in (0.0, 0.3, 0.9)
        )
        for other in others:
            outcome.count(
                torch.equal(other, reference), f"loss={name}: the values under the mask count"
            )
    transform = build_part(
        configuration.plain(configuration.compose("train", ["data=radar", "data.archive=none"])),
        "transform",
    )
    payloads = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0x7FFFFFFF], np.uint32).view(
        np.float32
    )
    normalised, mask = transform.normalise(payloads)
    outcome.count(not mask.any() and bool((normalised == 0).all()), "a NaN counts as observed")
    return outcome


def _forecast_and_gradient(model, context, observed, target):
    """A forecast and the gradient of its error, as tensors."""
    import torch

    model.zero_grad()
    prediction = model(context, target.shape[1], observed)
    if model.capabilities.probabilistic:
        logits, known = prediction.exceedance_logits(torch.tensor([0.3, 0.6]))
        forecast = torch.where(known[:, None], logits, 0.0)
        error = forecast.square().mean()
    else:
        forecast = prediction.point()
        error = (forecast - target.nan_to_num()).square().mean()
    error.backward()
    gradients = [
        parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None
    ]
    return forecast.detach(), torch.cat(gradients)


def order_and_grids(stage: Stage) -> Outcome:
    """Time, grid and names are checked: files in any order, twice, under any name give the same
    forecast; another grid is refused.
    """
    from nowcast.data.inputs import read_frames
    from nowcast.output.netcdf import read_forecast
    from nowcast.output.origin import origin_attributes
    from nowcast.output.writers import writer_for
    from nowcast.readers.auto import Auto

    outcome, values, reader = Outcome(), rain(6), NewestFrames(Auto(), 1)
    source, forecaster = frames(values), network()
    expected = forecaster(source)
    publish = writer_for("a.nc").write
    for case in range(12):
        names = stage.generator.permutation(6)
        paths = []
        for index, name in enumerate(names):
            path = stage.folder / f"case-{case}" / f"{name}.nc"
            path.parent.mkdir(exist_ok=True)
            _radar_file(path, source, index)
            paths.append(path)
            if index == case % 6:
                paths.append(path.with_name(f"again-{name}.nc"))
                _radar_file(paths[-1], source, index)
        made = forecaster(read_frames(sorted(paths), reader=reader, last=4))
        same = (
            np.allclose(made.values, expected.values, rtol=1e-5, equal_nan=True)
            and made.analysis_time == source.times[-1]
        )
        outcome.count(same, f"order {names.tolist()}: another forecast, of {made.analysis_time}")
    grid = source.grid
    other_crs = grid.crs.replace("+lon_0=10", "+lon_0=11")
    changes = [
        Grid(other_crs, grid.x, grid.y),
        Grid(grid.crs, grid.x + 1000, grid.y),
        Grid(grid.crs, grid.x - 500, grid.y),
        Grid(grid.crs, grid.x, grid.y + 1000),
        Grid(grid.crs, grid.x, grid.y - 250),
        Grid(grid.crs, grid.x * 2, grid.y),
        Grid(grid.crs, grid.x, grid.y * 2),
        Grid(grid.crs, grid.x * 1.01, grid.y),
        Grid(grid.crs, grid.x[:-1], grid.y),
        Grid(grid.crs, grid.x, grid.y[:-1]),
        Grid(grid.crs, grid.x[1:], grid.y),
        Grid(grid.crs, grid.x, grid.y[1:]),
    ]
    first = stage.folder / "case-0" / "grid-0.nc"
    _radar_file(first, source, 0)
    for case, changed in enumerate(changes):
        path = stage.folder / "case-0" / f"grid-{case + 1}.nc"
        _radar_file(
            path, Frames(np.zeros((6, *changed.shape), np.float32), source.times, changed), 1
        )
        outcome.refused(lambda path=path: read_frames([first, path], reader=reader), f"grid {case}")
    shown = expected
    for name in (
        b"two\nlines",
        b'it\'s "quoted"',
        b"..dots..",
        b"a" * 240,
        b"\xff\xfe not text",
        "höhe €".encode(),
        b"-option",
        b"${oc.env:HOME}",
        b"[1-3]*?",
        b"%s %d",
    ):
        folder = stage.folder / "names"
        folder.mkdir(exist_ok=True)
        path = folder / (name.decode("utf-8", "surrogateescape") + ".nc")
        try:
            origin = origin_attributes(
                model=path.name,
                model_sha256=None,
                analysis_time=shown.analysis_time,
                inputs=[(str(path), shown.analysis_time)],
            )
            publish(shown, path, attributes={"title": "battery"} | origin)
            outcome.count(
                np.array_equal(read_forecast(path).values, shown.values, equal_nan=True),
                f"{name!r}: other values",
            )
            _radar_file(path, source, 0)
            read_frames([path], reader=reader)
        except UserError as error:
            outcome.count("\n" not in " ".join(str(error).split()), f"{name!r}: {error}")
    return outcome


def _radar_file(path, source: Frames, index: int) -> None:
    """One frame as an archive of its own."""
    write(path, source[index : index + 1])
