"""What data cost: layouts lose nothing, loaders deliver what they are asked for, and the file says
so. No test of times.
"""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import torch

from nowcast.benchmark import data as benchmark_data
from nowcast.benchmark.data import Data, describe, layouts_of, synthetic_archive
from nowcast.benchmark.measuring import Host
from nowcast.benchmark.rain import moving_rain
from nowcast.cli import config, main
from nowcast.data.archive import Archive
from nowcast.data.packed_frames import layout
from nowcast.runtime.errors import UserError
from tests.factories import write_archive

SMALL = [
    "experiment=radar_quickstart",
    "data.crop=8",
    "data.samples_per_epoch=6",
    "data.crop_candidates=2",
    "training.batch_size=3",
    "model.hidden_channels=[2]",
]
DIGITS = ["experiment=smoke", "data.train_sequences=4", "model.hidden_channels=[2]"]
TINY = Data(
    rows=24, columns=20, frames=30, radar=SMALL, moving_mnist=DIGITS, workers=[0], seconds=0
)
HOST = Host(lambda overrides: config.plain(config.compose("train", overrides)), config.choices)


@pytest.fixture(scope="module")
def report():
    return TINY.run(HOST)


def test_a_synthetic_archive_is_made_up_rain_five_minutes_apart_in_steps_of_half_a_decibel(
    tmp_path,
):
    archive, rain = Archive(synthetic_archive(tmp_path / "a.nc", 4, 24, 20)), moving_rain(4, 24, 20)
    assert (
        archive.shape == (4, 24, 20)
        and set(np.diff(archive.times).astype(int)) == {300}
        and list(tmp_path.iterdir()) == [tmp_path / "a.nc"]
    )
    stored = archive.read(0, 4)
    np.testing.assert_array_equal(np.isnan(stored), np.isnan(rain))
    wet = np.nan_to_num(rain) > 0
    assert (
        np.abs(16 * np.log10(stored[wet] / rain[wet])).max() < 0.26
        and (stored[~wet & ~np.isnan(rain)] == 0).all()
    )  # Z = 200 R^1.6


def test_layouts_are_different_and_that_of_convert_is_one_of_them(tmp_path):
    found = list(layouts_of(100, 765, 700))
    assert all(stored not in found[:place] for place, stored in enumerate(found))
    assert [stored["chunks"] for stored in found][:2] == [None, (1, 765, 700)]
    assert {(1, 255, 234), (1, 128, 117), (1, 64, 64), (1, 32, 32), (4, 64, 64), (16, 32, 32)} < {
        stored["chunks"] for stored in found
    }
    assert layout(765, 700) in found
    with h5py.File(
        write_archive(tmp_path / "a.nc", np.zeros((2, 100, 70), np.float32), (0, 5))
    ) as file:
        stored = {
            name: getattr(file["rainfall_rate"], name)
            for name in ("chunks", "compression", "compression_opts", "shuffle")
        }
    assert stored == layout(100, 70) and stored in list(layouts_of(2, 100, 70))


def test_a_layout_is_told_in_words():
    assert describe({"chunks": None}) == "contiguous"
    assert describe({"chunks": (1, 2, 3)}) == "1x2x3"
    assert (
        describe(
            {"chunks": (4, 64, 64), "compression": "gzip", "compression_opts": 4, "shuffle": True}
        )
        == "4x64x64 gzip 4, shuffled"
    )


def test_every_layout_holds_every_bit(tmp_path):
    values = moving_rain(6, 24, 20)
    place = (slice(1, 5), slice(3, 11), slice(7, 15))
    for stored in layouts_of(*values.shape):
        *_, candidate = TINY._timings(values, stored, [place], tmp_path / "a.h5")
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["rates"][()], values)
            assert file["rates"].chunks == stored["chunks"]
        assert candidate > 0


