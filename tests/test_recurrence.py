"""A whole sequence as one function against its steps one by one: values, gradients, options, sizes,
precisions.
"""

import pytest
import torch

from nowcast.models.convlstm import ConvLSTM, ConvLSTMCell, gates, packed

OPTIONS = [
    {},
    {"peephole": False},
    {"bias": False},
    {"bias": False, "forget_bias": 1.0},
    {"forget_bias": 1.0, "initialisation": "keras"},
    {"stride": 2},
    {"stride": (1, 3), "padding": "valid", "input_kernel": (2, 3)},
    {"dilation": 2, "input_kernel": 3},
    {"input_kernel": (4, 2), "state_kernel": (1, 3)},
    {"state_kernel": 1},
    {"dropout": 0.4},
    {"go_backwards": True},
    {"stateful": True},
    {"channels_last": True},
    {"checkpoint": 2},
]


@pytest.fixture(params=["fused", "torch's operators"])
def fast(request, monkeypatch):
    """With oneDNN's own operators and compiled gates, and without them."""
    if request.param != "fused":
        monkeypatch.setattr(gates, "_kernel", lambda *_: None)
        monkeypatch.setattr(packed, "_works", lambda: False)


def pair(
    monkeypatch,
    inputs,
    state,
    *,
    dtype=torch.float64,
    channels=(3, 4),
    precision=None,
    length=None,
    **options,
):
    """Outputs, states and gradients of both ways, by name."""
    torch.manual_seed(0)
    layer = ConvLSTM(*channels, **({"input_kernel": 3, "state_kernel": 5} | options)).to(dtype)
    for weight in layer.parameters():
        torch.nn.init.uniform_(weight, -0.3, 0.3)
    found = []
    for fast in (True, False):
        calls = []
        with monkeypatch.context() as patch:
            run = ConvLSTMCell.run
            patch.setattr(
                ConvLSTMCell, "run", lambda *arguments: calls.append(1) or run(*arguments)
            )  # noqa: B023
            if not fast:
                patch.setattr(ConvLSTMCell, "can_run", lambda *_: False)
            leaves = [
                part.detach().clone(memory_format=torch.preserve_format).requires_grad_()
                for part in (inputs, *(state or ()))
                if part is not None
            ]
            begin = tuple(leaves[-2:]) if state else None
            layer.reset_state()
            layer.zero_grad()
            torch.manual_seed(7)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                outputs, (h, c) = layer(None if inputs is None else leaves[0], begin, length=length)
            generator = torch.Generator().manual_seed(1)
            total = sum(
                (
                    part.double()
                    * torch.randn(part.shape, generator=generator, dtype=torch.float64)
                ).sum()
                for part in (outputs, h, c)
            )
            total.backward()
        assert bool(calls) == fast
        gradients = {name: weight.grad for name, weight in layer.named_parameters()} | {
            f"leaf {index}": leaf.grad for index, leaf in enumerate(leaves)
        }
        found.append({"outputs": outputs.detach(), "h": h.detach(), "c": c.detach()} | gradients)
    return found


def equal(found, expected, tolerance):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape
        difference = (found[name].double() - value.double()).abs().max().item()
        assert difference <= tolerance * max(1, value.abs().max().item()), (name, difference)


def draw(*shape, dtype=torch.float64, seed=3):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


def state_of(options, batch, height, width, features=4, dtype=torch.float64):
    layer = ConvLSTM(3, features, **({"input_kernel": 3, "state_kernel": 5} | options))
    size = layer.cell.state_size(height, width)
    shape = (batch, *size, features) if options.get("channels_last") else (batch, features, *size)
    return draw(*shape, dtype=dtype), draw(*shape, dtype=dtype, seed=4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("begin", [False, True], ids=["from zeros", "from a state"])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 2e-5)],
    ids=["float64", "float32"],
)
def test_a_sequence_and_its_steps_give_the_same_values_and_gradients(
    options, begin, dtype, tolerance, fast, monkeypatch
):
    inputs = draw(2, 5, 3, 7, 9, dtype=dtype)
    inputs = inputs.movedim(2, -1) if options.get("channels_last") else inputs
    state = state_of(options, 2, 7, 9, dtype=dtype) if begin else None
    equal(*pair(monkeypatch, inputs, state, dtype=dtype, **options), tolerance)


