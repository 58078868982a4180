"""The gates in C and in Triton against the equations in torch, at the edges of the numbers too."""

import os
import subprocess
import sys

import pytest
import torch

from nowcast.models.convlstm import gates, gates_compiled

needs_compiler = pytest.mark.skipif(
    gates_compiled.compiled() is None, reason="no C compiler, or NOWCAST_GATES=torch"
)


@pytest.fixture
def in_torch(monkeypatch):
    """A function that runs another one without compiled gates."""

    def run(function, *arguments):
        with monkeypatch.context() as patch:
            patch.setattr(gates, "_kernel", lambda *_: None)
            return function(*arguments)

    return run


def draw(rows, features, dtype, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv": 4 * features, "add": 4 * features, "dh": features, "more_dh": features}
    found = {
        name: (scale * torch.randn(rows, width, generator=generator)).to(dtype)
        for name, width in shapes.items()
    }
    return (
        found
        | {name: torch.randn(rows, features, generator=generator) for name in ("before", "dc")}
        | {"peephole": torch.randn(3, features, generator=generator)}
    )


def both_ways(drawn, *, conv=True, add=True, peephole=True, dh=True, more_dh=True, offset=0.5):
    """Everything one step and its way back write."""
    given = {
        name: drawn[name].clone() if wanted else None
        for name, wanted in (
            ("conv", conv),
            ("add", add),
            ("peephole", peephole),
            ("dh", dh),
            ("more_dh", more_dh),
        )
    }
    before, dtype = drawn["before"], drawn["conv"].dtype
    z, after, h = (
        torch.empty_like(drawn["conv"]),
        torch.empty_like(before),
        torch.empty_like(before, dtype=dtype),
    )
    gates.forward(given["conv"], given["add"], z, before, after, h, given["peephole"], offset)
    dc, dz, sums = drawn["dc"].clone(), torch.empty_like(z), gates.zero_sums(before)
    gates.backward(
        z, before, given["dh"], given["more_dh"], dc, dz, given["peephole"], offset, sums
    )
    sums = sums.sum(0)
    return {
        "z": z,
        "c": after,
        "h": h,
        "dc": dc,
        "dz": dz,
        "bias": sums[: dz.shape[1]],
        "peephole": sums[dz.shape[1] :] if peephole else None,
    }


def close(found, expected, dtype):
    tolerance = (
        {"rtol": 2e-5, "atol": 2e-6} if dtype == torch.float32 else {"rtol": 1e-2, "atol": 1e-2}
    )
    for name, value in expected.items():
        if value is not None:
            scale = {"atol": tolerance["atol"] * max(1, value.abs().max().item())}
            torch.testing.assert_close(
                found[name],
                value,
                **(tolerance | scale),
                msg=lambda text, name=name: f"{name}: {text}",
            )


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"conv": False},
        {"add": False},
        {"peephole": False},
        {"dh": False},
        {"more_dh": False},
        {"dh": False, "more_dh": False},
        {"offset": 0.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("rows", "features"), [(7, 64), (1, 1), (33, 5), (5, 17), (64, 128)])
def test_c_computes_what_torch_computes(rows, features, options, dtype, in_torch):
    drawn = draw(rows, features, dtype)
    close(both_ways(drawn, **options), in_torch(lambda: both_ways(drawn, **options)), dtype)


@needs_compiler
def test_a_sum_may_take_the_place_of_a_part_and_a_gradient_that_of_the_sum():
    drawn = draw(9, 6, torch.float32)
    apart = both_ways(drawn)
    add, before, dc, sums = (
        drawn["add"].clone(),
        drawn["before"].clone(),
        drawn["dc"].clone(),
        gates.zero_sums(drawn["before"]),
    )
    after, h = torch.empty_like(before), torch.empty_like(before)
    gates.forward(drawn["conv"], add, add, before, after, h, drawn["peephole"], 0.5)
    assert torch.equal(add, apart["z"])
    gates.backward(
        add, before, drawn["dh"], drawn["more_dh"], dc, add, drawn["peephole"], 0.5, sums
    )
    assert torch.equal(add, apart["dz"]) and torch.equal(dc, apart["dc"])
    gates.forward(drawn["conv"], drawn["add"], None, before, before, h, drawn["peephole"], 0.5)
    assert torch.equal(before, apart["c"]) and torch.equal(h, apart["h"])


