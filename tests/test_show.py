"""nowcast show: whatever a forecast was written as, and whoever wrote it, becomes a page; and the
pages of predict and replay.
"""

import json
import os
import re
import stat
import subprocess
import sys

import numpy as np
import pytest
import xarray
from factories import grid, shared_data, times, write_archive, write_odim

from nowcast.cli import main, show
from nowcast.forecasting.products import derive
from nowcast.output.geotiff import read_geotiff, write_geotiff
from nowcast.output.netcdf import read_products, write_forecast
from nowcast.output.odim import write_odim as write_odim_forecast
from nowcast.page import opened
from nowcast.readers.auto import Auto
from nowcast.readers.odim_hdf5 import OdimHdf5
from nowcast.runtime.errors import IsForecast, UserError
from nowcast.types.frames import Forecast, Frames


def forecast(leads=3, members=None, analysis=5):
    """Rates of 1, 2, 3, ... mm/h on 20 x 30 pixels, the first column without a forecast."""
    values = np.ones((leads, 20, 30), np.float32) * np.arange(1, leads + 1)[:, None, None]
    values[:, :, 0] = np.nan
    drawn = None if members is None else np.stack([values * (k + 1) for k in range(members)])
    steps = np.arange(1, leads + 1) * np.timedelta64(300, "s")
    return Forecast(values, times(analysis)[0], steps, grid(20, 30), members=drawn)


def context(until=5):
    return Frames(np.full((2, 20, 30), 2.0, np.float32), times(until - 5, until), grid(20, 30))


def look(inputs, last=36):
    return opened.open_files(inputs, reader=Auto(), last=last)


def layers(found):
    return [layer.title for layer in found.content.layers]


def rates(found):
    """The rain rate in the middle of each frame."""
    return [float(field[10, 15]) for field in found.content.layers[0].fields]


def test_all_of_a_netcdf_forecast_is_read_again(tmp_path):
    made = derive(forecast(members=4), context(), thresholds=[0.5, 2.0])
    write_forecast(made, tmp_path / "a.nc", attributes={})
    found = read_products(tmp_path / "a.nc")
    np.testing.assert_array_equal(found.forecast.values, made.forecast.values)
    np.testing.assert_array_equal(found.forecast.members, made.forecast.members)
    np.testing.assert_array_equal(found.depth, made.depth)
    np.testing.assert_allclose(found.probability, made.probability, atol=0.005)
    np.testing.assert_array_equal(found.quality, made.quality)
    assert found.thresholds == (0.5, 2.0) and found.probability_source == "ensemble"


def test_a_netcdf_forecast_with_fields_that_do_not_fit_each_other_is_refused(tmp_path):
    import h5py

    made = derive(forecast(), context(), thresholds=[0.5, 2.0])
    write_forecast(made, tmp_path / "a.nc", attributes={})
    with h5py.File(tmp_path / "a.nc", "r+") as file:
        del file["rain_depth"]
        file["rain_depth"] = np.zeros((2, 20, 30), np.float32)
    with pytest.raises(UserError, match="expected the same fields: fetch it again"):
        read_products(tmp_path / "a.nc")


def test_what_nowcast_wrote_is_shown_with_what_is_in_it_and_where_it_comes_from(tmp_path):
    made = derive(forecast(), context(), thresholds=[1.0])
    about = {"title": "Mine", "source": "nowcast 9, run a", "method": "persistence"}
    write_forecast(made, tmp_path / "a.nc", attributes=about | {"fallback_reason": "no frame"})
    found = look(tmp_path / "a.nc")
    assert found.title == "Rain forecast" and rates(found) == [1, 2, 3]
    assert layers(found) == ["Rain rate", "Rain since the analysis time", "Probability ≥ 1 mm/h"]
    assert found.about[:5] == [
        ("File", "a.nc"),
        ("Title", "Mine"),
        ("Made by", "nowcast 9, run a"),
        ("Method", "persistence"),
        ("Fallback because", "no frame"),
    ]
    write_forecast(forecast(), tmp_path / "b.nc", attributes={})
    assert layers(look(tmp_path / "b.nc")) == ["Rain rate", "Rain since the analysis time"]