@pytest.mark.parametrize(
    "options", [{}, {"peephole": False}, {"bias": False}, {"checkpoint": 3}], ids=str
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 2e-5)],
    ids=["float64", "float32"],
)
def test_a_layer_without_input_too(options, dtype, tolerance, fast, monkeypatch):
    state = draw(2, 4, 5, 6, dtype=dtype), draw(2, 4, 5, 6, dtype=dtype, seed=4)
    equal(
        *pair(monkeypatch, None, state, dtype=dtype, channels=(0, 4), length=5, **options),
        tolerance,
    )


@pytest.mark.parametrize(
    ("channels", "shape"),
    [
        ((1, 1), (1, 1, 1, 1, 1)),
        ((1, 5), (3, 4, 1, 1, 1)),
        ((2, 1), (1, 3, 2, 1, 7)),
        ((16, 33), (2, 3, 16, 13, 1)),
        ((3, 64), (1, 2, 3, 17, 31)),
        ((5, 7), (4, 1, 5, 3, 2)),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-12), (torch.float32, 2e-5)],
    ids=["float64", "float32"],
)
def test_at_odd_sizes(channels, shape, dtype, tolerance, fast, monkeypatch):
    equal(
        *pair(monkeypatch, draw(*shape, dtype=dtype), None, dtype=dtype, channels=channels),
        tolerance,
    )


LAYOUTS = {
    "every second pixel": lambda x: torch.stack([x, x], dim=-1).flatten(-2)[..., ::2],
    "time first": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),
    "channels last": lambda x: x.movedim(2, -1).contiguous().movedim(-1, 2),
    "expanded over the batch": lambda x: x[:1].expand(2, -1, -1, -1, -1),
    "a part of more channels": lambda x: torch.cat([x, x], dim=2)[:, :, 2:5],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_however_the_input_lies_in_memory(layout, fast, monkeypatch):
    inputs = LAYOUTS[layout](draw(2, 4, 3, 6, 5, dtype=torch.float32))
    state = tuple(
        part.transpose(0, 1).contiguous().transpose(0, 1)
        for part in state_of({}, 2, 6, 5, dtype=torch.float32)
    )
    results = pair(monkeypatch, inputs, state, dtype=torch.float32)
    equal(*results, 2e-5)
    again = pair(
        monkeypatch,
        inputs.contiguous(),
        tuple(part.contiguous() for part in state),
        dtype=torch.float32,
    )
    equal(again[0], results[0], 2e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "input_kernel": 4},
        {"dropout": 0.4},
        {"checkpoint": 2},
        {"bias": False, "forget_bias": 1.0},
    ],
    ids=str,
)
def test_under_autocast_both_ways_are_as_near_to_float32_as_bfloat16_is(options, fast, monkeypatch):
    inputs, state = (
        draw(2, 6, 3, 9, 8, dtype=torch.float32),
        state_of(options, 2, 9, 8, dtype=torch.float32),
    )
    half, half_steps = pair(
        monkeypatch, inputs, state, dtype=torch.float32, precision="bfloat16", **options
    )
    exact, _ = pair(monkeypatch, inputs, state, dtype=torch.float32, **options)
    assert (
        half["outputs"].dtype == half["h"].dtype == torch.bfloat16
        and half["c"].dtype == torch.float32
    )
    assert all(
        value.dtype == torch.float32 for name, value in half.items() if name not in ("outputs", "h")
    )
    for name, value in exact.items():
        error, steps = (
            (part[name].double() - value.double()).norm() / value.double().norm()
            for part in (half, half_steps)
        )
        assert error < 0.02 and error < 2 * steps + 1e-3, (name, error, steps)


def test_weights_in_bfloat16_run_as_a_whole(fast, monkeypatch):
    inputs = draw(2, 4, 3, 6, 5, dtype=torch.bfloat16)
    found, expected = pair(monkeypatch, inputs, None, dtype=torch.bfloat16)
    assert found["outputs"].dtype == torch.bfloat16 and found["c"].dtype == torch.float32
    equal(found, expected, 0.05)