@needs_compiler
def test_far_from_zero_gates_are_shut_or_open_and_near_it_tanh_is_its_argument():
    """One hidden channel; f open and i shut keep c, o open lets tanh(c) out; tanh(1e-6) is 1e-6 to
    seven digits.
    """
    large = torch.tensor(
        [
            [-1e30, 1e30, 5.0, 1e30],
            [1e30, -1e30, 1e-6, 1e30],
            [float("inf"), -float("inf"), 1e30, 100.0],
            [1e30, -1e30, -1e30, -100.0],
        ]
    )
    before, h, after = (
        torch.tensor([[0.75], [9.0], [9.0], [9.0]]),
        torch.empty(4, 1),
        torch.empty(4, 1),
    )
    gates.forward(large, None, None, before, after, h, None, 0.0)
    torch.testing.assert_close(
        after, torch.tensor([[0.75], [1e-6], [1.0], [-1.0]]), rtol=3e-7, atol=1e-11
    )
    torch.testing.assert_close(
        h, torch.tensor([[0.75], [1e-6], [1.0], [0.0]]).tanh(), rtol=3e-7, atol=1e-11
    )


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_not_a_number_stays_so_in_its_row_and_nowhere_else(dtype):
    for gate in range(4):
        drawn = draw(4, 3, dtype)
        clean = both_ways(drawn)
        drawn["conv"][2, 3 * gate] = torch.nan
        found = both_ways(drawn)
        assert (
            found["h"][2, 0].isnan()
            and (gate == 3 or found["c"][2, 0].isnan())
            and found["dz"][2].isnan().any()
        )
        others = [0, 1, 3]
        assert all(
            torch.equal(found[name][others], clean[name][others])
            for name in ("z", "c", "h", "dc", "dz")
        )


@needs_compiler
def test_values_are_rounded_to_bfloat16_as_torch_does():
    values = torch.randn(1000, 1, generator=torch.Generator().manual_seed(1)).repeat(1, 4)
    z, other = torch.empty(1000, 4, dtype=torch.bfloat16), torch.zeros(1000, 1)
    conv = values.to(torch.bfloat16)
    gates.forward(
        conv, conv, z, other, other.clone(), torch.empty(1000, 1, dtype=torch.bfloat16), None, 0.0
    )
    assert torch.equal(z, conv + conv)
    add = (values * 0.01).to(torch.bfloat16)
    gates.forward(
        conv, add, z, other, other.clone(), torch.empty(1000, 1, dtype=torch.bfloat16), None, 0.0
    )
    assert torch.equal(z, (conv.float() + add.float()).to(torch.bfloat16))


@needs_compiler
def test_the_number_of_threads_changes_the_sums_by_rounding_only(set_threads):
    drawn, found = draw(101, 7, torch.float32), []
    for count in (1, 3):
        set_threads(count)
        found.append(both_ways(drawn))
    assert all(torch.equal(found[0][name], found[1][name]) for name in ("z", "c", "h", "dc", "dz"))
    close(found[1], found[0], torch.float32)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """No library of an earlier run, and this one forgotten afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gates_compiled.compiled.cache_clear()
    yield tmp_path / "nowcast"
    monkeypatch.undo()
    gates_compiled.compiled.cache_clear()


@needs_compiler
def test_a_library_is_made_once_and_found_again(fresh, monkeypatch):
    assert gates_compiled.compiled() is not None
    (library,) = fresh.glob("*")
    monkeypatch.setattr(gates_compiled, "_compile", lambda *_: pytest.fail("compiled again"))
    gates_compiled.compiled.cache_clear()
    assert gates_compiled.compiled() is not None and list(fresh.glob("*")) == [library]


@needs_compiler
def test_a_damaged_library_and_a_folder_that_cannot_be_written_to_are_no_obstacle(
    fresh, monkeypatch, tmp_path
):
    gates_compiled.compiled()
    library = tmp_path / "other" / "nowcast" / next(fresh.glob("*")).name
    library.parent.mkdir(parents=True)
    library.write_bytes(b"not a library")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    gates_compiled.compiled.cache_clear()
    assert (
        gates_compiled.compiled() is not None and library.stat().st_size > 10_000
    )  # made anew in its place
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    gates_compiled.compiled.cache_clear()
    assert gates_compiled.compiled() is not None


@pytest.mark.parametrize(
    ("name", "value"), [("CC", "no-such-compiler"), ("CC", "false"), ("NOWCAST_GATES", "torch")]
)
def test_without_a_compiler_or_where_told_so_torch_computes_the_gates(
    fresh, monkeypatch, name, value
):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(gates_compiled, "COMPILERS", ())
    assert (
        gates_compiled.compiled() is None and gates.implementation(torch.device("cpu")) == "torch"
    )


@pytest.mark.slow
@needs_compiler
def test_a_compiler_that_computes_something_else_is_not_trusted(fresh, monkeypatch, tmp_path):
    wrong = tmp_path / "wrong.c"
    wrong.write_text(
        gates_compiled.SOURCE.read_text().replace("t / ((t + 2.0f)", "t / ((t + 2.1f)")
    )
    monkeypatch.setattr(gates_compiled, "SOURCE", wrong)
    assert gates_compiled.compiled() is None


TRITON = """
import torch
from nowcast.models.convlstm import gates, gates_compiled, gates_triton
from tests.test_gates import both_ways, close, draw
for dtype in (torch.float32, torch.bfloat16):
    for rows, features in ((7, 64), (1, 1), (70, 5), (5, 130)):
        for options in ({}, {"conv": False}, {"add": False}, {"peephole": False}, {"dh": False}, {"more_dh": False}):
            drawn = draw(rows, features, dtype)
            gates._kernel = lambda c, z: None
            expected = both_ways(drawn, **options)
            gates._kernel = lambda c, z: gates_triton.Fused()
            close(both_ways(drawn, **options), expected, dtype)