def test_a_geotiff_of_nowcast_is_read_and_shown(tmp_path):
    write_geotiff(forecast(), tmp_path / "a.tif", attributes={"title": "Mine"})
    found, tags = read_geotiff(tmp_path / "a.tif")
    np.testing.assert_array_equal(found.values, forecast().values)
    assert found.analysis_time == times(5)[0] and list(found.lead_times) == list(
        forecast().lead_times
    )
    assert found.grid.difference(grid(20, 30)) is None and tags["title"] == "Mine"
    assert rates(look(tmp_path / "a.tif")) == [1, 2, 3]


def test_a_geotiff_without_its_times_is_refused(tmp_path):
    import rasterio

    write_geotiff(forecast(), tmp_path / "a.tif", attributes={})
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(2, valid_time="soon")
    with pytest.raises(UserError, match="does not say in its tags what it was made from"):
        look(tmp_path / "a.tif")


@pytest.mark.parametrize("typed", ["a.h5", "a_*.h5", "[a_005min.h5,a_015min.h5,a_010min.h5]", "."])
def test_odim_files_of_all_lead_times_are_one_forecast(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    write_odim_forecast(forecast(), "a.h5", attributes={"model": "mine"})
    found = look(typed)
    assert rates(found) == [1, 2, 3] and found.content.analysis_time == times(5)[0]
    assert np.isnan(found.content.layers[0].fields[0][:, 0]).all()
    assert rates(look("a_010min.h5")) == [2]


def test_of_several_forecasts_as_odim_files_the_newest_is_shown(tmp_path):
    write_odim_forecast(forecast(), tmp_path / "a.h5", attributes={})
    write_odim_forecast(forecast(leads=2, analysis=60), tmp_path / "b.h5", attributes={})
    found = look(str(tmp_path / "*.h5"))
    assert rates(found) == [1, 2] and found.content.analysis_time == times(60)[0]


def test_odim_files_on_two_grids_are_refused(tmp_path):
    other = Forecast(np.ones((1, 21, 30)), times(5)[0], forecast(1).lead_times, grid(21, 30))
    write_odim_forecast(forecast(1), tmp_path / "a.h5", attributes={})
    write_odim_forecast(other, tmp_path / "b.h5", attributes={})
    with pytest.raises(UserError, match="is of another forecast than .*; give the files of one"):
        look(str(tmp_path / "*.h5"))


def test_a_service_s_odim_forecast_begins_at_its_nominal_time(tmp_path):
    path = shared_data() / "cases" / "C03_dwd_rv_forecast"
    with OdimHdf5().forecast(path / "composite_rv_20250923_0855_050-hd5") as predicted:
        assert str(predicted.analysis_time) == "2025-09-23T08:55:00"
        assert [str(time) for time in predicted.valid_times] == ["2025-09-23T09:45:00"]
        assert np.nanmax(predicted.values()) == pytest.approx(27.228, abs=1e-3)
    found = look(path)  # with the lead time of 0, which was observed
    assert found.content.observed_frames == 1 and len(found.content.times) == 2
    assert found.content.times[1] - found.content.times[0] == np.timedelta64(50, "m")
    # alone, the lead time of 0 is what it is: an observation
    assert look(path / "composite_rv_20250923_0855_000-hd5").title == "Rain observed by radar"


def test_files_of_a_forecast_without_a_later_field_are_refused(tmp_path):
    write_odim_forecast(forecast(1), tmp_path / "a.h5", attributes={})
    import h5py

    with h5py.File(tmp_path / "a_005min.h5", "r+") as file:
        file["how"].attrs["analysis_time"] = "2020-06-01T00:10:00Z"
    with pytest.raises(UserError, match="has no field after 2020-06-01T00:10:00 UTC"):
        look(tmp_path / "a_005min.h5")


def test_an_odim_file_that_ends_before_it_begins_is_refused(tmp_path):
    write_odim_forecast(forecast(1), tmp_path / "a.h5", attributes={})
    import h5py

    with h5py.File(tmp_path / "a_005min.h5", "r+") as file:
        file["how"].attrs["analysis_time"] = "2020-06-01T09:00:00Z"
    with pytest.raises(UserError, match="expected a forecast, whose field ends after what/date"):
        look(tmp_path / "a_005min.h5")


@pytest.mark.parametrize("members", [None, 3])
def test_another_system_s_netcdf_is_shown_with_the_probabilities_of_its_members(tmp_path, members):
    path = tmp_path / "other.nc"
    data = forecast(members=members).to_xarray()
    name = "rainfall_rate" if members is None else "rainfall_rate_members"
    axes = {"time": data["time"].attrs, name: data[name].attrs}
    dims = data[name].dims
    simple = xarray.Dataset(
        {name: (dims, data[name].values, {"standard_name": "rainfall_rate", "units": "mm/h"})},
        {
            "time": ("time", data["time"].values, {"standard_name": "time"}),
            "y": (
                "y",
                data["y"].values,
                {"standard_name": "projection_y_coordinate", "units": "m"},
            ),
            "x": (
                "x",
                data["x"].values,
                {"standard_name": "projection_x_coordinate", "units": "m"},
            ),
            "forecast_reference_time": (
                (),
                np.datetime64(times(5)[0], "ns"),
                {"standard_name": "forecast_reference_time"},
            ),
        },
    )
    assert axes
    simple[name].attrs["grid_mapping"] = "crs"
    simple["crs"] = ((), 0, dict(data["crs"].attrs))
    if members is not None:
        simple = simple.assign_coords(
            realization=("realization", np.arange(members), {"standard_name": "realization"})
        )
    simple.to_netcdf(path, engine="h5netcdf")
    found = look(path)
    if members is None:
        assert rates(found) == [1, 2, 3]
        assert layers(found) == ["Rain rate", "Rain since the analysis time"]
    else:
        assert rates(found) == [2, 4, 6]  # the mean of 1, 2 and 3 times
        assert layers(found)[1:4] == [f"Member {k} of 3" for k in (1, 2, 3)]
        share = found.content.layers[-1]
        assert share.title == "Probability ≥ 5 mm/h"
        # 3, 6 and 9 mm/h at the last lead
        assert share.fields[2][10, 15] == pytest.approx(2 / 3)


def test_an_archive_and_radar_files_are_observations_the_newest_of_which_are_shown(tmp_path):
    values = np.ones((5, 20, 30)) * np.arange(1, 6)[:, None, None]
    write_archive(tmp_path / "a.nc", values, range(0, 25, 5))
    found = look(tmp_path / "a.nc", last=2)
    assert found.title == "Rain observed by radar" and rates(found) == [4, 5]
    assert found.content.observed_frames == 2
    write_odim(tmp_path / "radar.h5", np.ones((8, 9)))
    assert look(tmp_path / "radar.h5").content.observed_frames == 1


def test_the_folder_of_a_watch_is_its_latest_forecast(tmp_path):
    for name, leads in (("forecast_1.nc", 2), ("forecast_2.nc", 3)):
        write_forecast(forecast(leads), tmp_path / name, attributes={})
    os.symlink("forecast_2.nc", tmp_path / "latest.nc")
    (tmp_path / "status.json").write_text("{}")
    assert rates(look(tmp_path)) == [1, 2, 3]


def test_of_a_watch_that_writes_odim_alone_the_newest_cycle_is_shown(tmp_path):
    for cycle, leads in (("20200601T000500Z", 3), ("20200601T001000Z", 2)):
        made = forecast(leads, analysis=5 * leads)
        write_odim_forecast(made, tmp_path / f"forecast_{cycle}.h5", attributes={})
    (tmp_path / "status.json").write_text("{}")
    assert rates(look(tmp_path)) == [1, 2]


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (3, 1500), (2, 2)])
def test_a_grid_of_any_shape_makes_a_page(tmp_path, shape):
    values = np.full((2, *shape), np.nan)
    values[0] = 1
    made = Forecast(values, times(5)[0], forecast(2).lead_times, grid(*shape))
    write_forecast(made, tmp_path / "a.nc", attributes={})
    main(["show", str(tmp_path / "a.nc"), f"output={tmp_path}/p.html", "open=false"])
    facts = shown(tmp_path / "p.html")["grid"]
    assert facts["width"] == min(shape[1], 1000)


