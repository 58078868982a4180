"""The ConvLSTM against the paper's equations, written out here once more with plain NumPy loops."""

import numpy as np
import pytest
import torch

from nowcast.models.convlstm import ConvLSTM, ConvLSTMCell
from tests.equations import convolve, sigmoid


def equations(cell, inputs, h, c):
    """Equations (3) of the paper for one sequence (T, C, H, W); returns all h and the last c."""
    p = {name: value.detach().double().numpy() for name, value in cell.named_parameters()}
    bi, bf, bg, bo = np.split(p["bias"][:, None, None], 4)
    wi, wf, wo = p.get("peephole", np.zeros((3, cell.hidden_channels)))[:, :, None, None]
    outputs = []
    for x in inputs:
        xi, xf, xg, xo = np.split(
            convolve(x, p["input_weight"])
            if "input_weight" in p
            else np.zeros((4 * len(h), *h.shape[1:])),
            4,
        )
        hi, hf, hg, ho = np.split(convolve(h, p["state_weight"]), 4)
        i = sigmoid(xi + hi + wi * c + bi)
        f = sigmoid(xf + hf + wf * c + bf)
        c = f * c + i * np.tanh(xg + hg + bg)
        h = sigmoid(xo + ho + wo * c + bo) * np.tanh(c)
        outputs.append(h)
    return np.stack(outputs), c


def random_layer(input_channels=2, hidden=3, *, input_kernel=5, state_kernel=3, peephole=True):
    torch.manual_seed(0)
    layer = ConvLSTM(
        input_channels,
        hidden,
        input_kernel=input_kernel,
        state_kernel=state_kernel,
        peephole=peephole,
    ).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize("peephole", [True, False])