@pytest.mark.parametrize("used", ["outputs", "h", "c", "last output"])
def test_a_gradient_may_come_through_one_result_only(used, fast):
    def gradients(fused):
        torch.manual_seed(0)
        layer, inputs = (
            ConvLSTM(2, 3, input_kernel=3, state_kernel=3).double(),
            draw(2, 4, 2, 5, 4).requires_grad_(),
        )
        if not fused:
            layer.cell.can_run = lambda masks: False
        outputs, (h, c) = layer(inputs)
        {"outputs": outputs, "h": h, "c": c, "last output": outputs[:, -1]}[
            used
        ].square().sum().backward()
        return {name: weight.grad for name, weight in layer.named_parameters()} | {
            "inputs": inputs.grad
        }

    equal(gradients(True), gradients(False), 1e-12)


def test_only_what_needs_a_gradient_gets_one(fast):
    layer = ConvLSTM(2, 3, input_kernel=3, state_kernel=3)
    layer.cell.input_weight.requires_grad_(False)
    layer.cell.peephole.requires_grad_(False)
    outputs, _ = layer(torch.rand(1, 3, 2, 5, 5))
    outputs.sum().backward()
    given = {name for name, weight in layer.named_parameters() if weight.grad is not None}
    assert given == {"cell.state_weight", "cell.bias"}
    with torch.no_grad():
        assert not layer(torch.rand(1, 3, 2, 5, 5))[0].requires_grad


def test_a_graph_that_is_kept_can_be_walked_again(fast):
    layer, inputs = ConvLSTM(2, 3, input_kernel=3, state_kernel=3), torch.rand(2, 4, 2, 5, 5)
    outputs, (h, _) = layer(inputs)
    loss, weights = outputs.square().sum() + h.sum(), list(layer.parameters())
    first = torch.autograd.grad(loss, weights, retain_graph=True)
    second = torch.autograd.grad(loss, weights, retain_graph=True)
    third = torch.autograd.grad(loss, weights)
    assert all(
        torch.equal(*same)
        for same in (*zip(first, second, strict=True), *zip(first, third, strict=True))
    )
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, weights)


@pytest.mark.parametrize(
    "options",
    [{}, {"peephole": False, "bias": False, "forget_bias": 1.0}, {"stride": 2, "input_kernel": 2}],
    ids=str,
)
@pytest.mark.parametrize("begin", [False, True])
def test_gradients_and_second_derivatives_agree_with_finite_differences(options, begin):
    torch.manual_seed(0)
    layer = ConvLSTM(2, 2, **({"input_kernel": 3, "state_kernel": 3} | options)).double()
    inputs = draw(1, 3, 2, 4, 3).requires_grad_()
    state = (
        tuple(
            part.requires_grad_()
            for part in (
                draw(1, 2, *layer.cell.state_size(4, 3)),
                draw(1, 2, *layer.cell.state_size(4, 3), seed=5),
            )
        )
        if begin
        else ()
    )

    def function(inputs, *rest):
        start, weights = rest[: len(state)], rest[len(state) :]
        outputs, final = torch.func.functional_call(
            layer, dict(zip(names, weights, strict=True)), (inputs, start or None)
        )
        return outputs, *final

    names, weights = zip(*layer.named_parameters(), strict=True)
    assert torch.autograd.gradcheck(function, (inputs, *state, *weights), fast_mode=True)
    assert torch.autograd.gradgradcheck(function, (inputs, *state, *weights), fast_mode=True)


