"""What the tests of all readers do: compare a real file with its independently decoded numbers, cut
files short.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from nowcast.cli.config import folder
from nowcast.readers.auto import Auto
from nowcast.runtime.build import build
from nowcast.runtime.errors import UserError
from nowcast.types.frames import Frames
from tests.factories import shared_data


def first_real_file(name: str) -> tuple[Path, dict]:
    """(the first file of a real set, what it holds by an independent decoding); the test is skipped
    where there is none.
    """
    expected = json.loads((shared_data() / "reference.json").read_text())[name]
    return shared_data() / expected["file"], expected


def read_and_compare(reader, name: str) -> Frames:
    """The first real file of a set, after its first frame was found equal to the reference to the
    last digit given.
    """
    path, expected = first_real_file(name)
    assert reader.recognises(path)
    frames = reader.read(path)
    first = frames.values[0]
    observed = first[~np.isnan(first)].astype(np.float64)
    assert list(first.shape) == expected["shape"]
    assert np.isnan(first).sum() == expected["missing_px"]
    assert observed.max() == pytest.approx(expected["max_mm_h"], abs=5e-4)
    assert observed.mean() == pytest.approx(expected["mean_mm_h_valid"], abs=5e-6)
    assert (observed >= np.float32(0.1)).mean() == pytest.approx(
        expected["frac_ge_0p1_valid"], abs=5e-6
    )
    assert (observed >= 1).mean() == pytest.approx(expected["frac_ge_1_valid"], abs=5e-6)
    assert frames.times[0] == np.datetime64(expected["valid_time_utc"])
    return frames


def case(name: str) -> Path:
    """A real file that was read wrongly or not at all; the test is skipped where it is not."""
    path = shared_data() / "cases" / name
    if not path.exists():
        pytest.skip(f"{path.name} is not here")
    return path


def read_case(
    name: str, *, time: str, missing: int, highest: float, mean: float | None, wet: float | None
) -> Frames:
    """The frames of such a file, of which the first was decoded independently."""
    frames = Auto().read(case(name))
    values = frames.values[0]
    observed = values[~np.isnan(values)].astype(np.float64)
    assert frames.times.tolist() == [np.datetime64(time, "s").item()]
    assert np.isnan(values).sum() == missing
    assert observed.max() == pytest.approx(highest, rel=1e-5)
    if mean is not None:
        assert observed.mean() == pytest.approx(mean, rel=1e-6)
        assert (observed >= np.float32(0.1)).mean() == pytest.approx(wet, rel=1e-6)
    return frames


def cut_everywhere(reader, whole: Path, *, cuts: int = 60) -> int:
    """Cut a file at many lengths, the last bytes among them: each part is refused in one line that
    names it, or is all there.

    Returns:
        How many parts were refused.
    """
    content, expected = whole.read_bytes(), reader.read(whole).values
    part = whole.parent / "cut" / whole.name
    part.parent.mkdir()
    refused = 0
    for length in sorted(
        {
            *range(0, len(content), max(1, len(content) // cuts)),
            *range(max(0, len(content) - 6), len(content)),
        }
    ):
        part.write_bytes(content[:length])
        assert reader.recognises(part) in (True, False)
        try:
            np.testing.assert_array_equal(reader.read(part).values, expected)
        except UserError as error:
            assert str(part) in str(error) and "\n" not in str(error)
            refused += 1
    return refused


def from_settings_file(name: str):
    """The reader that conf/reader/<name>.yaml describes."""
    import yaml

    return build(yaml.safe_load((folder() / "reader" / f"{name}.yaml").read_text()), "reader")
