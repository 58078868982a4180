"""Layers and models are modules of PyTorch like torch's own: what works with an ``nn.Conv2d`` or
``nn.LSTMCell`` works with them.
"""

import copy
import functools
import inspect
import io
import pickle
import warnings

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from nowcast.models.base import ForecastModel
from nowcast.models.conv_gru import ConvGRU
from nowcast.models.convlstm import ConvLSTM, ConvLSTMCell
from nowcast.models.encoder_forecaster import EncoderForecaster
from nowcast.models.fc_lstm import FCLSTMLayer
from nowcast.models.lagrangian import LagrangianConvLSTM
from nowcast.models.predrnn import SpatioTemporalCell
from nowcast.models.traj_gru import TrajGRU
from nowcast.training.muon import Muon
from nowcast.training.optimizers import lay_like_parameters
from tests.test_models import NAMES, model, settings

SETTINGS = [  # each with the fast way, and some without
    {},
    {"peephole": False, "bias": False, "forget_bias": 1.0},
    {"stride": 2, "input_kernel": (2, 3)},
    {"checkpoint": 2},
    {"norm_groups": 2},
    {"activation": "relu", "state_kernel": 2},
    {"go_backwards": True, "channels_last": True},
]
LENGTH = 3


def made_layer(options, *, dtype=torch.float32):
    torch.manual_seed(0)
    layer = ConvLSTM(2, 4, **({"input_kernel": 3, "state_kernel": 3} | options))
    layer = (
        layer if dtype == torch.float32 else layer.to(dtype)
    )  # which torch's tensors without values do not allow
    for weight in layer.parameters():
        nn.init.normal_(weight, std=0.3)
    shape = (2, LENGTH, 7, 6, 2) if layer.channels_last else (2, LENGTH, 2, 7, 6)
    return layer, torch.randn(shape, dtype=dtype)


def made_model(name):
    """A small model and its context; in tests of every model, one is made once and copied."""
    return copy.deepcopy(_model_made_once(name)), _context(name)


@functools.cache
def _model_made_once(name):
    torch.manual_seed(0)
    if name == "lagrangian":
        return LagrangianConvLSTM([4, 4, 4], knee=0.1, ceiling=100.0)
    return model(name, "radar")


def _context(name):
    shape = (1, 3, 1, 32, 40) if name == "lagrangian" else (1, 5, 1, 16, 16)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def forecast(network, context):
    """Three frames; what comes from outside the grid is 0 here and not NaN."""
    return network(context, 3).point().nan_to_num()