def test_transforms_of_functions_take_the_steps_one_by_one():
    """Gradients for every sample by torch.func, against a backward pass for each."""
    layer, inputs = ConvLSTM(2, 3, input_kernel=3, state_kernel=3).double(), draw(3, 4, 2, 5, 5)
    weights = dict(layer.named_parameters())

    def loss(weights, sample):
        return torch.func.functional_call(layer, weights, (sample[None],))[0].square().sum()

    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(
        {name: weight.detach() for name, weight in weights.items()}, inputs
    )
    for index, sample in enumerate(inputs):
        expected = torch.autograd.grad(loss(weights, sample), list(weights.values()))
        for (name, value), wanted in zip(found.items(), expected, strict=True):
            torch.testing.assert_close(value[index], wanted, msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"activation": "relu"},
        {"gate_activation": "hard_sigmoid"},
        {"norm_groups": 2},
        {"state_dropout": 0.3},
        {"state_kernel": 4},
    ],
    ids=str,
)
def test_other_options_go_step_by_step(options):
    layer = ConvLSTM(2, 4, **({"input_kernel": 3, "state_kernel": 3} | options))
    layer.cell.run = None
    assert layer(torch.rand(1, 3, 2, 6, 6))[0].shape == (1, 3, 4, 6, 6)
    assert ConvLSTM(2, 4).cell.can_run(None) and not layer.cell.can_run(
        layer.cell.dropout_masks(torch.rand(1, 2, 6, 6), layer.cell.initial_state(1, 6, 6))
    )


def test_nothing_waits_for_a_value_so_that_a_graph_can_capture_it():
    """Tensors without values: whatever asked for one would fail."""
    with torch.device("meta"):
        layer = ConvLSTM(2, 3)
        inputs = torch.rand(2, 4, 2, 6, 5, requires_grad=True)
    outputs, (h, c) = layer(inputs)
    (outputs.sum() + c.sum()).backward()
    assert (
        outputs.shape == (2, 4, 3, 6, 5)
        and inputs.grad.shape == inputs.shape
        and h.device.type == "meta"
    )


def test_outputs_go_to_the_next_layer_as_they_lie_in_memory():
    layer = ConvLSTM(2, 3)
    outputs, _ = layer(torch.rand(2, 4, 2, 6, 5))
    assert outputs.transpose(0, 1).permute(0, 1, 3, 4, 2).is_contiguous()


def test_outputs_that_are_changed_in_place_are_noticed():
    outputs, _ = ConvLSTM(2, 3)(torch.rand(1, 2, 2, 4, 4))
    with pytest.raises(RuntimeError, match="in-?place"):
        outputs.relu_().sum().backward()


def test_many_gradients_at_once_are_those_one_by_one():
    layer, inputs = (
        ConvLSTM(2, 3, input_kernel=3, state_kernel=3).double(),
        draw(1, 3, 2, 4, 4).requires_grad_(),
    )
    outputs, _ = layer(inputs)
    directions = draw(4, *outputs.shape)
    (together,) = torch.autograd.grad(
        outputs, inputs, directions, is_grads_batched=True, retain_graph=True
    )
    for direction, found in zip(directions, together, strict=True):
        (alone,) = torch.autograd.grad(outputs, inputs, direction, retain_graph=True)
        torch.testing.assert_close(found, alone)


def test_forward_mode_derivatives_agree_with_finite_differences():
    layer, inputs, direction = (
        ConvLSTM(2, 3, input_kernel=3, state_kernel=3).double().requires_grad_(False),
        draw(1, 3, 2, 4, 4),
        draw(1, 3, 2, 4, 4, seed=8),
    )
    with torch.autograd.forward_ad.dual_level():
        outputs, _ = layer(torch.autograd.forward_ad.make_dual(inputs, direction))
        tangent = torch.autograd.forward_ad.unpack_dual(outputs).tangent
    ahead, behind = (layer(inputs + step * direction)[0] for step in (1e-6, -1e-6))
    torch.testing.assert_close(tangent, (ahead - behind) / 2e-6, rtol=1e-6, atol=1e-8)


def test_a_traced_layer_computes_what_the_layer_does():
    from torch.fx.experimental.proxy_tensor import make_fx

    layer, inputs = ConvLSTM(2, 3).requires_grad_(False), torch.rand(1, 3, 2, 4, 4)
    traced = make_fx(lambda values: layer(values)[0])(torch.rand(1, 3, 2, 4, 4))
    torch.testing.assert_close(traced(inputs), layer(inputs)[0], rtol=1e-5, atol=1e-6)


def test_inputs_and_states_from_inference_mode_can_be_trained_on():
    layer = ConvLSTM(2, 3)
    with torch.inference_mode():
        inputs = torch.rand(1, 3, 2, 4, 4)
        _, state = layer(inputs)
    layer(inputs, state)[0].sum().backward()
    assert layer.cell.state_weight.grad.abs().sum() > 0
