"""Private names of other libraries: they stand in two files, and without any of them the values are
the same.
"""

import ast
import builtins
import functools
import re
from pathlib import Path

import pytest
import torch

from nowcast.models.convlstm import ConvLSTM, packed, recurrence
from nowcast.runtime import library_private, torch_private

PACKAGE = Path(__file__).parents[1] / "nowcast"
KEPT_IN = {
    "runtime/torch_private.py",
    "runtime/library_private.py",
    "cli/composing.py",
    "cli/hydra_private.py",
}  # the last two: Hydra's loader, and what else of Hydra's is private
PUBLIC = {
    "_replace",
    "_asdict",
    "_fields",
    "_exit",
}  # of named tuples, and of os, documented as public


def private(name: str) -> bool:
    return re.match(r"_[A-Za-z]", name) is not None


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def own_names() -> set[str]:
    """Every name that the package gives to something."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in nodes(path):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                found.add(node.name)
            elif isinstance(node, ast.Name) or (
                isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
            ):
                found.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
    return found


def foreign_privates(path: Path, own: set[str]) -> list[str]:
    """Private names of other libraries in a file: attributes, imports, and names that are asked for
    as text.
    """
    found, modules = [], set()
    for node in nodes(path):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            module = getattr(node, "module", None) or ""
            names = [alias.name for alias in node.names]
            modules |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            if not any(text.split(".")[0] == "nowcast" for text in (module, *names)):
                parts = ".".join([module, *names]).split(".")
                found += [part for part in parts if private(part) and part != "__future__"]
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in PUBLIC:
            root = node.value
            while isinstance(root, ast.Attribute):
                root = root.value
            of_a_library = (
                isinstance(root, ast.Name)
                and root.id in modules
                and not root.id.startswith("nowcast")
            )
            if node.attr not in own or (
                of_a_library
                and f"import {root.id}" in path.read_text(encoding="utf-8").split("from nowcast")[0]
            ):
                found.append(node.attr)
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "hasattr", "setattr")
        ):
            found += [
                text.value
                for text in node.args
                if isinstance(text, ast.Constant)
                and isinstance(text.value, str)
                and private(text.value)
                and text.value not in own
            ]
    return found


def test_private_names_of_other_libraries_stand_in_a_few_files():
    own = own_names()
    found = {
        str(path.relative_to(PACKAGE)): foreign_privates(path, own)
        for path in sorted(PACKAGE.rglob("*.py"))
    }
    assert {path for path, names in found.items() if names} == KEPT_IN


TORCH = {  # what a release of torch may lack -> the answer without it
    "dispatch_mode_active": (torch.utils._python_dispatch, ["_get_current_dispatch_mode"], True),
    "transforms_active": (torch._C, ["_are_functorch_transforms_active"], True),
    "forward_derivatives_active": (torch.autograd.forward_ad, ["_current_level"], True),
    "is_batch": (torch._C._functorch, ["is_batchedtensor", "is_legacy_batchedtensor"], True),
    "graph_is_kept": (torch._C._autograd, ["_get_current_graph_task_keep_graph"], True),
    "call_is_forward": (torch.nn.modules.module, ["_global_forward_pre_hooks"], False),
}
OPERATORS = ("order_convolution_weight", "convolve_ordered", "add_convolution_ordered")
ARGUMENTS = {"is_batch": (torch.zeros(1),), "call_is_forward": (torch.nn.Identity(),)}


def results():
    """Values and gradients of a ConvLSTM, those of a graph that is walked twice, and many gradients
    at once.
    """
    torch.manual_seed(0)
    layer, inputs = (
        ConvLSTM(2, 4, input_kernel=3, state_kernel=3),
        torch.randn(2, 3, 2, 6, 5, requires_grad=True),
    )
    outputs, (h, c) = layer(inputs)
    loss, leaves = (
        outputs.square().sum() + h.sum() + c.square().sum(),
        [inputs, *layer.parameters()],
    )
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    directions = torch.stack([torch.ones_like(outputs), outputs.detach()])
    many = torch.autograd.grad(
        outputs, inputs, directions, is_grads_batched=True, retain_graph=True
    )
    return [
        outputs.detach(),
        h.detach(),
        c.detach(),
        *first,
        *many,
        *torch.autograd.grad(loss, leaves),
    ]


@pytest.mark.parametrize("name", TORCH)
def test_without_a_private_name_of_torch_the_layer_computes_the_same(name, monkeypatch):
    function, arguments = getattr(torch_private, name), ARGUMENTS.get(name, ())
    expected, before = results(), function(*arguments)
    place, names, answer = TORCH[name]
    with monkeypatch.context() as patch:
        if (
            name == "call_is_forward"
        ):  # torch itself reads it at every call, so it is taken away for the question alone
            patch.setattr(torch_private, name, lambda module: False)
        elif name == "forward_derivatives_active":
            patch.setattr(torch_private, name, lambda: True)
        else:
            for missing in names:
                patch.delattr(place, missing, raising=False)
            assert function(*arguments) == answer
        found = results()
    assert before == (name == "call_is_forward" or name == "graph_is_kept" and before)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["forward_derivatives_active", "call_is_forward"])
def test_what_torch_does_not_say_is_taken_for_the_careful_answer(name, monkeypatch):
    place, names, answer = TORCH[name]
    with monkeypatch.context() as patch:
        for missing in names:
            patch.delattr(place, missing)
        found = getattr(torch_private, name)(*ARGUMENTS.get(name, ()))
    assert found == answer


@pytest.mark.parametrize("missing", [*OPERATORS, "all of them"])
def test_without_an_operator_of_onednn_the_layer_computes_the_same(missing, monkeypatch):
    expected = results()

    def gone(*_):
        raise AttributeError("this torch has no such operator")

    for name in OPERATORS if missing == "all of them" else [missing]:
        monkeypatch.setattr(torch_private, name, gone)
    monkeypatch.setattr(packed, "_found", [])
    assert not packed._works()
    for one, other in zip(results(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_what_the_processor_can_do_is_read_from_the_system_where_torch_does_not_say(
    monkeypatch, tmp_path
):
    said = torch_private.cpu_multiplies_bfloat16()
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    if Path("/proc/cpuinfo").is_file():
        assert torch_private.cpu_multiplies_bfloat16() == said
    for text, expected in (
        ("flags : fpu avx512f avx512_bf16 sse", True),
        ("flags : amx_tile", True),
        ("flags : avx512f", False),
    ):
        (tmp_path / "cpuinfo").write_text(text)
        monkeypatch.setattr(torch_private, "_CPU_INFORMATION", tmp_path / "cpuinfo")
        assert torch_private.cpu_multiplies_bfloat16() == expected
    monkeypatch.setattr(torch_private, "_CPU_INFORMATION", tmp_path / "missing")
    assert not torch_private.cpu_multiplies_bfloat16()


class Hidden:
    """A trainer or a callback without its private names, but for those it uses itself."""

    def __init__(self, whole, missing):
        self._whole, self._missing = whole, missing

    def __getattr__(self, name):
        if name in self._missing:
            raise AttributeError(name)
        return getattr(self._whole, name)


def test_the_state_of_a_training_is_the_same_without_lightnings_private_name(tmp_path):
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.found = torch.nn.Linear(2, 1), {}

        def training_step(self, batch, index):
            return self.layer(batch).sum()

        def on_train_batch_end(self, *_):
            without = Hidden(self.trainer, {"_checkpoint_connector"})
            self.found = {
                "with": library_private.training_state(self.trainer),
                "without": library_private.training_state(without),
            }

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    module = Module()
    options = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "accelerator": "cpu",
    }
    trainer = lightning.Trainer(max_steps=1, default_root_dir=tmp_path, **options)
    trainer.fit(module, torch.utils.data.DataLoader(torch.rand(2, 2), batch_size=1))
    one, other = module.found["with"], module.found["without"]
    assert one.keys() == other.keys() and one["global_step"] == other["global_step"] == 1
    assert all(
        torch.equal(value, other["state_dict"][key]) for key, value in one["state_dict"].items()
    )
    assert one["loops"] == other["loops"]
    trainer._signal_connector.received_sigterm = True
    library_private.forget_received_sigterm(Hidden(trainer, {"_signal_connector"}))
    assert trainer.received_sigterm
    library_private.forget_received_sigterm(trainer)
    assert not trainer.received_sigterm


def test_the_last_checkpoint_is_written_without_lightnings_private_names_too(tmp_path):
    class Trainer:
        global_step, saved = 4, []

        def save_checkpoint(self, path):
            self.saved.append(Path(path).name)

    class Callback:
        CHECKPOINT_NAME_LAST, FILE_EXTENSION, dirpath = "last", ".ckpt", tmp_path

    callback = Callback()
    library_private.save_last(callback, Trainer())
    assert Trainer.saved == ["last.ckpt"] and callback.last_model_path == str(
        tmp_path / "last.ckpt"
    )


def test_without_its_private_name_the_mean_of_the_weights_stays_where_it_is():
    moved = []

    class Mean:
        def to(self, device):
            moved.append(device)

    class Named:
        _average_model = Mean()

    class Module:
        device = "cuda"

    library_private.average_beside(Named(), Module())
    library_private.average_beside(object(), Module())
    assert moved == ["cuda"]


def test_gdals_errors_are_known_without_rasterios_private_name(monkeypatch):
    rasterio = pytest.importorskip("rasterio")
    assert len(library_private.gdal_errors()) == 2
    load = builtins.__import__

    def refuse(name, *arguments):
        if name == "rasterio._err":
            raise ImportError(name)
        return load(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert library_private.gdal_errors() == (rasterio.errors.RasterioError,)


def test_the_fast_way_is_taken_where_nothing_is_missing():
    assert recurrence.graph_is_kept is torch_private.graph_is_kept
    calls = []
    layer = ConvLSTM(2, 3)
    run = layer.cell.run
    layer.cell.run = lambda *arguments: calls.append(1) or run(*arguments)
    layer(torch.rand(1, 2, 2, 4, 4))
    assert calls == [1]