def test_every_layout_has_four_times_and_its_size_and_the_one_in_use_is_marked(report):
    layouts = [record for record in report.records if record["case"] == "archive"]
    names = list(dict.fromkeys(record["implementation"] for record in layouts))
    assert [(record["implementation"], record["phase"]) for record in layouts] == [
        (name, phase)
        for name in names
        for phase in ("write", "read_frame", "read_crop", "read_candidate")
    ]
    assert [name for name in names if name.endswith(" *")] == ["1x24x20 gzip 4 *"]
    size = next(record["bytes"] for record in layouts if record["implementation"] == "contiguous")
    assert 30 * 24 * 20 * 4 <= size < 30 * 24 * 20 * 4 + 8192
    assert all(
        list(record)
        == ["case", "implementation", "precision", "phase", "milliseconds", "bytes", "frames"]
        for record in layouts
    )


def test_loaders_are_held_against_the_training_step_of_their_configuration(report):
    loaders = [record for record in report.records if record["case"] != "archive"]
    assert [(record["case"], record["implementation"]) for record in loaders] == [
        ("radar_quickstart", "training step"),
        ("radar_quickstart", "from memory"),
        ("radar_quickstart", "from the file"),
        ("moving_mnist", "training step"),
        ("moving_mnist", "generated"),
    ]
    step, memory = loaders[:2]
    assert (
        step["sequences_per_second"] == pytest.approx(1000 * 3 / step["milliseconds"])
        and step["phase"] == "train"
    )
    assert memory["workers"] == 0 and memory["phase"] == "load"
    assert memory["milliseconds"] == pytest.approx(1000 * 3 / memory["sequences_per_second"])
    assert memory["ratio"] == pytest.approx(
        memory["sequences_per_second"] / step["sequences_per_second"]
    )


def test_an_archive_too_large_for_memory_is_measured_from_the_file_alone(tmp_path):
    path = synthetic_archive(tmp_path / "a.nc", 30, 24, 20)
    report = dataclasses.replace(TINY, archive=str(path), radar=[*SMALL, "data.memory_mb=0"]).run(
        HOST
    )
    assert [
        record["implementation"]
        for record in report.records
        if record["case"] == "radar_quickstart"
    ] == ["training step", "from the file"]
    assert report.facts == {"source": str(path)} and "a.nc" in report.tables[0].title


def test_every_call_is_a_whole_epoch_of_its_own():
    class Batches(list):
        sampler = type(
            "Sampler",
            (),
            {"epochs": [], "set_epoch": lambda self, epoch: self.epochs.append(epoch)},
        )()

    epochs = benchmark_data._Epochs(
        Batches([{"context": torch.zeros(5)}, {"context": torch.zeros(2)}])
    )
    epochs(), epochs()
    assert epochs.sequences == 7 and epochs.batches.sampler.epochs == [0, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rows": 0}, "rows is 0; a whole number, at least 1"),
        ({"seconds": -1}, "seconds is -1; a number, 0 or more"),
        ({"workers": []}, "workers is \\[\\]; a list of whole numbers, 0 or more"),
        ({"workers": [0, True]}, "workers is \\[0, True\\]; a list of whole numbers"),
    ],
)
def test_a_load_that_makes_no_sense_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Data(**settings)


def test_frames_without_a_training_case_are_refused(tmp_path):
    path = synthetic_archive(tmp_path / "a.nc", 30, 24, 20)
    with pytest.raises(
        UserError,
        match="frames is 15; the first so many frames of .*a.nc hold no training case, give more",
    ):
        dataclasses.replace(TINY, archive=str(path), frames=15).run(HOST)


def test_the_command_prints_both_tables_and_writes_the_file(tmp_path, capsys):
    small = [
        f"what.{name}={getattr(TINY, name)}" for name in ("rows", "columns", "frames", "seconds")
    ]
    lists = [
        f"what.{name}={json.dumps(value)}"
        for name, value in (("radar", SMALL), ("moving_mnist", DIGITS), ("workers", [0, 1]))
    ]
    main(["benchmark", "what=data", f"output_dir={tmp_path}/out", *small, *lists])
    content = json.loads((tmp_path / "out" / "benchmark.json").read_text())
    assert content["settings"]["source"] == "synthetic rain" and content["failed"] == {}
    assert {record.get("workers") for record in content["records"]} == {None, 0, 1}
    text = capsys.readouterr().out
    assert (
        "layouts of an archive, synthetic rain" in text
        and "1x24x20 gzip 4 *" in text
        and "from memory" in text
    )
