"""Synthetic rain beside rain: the statistics are those of known fields."""

import json

import numpy as np
import pytest

from nowcast.benchmark.synthetic import RATES, WIDTHS, Likeness, statistics_of
from nowcast.cli import main
from nowcast.runtime.errors import UserError
from tests.factories import write_archive


def wandering(frames, *, noise=0.0, side=64):
    """Cells that move two pixels to the right in a frame, with noise that is new in every one of
    them.
    """
    y, x = np.mgrid[:side, :side]
    centres = np.random.default_rng(0).uniform(0, side, (12, 2))
    blobs = sum(np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 18) for cx, cy in centres) * 8
    generator = np.random.default_rng(1)
    return np.stack(
        [
            np.roll(blobs, 2 * index, axis=1) * np.exp(noise * generator.normal(size=(side, side)))
            for index in range(frames)
        ]
    ).astype(np.float32)


def test_rain_that_only_moves_stays_correlated_and_noise_does_not():
    lasting, noisy = (
        statistics_of(wandering(8, noise=noise))["correlation"] for noise in (0.0, 2.0)
    )
    assert lasting.shape == (len(WIDTHS) - 1, 4)
    assert lasting[1:].min() > 0.8 and noisy[0].max() < 0.6


def test_exceedance_is_the_share_of_pixels():
    window = np.zeros((6, 64, 64), np.float32)
    window[:, :16], window[:, :4] = 0.5, 5.0
    assert statistics_of(window)["exceedance"].tolist() == [
        0.25 if rate <= 0.5 else 0.0625 if rate <= 5 else 0.0 for rate in RATES
    ]


def test_the_benchmark_prints_stores_and_draws(tmp_path, capsys):
    archive = write_archive(tmp_path / "cells.nc", wandering(10), range(0, 50, 5))
    main(
        [
            "benchmark",
            "what=synthetic",
            f"what.archives={archive}",
            "what.windows=2",
            "what.side=48",
            "what.leads=4",
            f"output_dir={tmp_path}/out",
        ]
    )
    records = {
        record["case"]: record
        for record in json.loads((tmp_path / "out" / "benchmark.json").read_text())["records"]
    }
    assert set(records) == {"synthetic rain", "cells"} and records["cells"]["windows"] == 2
    assert (tmp_path / "out" / "benchmark.png").read_bytes()[:4] == b"\x89PNG"
    assert "cells (2)" in capsys.readouterr().out


def test_archives_without_a_window_are_refused(tmp_path):
    archive = write_archive(tmp_path / "a.nc", wandering(10), range(0, 50, 5))
    with pytest.raises(UserError, match="holds no 16 frames in a row of at least 48 pixels a side"):
        Likeness(str(archive), windows=1, side=48).run(host())
    dry = write_archive(tmp_path / "dry.nc", np.zeros((10, 64, 64)), range(0, 50, 5))
    with pytest.raises(
        UserError,
        match="dry has no window of 48 pixels a side that was observed completely and is wet in 5%",
    ):
        Likeness(str(dry), windows=1, side=48, leads=4).run(host())


def host():
    from nowcast.benchmark.measuring import Host

    return Host(lambda overrides: {}, lambda group: [])
