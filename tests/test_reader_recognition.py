"""No file is claimed by two readers."""

import numpy as np
import pytest

from nowcast.readers.fmi_pgm import FmiPgm
from nowcast.readers.geotiff import GeoTiff
from nowcast.readers.knmi_hdf5 import KnmiHdf5
from nowcast.readers.mch_gif import MchGif
from nowcast.readers.meteonet import MeteoNet
from nowcast.readers.nimrod import Nimrod
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.readers.radolan import Radolan
from tests.factories import shared_data, write_knmi, write_odim
from tests.factories_nimrod import write_nimrod
from tests.test_reader_fmi_pgm import write_pgm
from tests.test_reader_geotiff import write_tif
from tests.test_reader_mch_gif import write_gif
from tests.test_reader_meteonet import write_meteonet
from tests.test_reader_radolan import write_radolan

READERS = {
    "knmi": KnmiHdf5(),
    "odim": OdimHdf5(),
    "gif": MchGif(),
    "pgm": FmiPgm(),
    "tif": GeoTiff(),
    "radolan": Radolan(),
    "nimrod": Nimrod(),
    "npz": MeteoNet(),
}
SMALL = {
    "knmi": lambda folder: write_knmi(folder / "a", [[1]]),
    "odim": lambda folder: write_odim(folder / "a", [[1.0]]),
    "gif": lambda folder: write_gif(folder / "a"),
    "pgm": lambda folder: write_pgm(folder / "a", [[1]]),
    "tif": lambda folder: write_tif(folder / "a", np.uint8([[1]])),
    "radolan": lambda folder: write_radolan(folder / "a"),
    "nimrod": lambda folder: write_nimrod(folder / "a", [[1]]),
    "npz": lambda folder: write_meteonet(folder, [[[1]]], name="a"),
}


def claims(path):
    return [name for name, reader in READERS.items() if reader.recognises(path)]


@pytest.mark.parametrize("kind", SMALL)
def test_a_small_file_is_recognised_by_its_own_reader_only_whatever_its_name(tmp_path, kind):
    assert claims(SMALL[kind](tmp_path)) == [kind]


def test_every_real_file_is_recognised_by_its_own_reader_only():
    folders = {
        "knmi": "knmi", "opera": "odim", "mch": "gif", "fmi/20160928/pgm": "pgm", "fmi/20160928/geotiff": "tif", "dwd": "radolan", "meteofrance": "npz",
        "bom": None, "ukmo": None,
    }  # fmt: skip
    seen = 0
    for folder, kind in folders.items():
        for path in sorted(
            path for path in (shared_data() / "radar" / folder).rglob("*") if path.is_file()
        )[::7]:
            expected = [kind] if kind and "coords" not in path.name else []
            assert claims(path) == expected, path
            seen += 1
    assert seen >= 45


def test_text_and_nothing_are_recognised_by_nobody(tmp_path):
    (tmp_path / "text").write_text("no radar data\n" * 100)
    (tmp_path / "empty").touch()
    assert [claims(tmp_path / name) for name in ("text", "empty", "none", ".")] == [[]] * 4