print("equal")
"""


def test_triton_computes_what_torch_computes():
    """In Triton's interpreter, which needs no GPU."""
    pytest.importorskip("triton")
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    found = subprocess.run(
        [sys.executable, "-c", TRITON],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert found.stdout.strip() == "equal", found.stderr[-2000:]


@needs_compiler
def test_a_library_that_others_could_have_changed_is_left_alone(fresh, monkeypatch):
    gates_compiled.compiled()
    (library,) = fresh.glob("*")
    for place in (library, fresh):
        place.chmod(0o777)
        gates_compiled.compiled.cache_clear()
        made = []
        monkeypatch.setattr(
            gates_compiled,
            "_library",
            lambda path, command, library=gates_compiled._library: (
                made.append(path) or library(path, command)
            ),
        )
        assert gates_compiled.compiled() is not None and made[-1].parent != fresh
        monkeypatch.undo()
        monkeypatch.setenv("XDG_CACHE_HOME", str(fresh.parent))
        place.chmod(0o700)


@needs_compiler
def test_a_wrong_compiler_command_does_not_hide_a_right_one(fresh, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    assert gates_compiled.compiled() is not None


FIRST = """
import torch
from nowcast.models.convlstm import gates, gates_compiled
from nowcast.models.convlstm import ConvLSTM
layer, inputs = ConvLSTM(2, 3), torch.rand(1, 2, 2, 4, 4)
if {}:
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        layer(inputs)
else:
    from torch.utils.checkpoint import checkpoint
    checkpoint(layer, inputs, use_reentrant=False)[0].sum().backward()
print(gates.implementation(torch.device("cpu")))
"""


@needs_compiler
@pytest.mark.parametrize("forecast", [True, False])
def test_the_first_call_of_a_process_may_be_a_forecast_or_inside_a_checkpoint(forecast):
    found = subprocess.run(
        [sys.executable, "-c", FIRST.format(forecast)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.stdout.strip() == "C", found.stderr[-2000:]


HOMELESS = """
import os
from pathlib import Path
import torch
def nobody():
    raise RuntimeError("Could not determine home directory.")
Path.home = nobody
from nowcast.models.convlstm import ConvLSTM
torch.set_default_dtype(getattr(torch, {!r}))
layer = ConvLSTM(2, 3).float()
print(layer(torch.rand(1, 2, 2, 4, 4, dtype=torch.float32))[0].isfinite().all().item())
"""


@pytest.mark.parametrize("default", ["float32", "bfloat16", "float64"])
def test_no_home_and_another_default_type_are_no_obstacle(default):
    environment = {name: value for name, value in os.environ.items() if name != "XDG_CACHE_HOME"}
    found = subprocess.run(
        [sys.executable, "-c", HOMELESS.format(default)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert found.stdout.strip() == "True", found.stderr[-2000:]


@needs_compiler
def test_a_cell_state_of_any_size_is_kept():
    """Open gates: c stays as it is, h is o tanh(c) = 1/2."""
    conv = torch.tensor(
        [[30.0, -30.0, 30.0, 0.0], [-30.0, 30.0, 0.0, 0.0], [-30.0, 30.0, 0.0, 0.0]]
    )
    before, after, h = torch.tensor([[1e30], [3e38], [-1e30]]), torch.empty(3, 1), torch.empty(3, 1)
    gates.forward(conv, None, None, before, after, h, None, 0.0)
    torch.testing.assert_close(after[1:], before[1:], rtol=1e-6, atol=0)
    torch.testing.assert_close(h, torch.tensor([[0.5], [0.5], [-0.5]]), rtol=1e-6, atol=0)
    assert after.isfinite().all()