@pytest.mark.parametrize(("input_kernel", "state_kernel"), [(5, 3), (1, 5), (3, 1)])
def test_a_layer_computes_the_equations_of_the_paper_from_any_state(
    peephole, input_kernel, state_kernel
):
    layer = random_layer(input_kernel=input_kernel, state_kernel=state_kernel, peephole=peephole)
    inputs, h, c = (
        torch.randn(*shape, dtype=torch.float64)
        for shape in [(2, 4, 2, 5, 4), (2, 3, 5, 4), (2, 3, 5, 4)]
    )
    outputs, (last_h, last_c) = layer(inputs, (h, c))
    for b in range(2):
        expected, expected_c = equations(layer.cell, inputs[b].numpy(), h[b].numpy(), c[b].numpy())
        np.testing.assert_allclose(outputs[b].detach(), expected, rtol=0, atol=1e-12)
        np.testing.assert_allclose(last_c[b].detach(), expected_c, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(last_h[b].detach(), outputs[b, -1].detach())


def test_the_state_is_zero_where_none_is_given():
    layer = random_layer()
    inputs = torch.randn(1, 3, 2, 4, 6, dtype=torch.float64)
    expected, _ = equations(layer.cell, inputs[0].numpy(), np.zeros((3, 4, 6)), np.zeros((3, 4, 6)))
    np.testing.assert_allclose(layer(inputs)[0][0].detach(), expected, rtol=0, atol=1e-12)


def test_a_layer_without_input_is_driven_by_its_state_alone():
    layer = random_layer(0)
    h, c = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    outputs, (_, last_c) = layer(None, (h, c), length=3)
    expected, expected_c = equations(layer.cell, [None] * 3, h[0].numpy(), c[0].numpy())
    np.testing.assert_allclose(outputs[0].detach(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(last_c[0].detach(), expected_c, rtol=0, atol=1e-12)
    assert layer.cell.input_weight is None


def test_two_halves_with_the_state_handed_over_equal_the_whole():
    layer = random_layer()
    inputs = torch.randn(1, 6, 2, 4, 4, dtype=torch.float64)
    whole, (h, c) = layer(inputs)
    first, state = layer(inputs[:, :2])
    second, (h2, c2) = layer(inputs[:, 2:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(c2, c, rtol=0, atol=1e-12)


def test_zero_steps_give_no_outputs_and_leave_the_state_alone():
    layer = random_layer(0)
    h, c = torch.randn(2, 1, 3, 4, 5, dtype=torch.float64)
    outputs, (last_h, last_c) = layer(None, (h, c), length=0)
    assert outputs.shape == (1, 0, 3, 4, 5)
    assert torch.equal(last_h, h) and torch.equal(last_c, c)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (13, 2)])
def test_any_map_size_works_with_the_same_weights(size):
    layer = random_layer()
    inputs = torch.randn(1, 2, 2, *size, dtype=torch.float64)
    expected, _ = equations(
        layer.cell, inputs[0].numpy(), np.zeros((3, *size)), np.zeros((3, *size))
    )
    np.testing.assert_allclose(layer(inputs)[0][0].detach(), expected, rtol=0, atol=1e-12)


def test_gradients_of_every_weight_agree_with_finite_differences():
    layer = random_layer(1, 2, input_kernel=3)
    inputs = torch.randn(1, 2, 1, 3, 2, dtype=torch.float64, requires_grad=True)
    names, values = zip(*layer.named_parameters(), strict=True)
    assert len(names) == 4

    def run(inputs, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (inputs,))[
            0
        ]

    assert torch.autograd.gradcheck(run, (inputs, *values))


def test_peepholes_are_one_trainable_number_per_channel_that_acts():
    layer = random_layer()
    inputs = torch.randn(1, 3, 2, 4, 4, dtype=torch.float64)
    before = layer(inputs)[0].detach()
    assert layer.cell.peephole.shape == (3, 3)
    for gate in range(3):
        with torch.no_grad():
            layer.cell.peephole[gate] += 1
        after = layer(inputs)[0].detach()
        assert (after - before).abs().max() > 1e-3
        before = after


def test_weights_start_uniform_in_one_over_root_of_input_channels_and_the_rest_at_zero():
    torch.manual_seed(0)
    cell = ConvLSTMCell(16, 64, input_kernel=5, state_kernel=3)
    assert cell.input_weight.abs().max().item() == pytest.approx(16**-0.5, rel=1e-3)
    assert cell.state_weight.abs().max().item() == pytest.approx(64**-0.5, rel=1e-3)
    assert cell.input_weight.mean().item() == pytest.approx(0, abs=2e-3)
    assert cell.bias.abs().max() == 0 and cell.peephole.abs().max() == 0


def test_the_cell_state_stays_float32_under_bfloat16_autocast_and_the_result_stays_near():
    torch.manual_seed(0)
    layer = ConvLSTM(2, 8, input_kernel=3, state_kernel=3)
    inputs = torch.rand(1, 6, 2, 8, 8)
    exact, _ = layer(inputs)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, (_, c) = layer(inputs)
    assert c.dtype == torch.float32
    assert (outputs - exact).abs().max() < 0.02


OPTIONS = {
    "plain": {},
    "uneven kernels": {"input_kernel": (1, 4), "state_kernel": (4, 3)},
    "valid": {"padding": "valid", "input_kernel": (2, 3)},
    "stride": {"stride": (2, 1)},
    "dilation": {"dilation": (1, 2)},
    "activations": {"activation": "linear", "gate_activation": "tanh"},
    "leaky relu": {"activation": "leaky_relu"},
    "no bias": {"bias": False, "forget_bias": 1.0},
    "no peephole": {"peephole": False},
    "layer normalisation": {"norm_groups": 1},
    "group normalisation": {"norm_groups": 2},
    "normalisation without bias": {"norm_groups": 2, "bias": False},
    "dropout": {"dropout": 0.5},
    "state dropout": {"state_dropout": 0.5},
    "both dropouts": {"dropout": 0.5, "state_dropout": 0.5},
    "backwards": {"go_backwards": True},
    "channels last": {"channels_last": True},
    "checkpoint": {"checkpoint": 2},
    "checkpoint and dropout": {"checkpoint": 1, "dropout": 0.5, "state_dropout": 0.5},
    "no input": {"input_channels": 0},
    "no input, checkpoint": {"input_channels": 0, "checkpoint": 2},
}


def with_option(option, *, hidden=2, size=(3, 4), batch=2):
    """A random float64 layer with an option, and what it is called with: inputs, state, length."""
    settings = {"input_channels": 2, "input_kernel": 3, "state_kernel": 3, **OPTIONS[option]}
    torch.manual_seed(0)
    layer = ConvLSTM(settings.pop("input_channels"), hidden, **settings).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    state = tuple(
        torch.randn(batch, hidden, *layer.cell.state_size(*size), dtype=torch.float64) for _ in "hc"
    )
    inputs = (
        torch.randn(batch, 3, layer.cell.input_channels, *size, dtype=torch.float64)
        if layer.cell.input_channels
        else None
    )
    if layer.channels_last:
        inputs, state = inputs.movedim(2, -1), tuple(part.movedim(1, -1) for part in state)
    return layer, inputs, state


@pytest.mark.parametrize("option", OPTIONS)
def test_gradients_agree_with_finite_differences(option):
    layer, inputs, state = with_option(option, size=(2, 3), batch=1)
    names, values = zip(*layer.named_parameters(), strict=True)
    mask = torch.tensor([[True, False, True]])
    given = [] if inputs is None else [inputs.requires_grad_()]

    def run(*tensors):
        torch.manual_seed(1)  # the same dropout masks every time
        x, tensors = (tensors[0], tensors[1:]) if given else (None, tensors)
        outputs, last = torch.func.functional_call(
            layer,
            dict(zip(names, tensors[2:], strict=True)),
            (x, tensors[:2]),
            {"length": 3, "mask": mask},
        )
        return outputs, *last

    assert torch.autograd.gradcheck(
        run, (*given, *(part.requires_grad_() for part in state), *values)
    )


@pytest.mark.parametrize("option", OPTIONS)
def test_the_fast_path_is_the_cell_step_by_step(option):
    """All input convolutions in one call, blocks, channels last: the same numbers as one cell call
    per step.
    """
    layer, inputs, state = with_option(option)
    outputs, last = layer(inputs, state, length=3)
    torch.manual_seed(5)
    outputs, last = layer(inputs, state, length=3)
    steps = (
        [None] * 3
        if inputs is None
        else list((inputs.movedim(-1, 2) if layer.channels_last else inputs).unbind(1))
    )
    state = tuple(part.movedim(-1, 1) for part in state) if layer.channels_last else state
    torch.manual_seed(5)
    masks = layer.cell.dropout_masks(steps[0], state)
    expected = []
    for x in reversed(steps) if layer.go_backwards else steps:
        state = layer.cell(x, state, masks)
        expected.append(state[0])
    expected = torch.stack(expected, 1)
    if layer.channels_last:
        expected, state = expected.movedim(2, -1), tuple(part.movedim(1, -1) for part in state)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(last, state, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "option",
    [
        option
        for option in OPTIONS
        if option
        not in (
            "plain",
            "checkpoint",
            "checkpoint and dropout",
            "channels last",
            "no input",
            "no input, checkpoint",
        )
    ],
)
def test_every_option_acts(option):
    """With what it changes left at its default and the other weights equal, the outputs differ."""
    layer, inputs, state = with_option(option)
    plain = ConvLSTM(2, 2, input_kernel=3, state_kernel=3).double()
    for (
        parameter
    ) in plain.parameters():  # what the option takes away is there, what it adds is neutral
        torch.nn.init.normal_(parameter)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name not in plain.state_dict():
                parameter.fill_(float("gain" in name))
    shared = {
        name: weight
        for name, weight in layer.state_dict().items()
        if plain.state_dict().get(name, weight[:0]).shape == weight.shape
    }
    plain.load_state_dict(shared, strict=False)
    outputs = layer(inputs, state)[0]
    if option in ("valid", "stride"):
        assert outputs.shape[-2:] == ((2, 2) if option == "valid" else (2, 4))
    else:
        assert (outputs - plain(inputs, state)[0]).abs().max() > 1e-3


def test_a_forget_bias_acts_and_without_a_bias_it_is_a_constant():
    torch.manual_seed(0)
    x = torch.randn(1, 3, 2, 4, 4, dtype=torch.float64)
    learnt = ConvLSTM(2, 3, forget_bias=1.5, peephole=False).double()
    constant = ConvLSTM(2, 3, forget_bias=1.5, peephole=False, bias=False).double()
    constant.load_state_dict(learnt.state_dict(), strict=False)
    assert "cell.bias" not in constant.state_dict()
    torch.testing.assert_close(constant(x)[0], learnt(x)[0], rtol=0, atol=1e-12)
    constant.cell.forget_offset = 0.0
    assert (constant(x)[0] - learnt(x)[0]).abs().max() > 1e-3


def test_normalisation_works_on_a_single_value():
    layer = ConvLSTM(1, 2, norm_groups=2)
    assert layer(torch.rand(1, 2, 1, 1, 1))[0].isfinite().all()


def test_a_stateful_layer_may_change_its_type_and_go_on_to_train_after_inference():
    layer = ConvLSTM(1, 2, stateful=True)
    x = torch.rand(1, 2, 1, 4, 4)
    with torch.inference_mode():
        layer(x)
    layer(x)[0].sum().backward()
    layer.double()
    assert layer(x.double())[0].dtype == torch.float64


def test_checkpointing_keeps_less_and_changes_nothing():
    layer, inputs, state = with_option("plain", hidden=4, size=(16, 16))
    inputs = inputs.repeat(1, 4, 1, 1, 1)
    results = {}
    for steps in (0, 3):
        layer.checkpoint, kept = steps, []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            outputs, _ = layer(inputs, state)
        layer.zero_grad()
        outputs.square().sum().backward()
        results[steps] = (
            sum(kept),
            outputs.detach(),
            *(weight.grad.clone() for weight in layer.parameters()),
        )
    assert results[3][0] < results[0][0] / 4
    for one, other in zip(results[0][1:], results[3][1:], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_normalisation_gives_every_group_of_every_gate_zero_mean_and_unit_variance():
    torch.manual_seed(0)
    layer = ConvLSTM(
        1,
        4,
        input_kernel=3,
        state_kernel=3,
        norm_groups=2,
        activation="linear",
        gate_activation="linear",
        peephole=False,
        initialisation="keras",
    ).double()
    seen = 50 + 9 * torch.randn(1, 1, 1, 32, 32, dtype=torch.float64)
    gain, bias = (
        torch.nn.init.normal_(layer.cell.gain).detach(),
        torch.nn.init.normal_(layer.cell.bias).detach(),
    )
    zeros = torch.zeros(1, 4, 32, 32, dtype=torch.float64)
    ones = torch.ones_like(zeros)
    _, (_, c) = layer(seen, (zeros, ones))  # c = f * 1 + i * g, all of them normalised
    gates = torch.nn.functional.conv2d(seen[:, 0], layer.cell.input_weight, padding=1)[0].reshape(
        4, 2, 2, 32, 32
    )
    normal = (gates - gates.mean((2, 3, 4), keepdim=True)) / gates.var(
        (2, 3, 4), correction=0, keepdim=True
    ).add(1e-5).sqrt()
    i, f, g, _ = (gain[:, None, None] * normal.reshape(16, 32, 32) + bias[:, None, None]).reshape(
        4, 4, 32, 32
    )
    torch.testing.assert_close(c[0], f + i * g, rtol=0, atol=1e-9)


def test_dropped_shares_scale_and_constancy_over_time():
    torch.manual_seed(0)
    layer = ConvLSTM(3, 2, input_kernel=3, state_kernel=3, dropout=0.25, state_dropout=0.4)
    state = layer.cell.initial_state(50, 20, 20)
    masks = layer.cell.dropout_masks(torch.zeros(50, 3, 20, 20), state)
    for mask, share, channels in ((masks.input, 0.25, 12), (masks.state, 0.4, 8)):
        assert mask.shape == (50, channels, 20, 20)
        assert mask.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
        assert (mask == 0).float().mean().item() == pytest.approx(share, abs=0.005)
        gates = mask.reshape(50, 4, -1)
        for one in range(4):  # each gate has its own
            for other in range(one):
                assert (
                    (gates[:, one] == 0) & (gates[:, other] == 0)
                ).float().mean().item() == pytest.approx(share**2, abs=0.01)


def test_dropout_acts_in_training_only_and_the_mean_of_many_draws_of_one_linear_step_is_the_undropped_one():
    torch.manual_seed(0)
    layer = ConvLSTM(
        2,
        3,
        input_kernel=3,
        state_kernel=3,
        dropout=0.5,
        state_dropout=0.5,
        activation="linear",
        gate_activation="linear",
        peephole=False,
    )
    with torch.no_grad():
        layer.cell.bias.fill_(1.0)
    x, h, c = torch.randn(1, 1, 2, 4, 4), torch.randn(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    layer.eval()
    assert torch.equal(layer(x, (h, c))[0], layer(x, (h, c))[0])
    exact = layer(x, (h, c))[1][
        1
        # c = i * g: two gates with masks of their own, so the mean of the product is the product of
        # the means
    ]
    layer.train()
    assert not torch.equal(layer(x, (h, c))[0], layer(x, (h, c))[0])
    many = layer(
        x.expand(20_000, -1, -1, -1, -1),
        (h.expand(20_000, -1, -1, -1), c.expand(20_000, -1, -1, -1)),
    )[1][1]
    error = many.std(0) / 20_000**0.5
    assert ((many.mean(0) - exact[0]).abs() < 5 * error).all()


def test_a_stateful_layer_goes_on_until_it_is_reset_and_its_gradient_ends_at_the_call():
    torch.manual_seed(0)
    layer = ConvLSTM(2, 3, stateful=True).double()
    plain = ConvLSTM(2, 3).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    whole = plain(x)[0]
    first, second = layer(x[:, :2])[0], layer(x[:, 2:])[0]
    torch.testing.assert_close(torch.cat([first, second], 1), whole, rtol=0, atol=1e-12)
    second.sum().backward()
    assert x.grad[:, :2].abs().max() == 0 and x.grad[:, 2:].abs().max() > 0
    with pytest.raises(
        ValueError,
        match=r"expected a state \(B, F, H, W\) .*; call reset_state\(\) before sequences of",
    ):
        layer(x[:1])
    layer.reset_state()
    torch.testing.assert_close(layer(x[:1])[0], whole[:1], rtol=0, atol=1e-12)


def test_a_masked_step_repeats_the_one_before():
    layer = random_layer()
    x = torch.randn(1, 4, 2, 4, 4, dtype=torch.float64)
    outputs, (h, c) = layer(x, mask=torch.tensor([[False, True, False, True]]))
    seen, (h2, c2) = layer(x[:, [1, 3]])
    torch.testing.assert_close(outputs[:, 1:], seen[:, [0, 0, 1]], rtol=0, atol=1e-12)
    assert outputs[:, 0].abs().max() == 0
    torch.testing.assert_close((h, c), (h2, c2), rtol=0, atol=1e-12)


def test_a_whole_model_in_bfloat16_keeps_its_cell_state_in_float32():
    torch.manual_seed(0)
    layer = ConvLSTM(2, 8, input_kernel=3, state_kernel=3, norm_groups=2)
    x = torch.rand(1, 6, 2, 8, 8)
    exact = layer(x)[0]
    outputs, (_, c) = layer.bfloat16()(x.bfloat16())
    assert (outputs.dtype, c.dtype) == (torch.bfloat16, torch.float32)
    assert (outputs.float() - exact).abs().max() < 0.05


def test_weights_and_inputs_in_any_memory_layout_give_the_same():
    layer, inputs, state = with_option("plain", size=(5, 6))
    expected = layer(inputs, state)[0].detach()
    other = layer.to(memory_format=torch.channels_last)(
        inputs.permute(0, 1, 4, 3, 2).contiguous().permute(0, 1, 4, 3, 2), state
    )[0]
    torch.testing.assert_close(other.detach(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input_kernel": 0}, "input_kernel is 0; expected a whole number from 1, or two of"),
        ({"state_kernel": (3, 3, 3)}, "a whole number from 1, or two of them"),
        (
            {"stride": 2, "dilation": 2},
            "stride is 2 and dilation is 2; only one of them can be above 1",
        ),
        ({"padding": "full"}, "padding is 'full'; accepted are same, valid"),
        ({"activation": "gelu"}, "activation is 'gelu'; accepted are tanh"),
        ({"dropout": 1.0}, "dropout is 1.0; expected a share from 0 to"),
        ({"state_dropout": -0.1}, "state_dropout is -0.1; expected a share"),
        ({"norm_groups": 3}, "norm_groups is 3; expected 0, or a number that divides the 4"),
        ({"initialisation": "zeros"}, "initialisation is 'zeros'; accepted are paper, keras"),
        ({"checkpoint": -1}, "checkpoint is -1; expected 0, or a number of steps"),
    ],
)
def test_a_setting_outside_what_is_accepted_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ConvLSTM(1, 4, **settings)


def test_maps_smaller_than_a_valid_kernel_are_refused():
    with pytest.raises(
        ValueError, match="expected maps of at least 5 x 5 for valid padding, got 4 x 9"
    ):
        ConvLSTM(1, 2, padding="valid")(torch.zeros(1, 1, 1, 4, 9))


def test_a_mask_of_another_shape_or_type_is_refused():
    for mask in (torch.ones(2, 3, dtype=torch.bool), torch.ones(1, 3)):
        with pytest.raises(ValueError, match=r"expected a boolean mask of shape \(1, 3\)"):
            random_layer()(torch.zeros(1, 3, 2, 4, 4, dtype=torch.float64), mask=mask)


def test_a_state_of_another_size_is_refused():
    with pytest.raises(
        ValueError, match=r"expected a state \(B, F, H, W\) of shape \(1, 3, 4, 4\)"
    ):
        random_layer()(
            torch.zeros(1, 3, 2, 4, 4, dtype=torch.float64),
            (torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 5)),
        )


def test_no_hidden_channel_is_refused():
    with pytest.raises(ValueError, match="a ConvLSTM expected input_channels"):
        ConvLSTMCell(1, 0)


def test_an_input_for_a_layer_without_one_is_refused_and_the_reverse():
    with pytest.raises(
        ValueError, match="expected no input for a ConvLSTM of 0 input channels, got one"
    ):
        random_layer(0)(torch.zeros(1, 1, 2, 3, 3))
    with pytest.raises(
        ValueError, match="expected an input for a ConvLSTM of 2 input channels, got none"
    ):
        random_layer()(None)


def test_a_layer_without_input_asks_for_state_and_length():
    with pytest.raises(ValueError, match="expected a state to start from and a length"):
        random_layer(0)(None, length=3)
    state = tuple(torch.zeros(2, 1, 3, 4, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match="a length of at least 0, got a state and -1"):
        random_layer(0)(None, state, length=-1)
    with pytest.raises(
        ValueError,
        match="length is 3, but the input has 2 steps; give length only where there is no input",
    ):
        random_layer()(torch.zeros(1, 2, 2, 4, 4, dtype=torch.float64), length=3)


def test_inputs_with_their_channels_last_are_told_so():
    with pytest.raises(
        ValueError,
        match=r"expected an input \(B, T, H, W, 2\), none of them 0 but T, got \(1, 2, 3, 4, 4\)",
    ):
        ConvLSTM(2, 3, channels_last=True)(torch.zeros(1, 2, 3, 4, 4))


def test_a_wrong_number_of_channels_is_refused():
    with pytest.raises(
        ValueError,
        match=r"expected an input \(B, T, 2, H, W\), none of them 0 but T, got \(1, 1, 3, 4, 4\)",
    ):
        random_layer()(torch.zeros(1, 1, 3, 4, 4))