def test_several_files_with_a_forecast_among_them_are_refused(tmp_path):
    write_geotiff(forecast(), tmp_path / "a.tif", attributes={})
    write_geotiff(forecast(), tmp_path / "b.tif", attributes={})
    with pytest.raises(UserError, match="are 2 files with a forecast among them; a page shows one"):
        look(tmp_path)


def test_a_forecast_of_a_format_that_is_not_shown_is_refused_with_those_that_are(tmp_path):
    pytest.importorskip("zarr")
    forecast().to_xarray().to_zarr(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(UserError, match="is a forecast, not an .* as CF NetCDF or ODIM_H5"):
        look(tmp_path / "a.zarr")


def test_a_file_that_is_a_forecast_is_told_from_one_that_is_damaged(tmp_path):
    write_forecast(forecast(), tmp_path / "a.nc", attributes={})
    (tmp_path / "b.nc").write_bytes((tmp_path / "a.nc").read_bytes()[:3000])
    from nowcast.data.reading import ReadingProcess

    with ReadingProcess(Auto()) as process:
        with pytest.raises(IsForecast):
            process.read(tmp_path / "a.nc")
        with pytest.raises(UserError) as caught:
            process.read(tmp_path / "b.nc")
        assert type(caught.value) is UserError


# ---------------------------------------------------------------- the command


def shown(path) -> dict:
    page = path.read_text(encoding="utf-8")
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1]
    )