def close(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def trained(module, call, optimizer, steps=2):
    """Steps of an optimiser; every gradient has to be finite and contiguous."""

    def closure():
        optimizer.zero_grad()
        loss = call(module).float().square().mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    gradients = [weight.grad for weight in module.parameters() if weight.grad is not None]
    assert gradients and all(
        gradient.isfinite().all() and gradient.is_contiguous() for gradient in gradients
    )
    assert all(weight.isfinite().all() for weight in module.parameters())


ALL = [*NAMES, "lagrangian"]


@pytest.mark.parametrize("name", ALL)
def test_weights_lie_contiguous_and_make_one_vector_or_one_file(name):
    network, context = made_model(name)
    network.eval()
    assert [key for key, value in network.state_dict().items() if not value.is_contiguous()] == []
    with torch.no_grad():
        expected = forecast(network, context)
    written = safetensors.torch.load(safetensors.torch.save(network.state_dict()))
    vector = nn.utils.parameters_to_vector(network.parameters()).clone()
    for weight in network.parameters():
        nn.init.zeros_(weight)
    nn.utils.vector_to_parameters(vector, network.parameters())
    with torch.no_grad():
        assert torch.equal(forecast(network, context), expected)
    assert all(torch.equal(written[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("name", ALL)
def test_weights_of_earlier_versions_with_their_channels_last_load_with_the_same_bits(name):
    network, context = made_model(name)
    network.eval()
    older = copy.deepcopy(network).to(memory_format=torch.channels_last)
    fresh, _ = made_model(name)
    for weight in fresh.parameters():
        nn.init.zeros_(weight)
    fresh.load_state_dict(older.state_dict())
    assert all(value.is_contiguous() for value in fresh.state_dict().values())
    with torch.no_grad():
        expected = forecast(network, context)
        assert torch.equal(forecast(fresh.eval(), context), expected)
        close(forecast(older, context), expected)  # it still runs as it lies


@pytest.mark.parametrize("name", ALL)
def test_models_are_copied_moved_and_made_without_memory_as_other_modules_are(name):
    network, context = made_model(name)
    network.eval()
    saved = io.BytesIO()
    torch.save(network, saved)
    saved.seek(0)
    empty = copy.deepcopy(network).to("meta").to_empty(device="cpu")
    empty.load_state_dict(network.state_dict())
    averaged = torch.optim.swa_utils.AveragedModel(network)
    averaged.update_parameters(network)
    copies = [
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        torch.load(saved, weights_only=False),
        empty.eval(),
    ]
    copies += [averaged.module.eval(), copy.deepcopy(network).share_memory()]
    with torch.no_grad():
        expected = forecast(network, context)
        assert all(torch.equal(forecast(found, context), expected) for found in copies)
        close(forecast(copy.deepcopy(network).double(), context.double()).float(), expected, 1e-3)
        for dtype in (torch.bfloat16, torch.float16):
            found = forecast(copy.deepcopy(network).to(dtype), context.to(dtype)).float()
            assert (
                (found - expected).abs() > 0.1
            ).float().mean() < 0.01  # a pixel at the edge of what is known may fall out


@pytest.mark.parametrize("name", ALL)
def test_every_module_of_a_model_calls_its_hooks(name):
    network, context = made_model(name)
    with torch.no_grad():
        expected = forecast(network.eval(), context)
    called = {kind: set() for kind in ("before", "after", "backward")}
    lists = (nn.ModuleList, nn.ParameterList)
    modules = {
        key: module for key, module in network.named_modules() if not isinstance(module, lists)
    }
    handles = []
    for key, module in modules.items():
        handles.append(
            module.register_forward_pre_hook(lambda *_, key=key: called["before"].add(key))
        )
        handles.append(module.register_forward_hook(lambda *_, key=key: called["after"].add(key)))
        handles.append(
            module.register_full_backward_hook(lambda *_, key=key: called["backward"].add(key))
        )
    found = forecast(network, context)
    found.square().sum().backward()
    close(found, expected)
    assert called["before"] == called["after"] == modules.keys()
    silent = modules.keys() - called["backward"]
    state_only = (
        nn.Sequential,
        nn.LSTM,
        ConvLSTM,
        ConvGRU,
        TrajGRU,
        FCLSTMLayer,
        ForecastModel,
    )  # torch watches outputs, and not those in an inner tuple or in a prediction
    assert all(isinstance(modules[key], state_only) for key in silent), silent
    for handle in handles:
        handle.remove()
    with torch.no_grad():
        assert torch.equal(forecast(network, context), expected)


OPTIMIZERS = {
    "lbfgs": lambda weights: torch.optim.LBFGS(weights, lr=1e-2, max_iter=2),
    "adam, fused": lambda weights: torch.optim.Adam(weights, fused=True),
    "adam, foreach": lambda weights: torch.optim.AdamW(weights, foreach=True),
    "muon": Muon,
    "sgd, one by one": lambda weights: torch.optim.SGD(weights, momentum=0.9, foreach=False),
}


@pytest.mark.parametrize("name", ALL)
def test_every_model_is_trained_by_lbfgs_and_by_optimisers_in_turn(name):
    others = list(OPTIMIZERS)[1:]
    for chosen in ("lbfgs", others[ALL.index(name) % len(others)]):
        network, context = made_model(name)
        optimizer = OPTIMIZERS[chosen](network.parameters())
        trained(network, lambda network: forecast(network, context), optimizer)  # noqa: B023
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)


class Larger(nn.Module):
    def forward(self, weight):
        return 1.5 * weight


def _quiet(function):
    def call(*arguments):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch has newer ones, but these are in use
            function(*arguments)

    return call


CHANGES = {
    "spectral_norm, a hook": _quiet(nn.utils.spectral_norm),
    "spectral_norm, a parametrization": parametrizations.spectral_norm,
    "weight_norm, a hook": _quiet(nn.utils.weight_norm),
    "weight_norm, a parametrization": parametrizations.weight_norm,
    "pruning": lambda module, name: prune.l1_unstructured(module, name, 0.4),
    "parametrize": lambda module, name: parametrize.register_parametrization(
        module, name, Larger()
    ),
}
UNCHANGED = [
    name for name in CHANGES if name.startswith("weight_norm")
]  # it only writes the weight in another way


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_weights_that_are_made_of_others_act_and_are_trained(change, settings):
    """In evaluation: the layer as it is against one that has the resulting weights for its own."""
    layer, inputs = made_layer(settings)
    before = layer(inputs)[0].detach()
    for name in ("input_weight", "state_weight"):
        CHANGES[change](layer.cell, name)
    trained(
        layer, lambda layer: layer(inputs)[0], torch.optim.SGD(layer.parameters(), lr=1e-2), steps=3
    )
    layer.eval()
    found = layer(inputs)[0]
    plain, _ = made_layer(settings)
    with torch.no_grad():
        for name, weight in plain.cell.named_parameters():
            weight.copy_(getattr(layer.cell, name))
    close(found, plain(inputs)[0])
    assert (found - before).abs().max() > 1e-4


IN_TURN = [
    (name, list(CHANGES)[(index + shift) % len(CHANGES)])
    for index, name in enumerate(ALL)
    for shift in (0, 3)
]


@pytest.mark.parametrize(("name", "change"), IN_TURN)
def test_every_model_is_trained_with_weights_made_of_others(name, change):
    network, context = made_model(name)
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():  # zeros have no norm
                nn.init.normal_(weight, std=0.1)
        before = forecast(network.eval(), context)
        for module in list(network.modules()):
            names = [
                key
                for key, weight in module.named_parameters(recurse=False)
                if key.endswith("weight") and weight.ndim > 1
            ]
            for key in names:
                CHANGES[change](module, key)
        differs = (forecast(network, context) - before).abs().max() > 1e-5
    assert differs == (change not in UNCHANGED)
    trained(
        network.train(),
        lambda network: forecast(network, context),
        torch.optim.SGD(network.parameters(), lr=1e-3),
    )


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_cell_with_hooks_is_called_once_for_every_step_with_the_same_results(settings):
    layer, inputs = made_layer(settings, dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    for given in ({}, {"mask": mask}):
        results, calls = [], []
        for hooked in (False, True, False):
            handles = []
            if hooked:
                cell = layer.cell
                handles.append(
                    cell.register_forward_pre_hook(
                        lambda cell, given: calls.append(("before", given[0].shape))
                    )
                )  # noqa: B023
                handles.append(
                    cell.register_forward_hook(
                        lambda cell, given, state: calls.append(("after", state[0].shape))
                    )
                )  # noqa: B023
                handles.append(
                    cell.register_full_backward_pre_hook(
                        lambda cell, gradient: calls.append(("backward before", gradient[0].shape))
                    )
                )  # noqa: B023
                handles.append(
                    cell.register_full_backward_hook(
                        lambda cell, *gradients: calls.append(("backward", gradients[1][0].shape))
                    )
                )  # noqa: B023
            leaf = inputs.clone().requires_grad_()
            outputs, (h, c) = layer(leaf, **given)
            layer.zero_grad()
            (outputs.square().sum() + h.sum() + c.square().sum()).backward()
            results.append(
                [outputs, h, c, leaf.grad, *(weight.grad for weight in layer.parameters())]
            )
            for handle in handles:
                handle.remove()
        for expected, found in zip(results[0], results[1], strict=True):
            close(found, expected, 1e-10)
        assert all(torch.equal(*same) for same in zip(results[0], results[2], strict=True))
        frame, state = (2, 2, 7, 6), (2, 4, *layer.cell.state_size(7, 6))
        found = {call: calls.count(call) for call in calls}
        kinds = {
            ("before", frame),
            ("after", state),
            ("backward before", state),
            ("backward", state),
        }
        assert found.keys() == kinds
        if layer.checkpoint:  # steps are computed once more, as far as they are needed
            assert min(found.values()) == LENGTH and found["before", frame] == 2 * LENGTH
        else:
            assert set(found.values()) == {LENGTH}


def test_what_a_hook_returns_is_what_the_layer_goes_on_with():
    layer, inputs = made_layer({})
    layer.cell.register_forward_hook(
        lambda cell, given, state: (torch.zeros_like(state[0]), state[1])
    )
    assert layer(inputs)[0].abs().max() == 0
    layer, inputs = made_layer({})
    layer.cell.register_forward_pre_hook(
        lambda cell, given: (torch.zeros_like(given[0]), *given[1:])
    )
    close(layer(inputs)[0], made_layer({})[0](torch.zeros_like(inputs))[0])


@pytest.mark.parametrize(
    "layer",
    [ConvLSTM(2, 3), ConvGRU(2, 3), TrajGRU(2, 3, links=2)],
    ids=lambda layer: type(layer).__name__,
)
def test_hooks_of_all_modules_see_every_step_and_each_other_cell_too(layer):
    calls, inputs = [], torch.rand(1, 4, 2, 5, 5)
    expected = layer(inputs)[0]
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: calls.append(module))
    try:
        found = layer(inputs)[0]
    finally:
        handle.remove()
    close(found, expected)
    assert calls.count(layer.cell) == 4 and calls.count(layer) == 1


def test_a_cell_of_another_kind_or_in_a_wrapper_is_called():
    class Slower(ConvLSTMCell):
        def forward(self, inputs, state, masks=None):
            h, c = super().forward(inputs, state, masks)
            return 0.5 * h, c

    class Wrapper(nn.Module):
        def __init__(self, cell):
            super().__init__()
            self.inner, self.calls = cell, 0

        def __getattr__(self, name):
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(self.inner, name)

        def forward(self, *arguments):
            self.calls += 1
            return self.inner(*arguments)

    layer, inputs = made_layer({})
    expected = layer(inputs)[0]
    layer.cell = Wrapper(layer.cell)
    close(layer(inputs)[0], expected)
    assert layer.cell.calls == LENGTH
    slower = ConvLSTM(2, 4, input_kernel=3, state_kernel=3)
    slower.cell = Slower(2, 4, input_kernel=3, state_kernel=3)
    slower.cell.load_state_dict(made_layer({})[0].cell.state_dict())
    close(slower(inputs)[0][:, 0], 0.5 * expected[:, 0])
    layer, inputs = made_layer({})
    layer.cell.compile(backend="eager")
    close(layer(inputs)[0], expected)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_lent_parameters_are_used_to_the_end_of_the_backward_pass(settings):
    """Gradients of functional_call are those of a layer that has these weights, also where steps
    are computed once more.
    """
    layer, inputs = made_layer(settings, dtype=torch.float64)
    lent = {
        name: (1.3 * weight.detach()).requires_grad_() for name, weight in layer.named_parameters()
    }
    own = copy.deepcopy(layer)
    own.load_state_dict(lent)
    outputs, _ = torch.func.functional_call(layer, lent, (inputs,))
    found = torch.autograd.grad(outputs.square().sum(), list(lent.values()))
    expected = torch.autograd.grad(own(inputs)[0].square().sum(), list(own.parameters()))
    for one, other in zip(found, expected, strict=True):
        close(one, other, 1e-10)
        assert one.is_contiguous() and other.is_contiguous()


def test_a_weight_of_another_class_of_tensor_keeps_its_meaning():
    """A weight plus a product of two thin matrices (LoRA), told by a subclass that answers
    operators itself.
    """

    class LowRank(torch.Tensor):
        @staticmethod
        def __new__(cls, weight, left, right):
            return torch.Tensor._make_wrapper_subclass(
                cls, weight.shape, dtype=weight.dtype, device=weight.device
            )

        def __init__(self, weight, left, right):
            self.parts = weight, left, right

        def whole(self):
            weight, left, right = self.parts
            return weight + (left @ right).view_as(weight)

        @classmethod
        def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
            if function is torch.ops.aten.detach.default:
                return cls(*arguments[0].parts)
            plain = torch.utils._pytree.tree_map(
                lambda part: part.whole() if isinstance(part, cls) else part,
                (arguments, keywords or {}),
            )
            return function(*plain[0], **plain[1])

    layer, inputs = made_layer({})
    left, right = torch.randn(16, 2), torch.randn(2, 36)
    expected, _ = made_layer({})
    with torch.no_grad():
        expected.cell.state_weight += (left @ right).view_as(expected.cell.state_weight)
    layer.cell.state_weight = nn.Parameter(
        LowRank(layer.cell.state_weight.detach(), left, right), requires_grad=False
    )
    close(layer(inputs)[0], expected(inputs)[0])
    layer.cell.input_weight.requires_grad_(False)
    close(layer(inputs)[0], expected(inputs)[0])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_layers_run_on_tensors_without_values(settings):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        layer, inputs = made_layer(settings)
        outputs, (h, c) = layer(inputs)
        (outputs.sum() + h.sum() + c.sum()).backward()
    assert [part.shape for part in (outputs, h, c)] == [
        part.shape for part in flat(made_layer(settings)[0](torch.randn(inputs.shape)))
    ]
    assert all(weight.grad.shape == weight.shape for weight in layer.parameters())


def flat(results):
    return (results[0], *results[1])


@pytest.mark.parametrize(
    "name", [name for name in ALL if name != "lagrangian"]
)  # which decides by values
def test_models_run_on_tensors_without_values(name):
    from torch._subclasses.fake_tensor import FakeTensorMode

    network, context = made_model(name)
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    lent = {key: mode.from_tensor(value) for key, value in network.state_dict().items()}
    with mode, torch.no_grad():
        found = torch.func.functional_call(network.eval(), lent, (mode.from_tensor(context), 2))
    assert found.point().shape == (1, 2, 1, 16, 16)


@pytest.fixture
def one_process(tmp_path):
    """A world of one process, with gloo."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield torch.distributed.device_mesh.init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


@pytest.mark.filterwarnings("ignore:FSDP2-wrapped module")
def test_sharded_layers_and_models_train_as_they_do_whole(one_process):
    from torch.distributed.fsdp import fully_shard

    cases = [
        (*made_layer(settings), lambda layer, values: layer(values)[0]) for settings in SETTINGS
    ]
    cases += [(*made_model(name), forecast) for name in ("convlstm_small", "trajgru_moving_mnist")]
    for index, (whole, inputs, call) in enumerate(cases):
        for parts in ("the whole", "every part")[index % 2 :]:
            sharded = copy.deepcopy(whole)
            inner = [
                module
                for module in reversed(list(sharded.modules()))
                if module is not sharded and list(module.parameters(recurse=False))
            ]
            for module in inner if parts == "every part" else []:
                if not isinstance(module, nn.ParameterList):
                    fully_shard(module, mesh=one_process)
            fully_shard(sharded, mesh=one_process)
            reference = copy.deepcopy(whole)
            losses = []
            for module in (reference, sharded):
                optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
                for _ in range(2):
                    loss = call(module, inputs).square().mean()
                    loss.backward()
                    optimizer.step()
                    optimizer.zero_grad()
                losses.append(loss.detach())
            close(losses[1], losses[0], 1e-4)


MASK = torch.tensor([[True, False, True], [True, True, False]])


@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("settings", [{}, {"norm_groups": 2}, {"checkpoint": 2}], ids=str)
def test_types_of_outputs_and_state_depend_on_the_weights_and_autocast_alone(
    settings, weights, autocast
):
    """And not on a mask, on the way that is taken, on the type of a given state, or on the number
    of steps.
    """
    layer, inputs = made_layer(settings, dtype=weights)
    hooked, _ = made_layer(settings, dtype=weights)
    hooked.cell.register_forward_hook(lambda *_: None)
    found, working = set(), weights if autocast is None or weights == torch.float64 else autocast
    with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
        for module in (layer, hooked):
            for mask in (None, MASK):
                for state in (None, torch.float32, torch.bfloat16):
                    begin = None if state is None else (torch.zeros(2, 4, 7, 6, dtype=state),) * 2
                    outputs, (h, c) = module(inputs, begin, mask=mask)
                    found.add((outputs.dtype, h.dtype, c.dtype))
        none, _ = layer(inputs[:, :0], (torch.zeros(2, 4, 7, 6),) * 2)
    assert (
        found == {(working, working, torch.promote_types(weights, torch.float32))}
        and none.dtype == working
    )


@pytest.mark.parametrize("mask", [None, MASK], ids=["no mask", "mask"])
def test_a_compiled_layer_gives_the_types_of_one_that_is_not(mask):
    layer, inputs = made_layer({})
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (flat(module(inputs, mask=mask)) for module in (compiled, layer))
    torch._dynamo.reset()
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        close(one.float(), other.float(), 0.02)


@pytest.mark.parametrize("name", ALL)
def test_forecasts_are_float32_with_autocast_and_without(name):
    network, context = made_model(name)
    observed = torch.rand(context.shape) > 0.2
    for enabled in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            assert {
                network(context, 2).point().dtype,
                network(context, 2, observed).point().dtype,
            } == {torch.float32}


def test_a_layer_without_memory_draws_its_weights_anew():
    for made in (
        lambda: ConvLSTM(2, 3, forget_bias=1.0, norm_groups=1, initialisation="keras"),
        lambda: FCLSTMLayer(3, 4),
    ):
        with torch.device("meta"):
            layer = made()
        layer = layer.to_empty(device="cpu")
        torch.manual_seed(4)
        for module in layer.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        torch.manual_seed(4)
        expected = made()
        assert all(
            torch.equal(*same)
            for same in zip(layer.parameters(), expected.parameters(), strict=True)
        )


def test_what_a_fused_optimiser_remembers_is_laid_as_the_weights_lie():
    """Adam, stopped by a checkpoint of weights with their channels last, goes on as if it had not
    been stopped.
    """
    torch.manual_seed(0)
    straight = nn.Conv2d(3, 4, 3)
    stopped = copy.deepcopy(straight).to(memory_format=torch.channels_last)
    gradients = [torch.randn(4, 3, 3, 3) for _ in range(3)]

    def steps(module, optimizer, gradients):
        for gradient in gradients:
            module.weight.grad = torch.empty_like(module.weight).copy_(gradient)
            module.bias.grad = gradient.sum((1, 2, 3))
            optimizer.step()

    whole = torch.optim.Adam(straight.parameters(), fused=True)
    steps(straight, whole, gradients)
    first = torch.optim.Adam(stopped.parameters(), fused=True)
    steps(stopped, first, gradients[:1])
    saved = first.state_dict()
    assert not saved["state"][0]["exp_avg"].is_contiguous()
    resumed = nn.Conv2d(3, 4, 3)
    resumed.load_state_dict(stopped.state_dict())
    lay_like_parameters(saved["state"], list(resumed.parameters()))
    second = torch.optim.Adam(resumed.parameters(), fused=True)
    second.load_state_dict(saved)
    steps(resumed, second, gradients[1:])
    close(resumed.weight, straight.weight, 1e-7)
    assert second.state_dict()["state"][0]["exp_avg"].is_contiguous()


CHOICES = {
    ConvLSTM: {"input_channels": [2, 0], "hidden_channels": [4, 6], "input_kernel": [3, (1, 3)], "state_kernel": [3, (4, 1)], "padding": ["valid"],
               "dilation": [1, 2], "activation": ["relu", "linear"], "gate_activation": ["hard_sigmoid"], "bias": [False], "forget_bias": [0.5],
               "peephole": [False], "norm_groups": [1, 2], "dropout": [0.25], "state_dropout": [0.125], "initialisation": ["keras"],
               "go_backwards": [True], "stateful": [True], "channels_last": [True], "checkpoint": [3]},
    ConvGRU: {"input_channels": [2, 0], "hidden_channels": [3], "state_kernel": [3, 7], "dilation": [2, 3]},
    TrajGRU: {"input_channels": [2, 0], "hidden_channels": [3], "links": [2, 5]},
    FCLSTMLayer: {"inputs": [0, 3], "units": [5]},
    SpatioTemporalCell: {"input_channels": [2], "hidden_channels": [3], "kernel": [3], "layer_norm": [True]},
    EncoderForecaster: {"hidden_channels": [[3, 4]], "input_kernel": [3], "patch": [2, 8], "peephole": [False], "checkpoint": [2], "state_noise": [0.1],
                        "output": ["linear"], "output_bias": [-5.0], "observed_channel": [True]},
}  # fmt: skip
NEEDED = {ConvLSTM: ("input_channels", "hidden_channels"), ConvGRU: ("input_channels", "hidden_channels"), TrajGRU: ("input_channels", "hidden_channels"),
          FCLSTMLayer: ("inputs", "units"), SpatioTemporalCell: ("input_channels", "hidden_channels"), EncoderForecaster: ("hidden_channels",)}  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", CHOICES, ids=lambda kind: kind.__name__)
def test_the_text_of_a_layer_shows_every_setting_that_it_was_made_with(kind, seed):
    generator = np.random.default_rng(seed)
    given = {}
    for name, values in CHOICES[kind].items():
        if name in NEEDED[kind] or generator.random() < 0.6:
            given[name] = values[generator.integers(len(values))]
    shown = given | {
        name: (value, value)
        for name, value in given.items()
        if kind in (ConvLSTM, EncoderForecaster)
        and name in ("input_kernel", "dilation")
        and isinstance(value, int)
    }
    shown |= (
        {"state_kernel": (given["state_kernel"],) * 2}
        if kind is ConvLSTM and isinstance(given.get("state_kernel"), int)
        else {}
    )
    shown.pop("dilation", None) if kind is ConvLSTM and given.get("dilation") == 1 else None
    text = repr(kind(**given))
    assert [name for name, value in shown.items() if f"{name}={value!r}" not in text] == []


@pytest.mark.parametrize("name", ALL)
def test_the_text_of_a_model_shows_the_settings_of_its_file(name):
    """Each is there, but for those that are the default of the class, which torch's own modules
    leave out, too.
    """
    text = repr(_model_made_once(name))
    if name == "lagrangian":
        given, kind = (
            {"hidden_channels": [4, 4, 4], "knee": 0.1, "ceiling": 100.0},
            LagrangianConvLSTM,
        )
    else:
        given = settings(name, "radar")["model"]
        kind = type(_model_made_once(name))
    defaults = inspect.signature(kind.__init__).parameters
    for key, value in given.items():
        sides = (value, value) if key in ("input_kernel", "state_kernel") else value
        if key != "_target_" and value is not None and value != defaults[key].default:
            assert f"{key}={value!r}" in text or f"{key}={sides!r}" in text, key