@pytest.fixture
def no_display(monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)


def test_show_writes_a_page_and_says_how_to_see_it_where_there_is_no_display(
    tmp_path, capsys, no_display
):
    name = "with space [1], é.nc"
    write_forecast(forecast(), tmp_path / name, attributes={})
    main(["show", str(tmp_path / name), f"output={tmp_path}/p, q.html"])
    wrote, how = capsys.readouterr().out.splitlines()
    assert wrote == f"wrote {tmp_path}/p, q.html"
    assert how.endswith(f"or type: nowcast serve '{tmp_path}/p, q.html'")
    assert shown(tmp_path / "p, q.html")["about"][0] == ["File", name]
    main(["show", str(tmp_path / name), "open=false"])
    (wrote,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"wrote .*/nowcast-show-\w+/with space \[1\], é\.html", wrote)


def test_show_opens_the_browser_with_the_page(tmp_path, capsys, monkeypatch, no_display):
    program, seen = tmp_path / "browser", tmp_path / "seen"
    program.write_text(f'#!/bin/sh\necho "$1" > {seen}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("BROWSER", f"{program} %s")
    write_forecast(forecast(), tmp_path / "a.nc", attributes={})
    # a process of its own: webbrowser looks for browsers once
    typed = ["show", f"{tmp_path}/a.nc", f"output={tmp_path}/p #1.html"]
    out = subprocess.run(
        [sys.executable, "-m", "nowcast", *typed], capture_output=True, text=True, check=True
    )
    assert out.stdout.splitlines() == [f"wrote {tmp_path}/p #1.html"]
    assert seen.read_text().strip() == (tmp_path / "p #1.html").as_uri()


def test_a_browser_of_the_terminal_is_not_opened(tmp_path, monkeypatch):
    class Lynx:
        name = "lynx"

        def open(self, url):
            raise AssertionError("it would fill the terminal")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(show.webbrowser, "get", lambda: Lynx())
    assert show.open_in_browser(tmp_path / "p.html") is False

    def none():
        raise show.webbrowser.Error("could not locate runnable browser")

    monkeypatch.setattr(show.webbrowser, "get", none)
    assert show.open_in_browser(tmp_path / "p.html") is False


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "show takes one file, e.g. nowcast show forecast.nc; 0 came"),
        (["{folder}/none.nc"], "matches no file"),
        (["{folder}/a.nc", "output=p.png"], "is not the name of an HTML page"),
        (["{folder}/a.nc", "output={folder}/a.nc"], "is not the name of an HTML page"),
        (["{folder}/a.nc", "open=maybe"], "open is 'maybe'; expected true or false"),
        (["{folder}/a.nc", "last=0"], "last is 0; expected a whole number of frames from 1"),
        (["{folder}/x.html"], "x.html is a page already; open it"),
        (["{folder}/x.html", "output={folder}/x.html"], "is the file to be shown"),
    ],
)
def test_a_mistake_of_show_is_one_line(tmp_path, capsys, typed, said):
    write_forecast(forecast(), tmp_path / "a.nc", attributes={})
    (tmp_path / "x.html").write_text("<html>")
    with pytest.raises(SystemExit) as caught:
        main(["show", *(item.format(folder=tmp_path) for item in typed)])
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert (tmp_path / "x.html").read_text() == "<html>"


def rain(frames=10):
    rows, columns = np.mgrid[:48, :60]
    fields = [
        12 * np.exp(-((rows - 24) ** 2 + (columns - 10 - 2 * t) ** 2) / 60) for t in range(frames)
    ]
    return np.where(np.stack(fields) < 0.1, 0, fields).astype(np.float32)


def test_predict_writes_the_page_of_its_forecast_as_one_file(tmp_path, capsys):
    write_archive(tmp_path / "a.nc", rain(), range(0, 50, 5))
    common = ["predict", f"input={tmp_path}/a.nc", f"output={tmp_path}/f.nc", "pictures=false"]
    main([*common, f"page={tmp_path}/f.html", "forecast_length=3"])
    assert f"wrote {tmp_path}/f.html" in capsys.readouterr().out
    facts = shown(tmp_path / "f.html")
    assert facts["observed_frames"] == 4 and len(facts["frames"]) == 7
    assert [layer["unit"] for layer in facts["layers"]] == ["mm/h", "mm", "%", "%", "%"]
    assert dict(map(tuple, facts["about"]))["Made from"].startswith("a.nc 2020-06-01T00:45:00Z")
    main([*common, f"page={tmp_path}/g.html", "forecast_length=2", "thresholds=[]"])
    assert [layer["unit"] for layer in shown(tmp_path / "g.html")["layers"]] == ["mm/h", "mm"]


def test_a_page_that_cannot_be_one_is_refused_before_anything_is_written(tmp_path, capsys):
    write_archive(tmp_path / "a.nc", rain(), range(0, 50, 5))
    with pytest.raises(SystemExit):
        main(
            [
                "predict",
                f"input={tmp_path}/a.nc",
                f"output={tmp_path}/f.nc",
                f"page={tmp_path}/p.nc",
            ]
        )
    assert "expected one that ends in .html" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.nc"]


def test_replay_writes_the_page_of_its_last_forecast(tmp_path, capsys):
    write_archive(tmp_path / "a.nc", rain(), range(0, 50, 5))
    typed = [f"input={tmp_path}/a.nc", f"output={tmp_path}/out", "every=0"]
    main(["replay", *typed, f"page={tmp_path}/r.html"])
    assert f"wrote {tmp_path}/r.html" in capsys.readouterr().out
    facts = shown(tmp_path / "r.html")
    assert facts["analysis_time"] == "2020-06-01T00:45:00Z" and facts["observed_frames"] == 6
    assert dict(map(tuple, facts["about"]))["File"] == "latest.nc"


def test_a_page_and_the_folder_of_a_run_are_refused_and_of_a_demonstration_the_forecast_is_shown(
    tmp_path,
):
    made, run = tmp_path / "d1", tmp_path / "r1"
    made.mkdir(), run.mkdir()
    (made / "demo.html").write_text("<html>")
    write_forecast(derive(forecast(), context()), made / "forecast.nc", attributes={})
    (run / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(UserError, match="demo.html is a page already; open it in a browser"):
        show._meant(made / "demo.html")
    with pytest.raises(UserError, match="r1 is the folder of a run, not a forecast; type nowcast"):
        show._meant(run)
    assert show._meant(made) == made / "forecast.nc" and show._meant(tmp_path) == tmp_path
    show.show([str(made), f"output={tmp_path / 'page.html'}", "open=false"])
    assert (tmp_path / "page.html").stat().st_size > 1000
