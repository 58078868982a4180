"""Muon: orthogonal momentum for convolutions, Adam for everything else."""

import copy

import pytest
import torch
from torch import nn

from nowcast.training.muon import Muon, orthogonal


def matrices(*shape, low=0.05, seed=0):
    """Random matrices whose singular values lie between ``low`` and 1."""
    torch.manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    values = torch.linspace(low, 1, min(shape[-2:]))
    return left * values @ right, left, right


@pytest.mark.parametrize("shape", [(8, 8), (8, 40), (40, 8), (3, 8, 20)])
def test_singular_values_from_1_to_a_twentieth_of_it_come_between_half_and_one_and_a_quarter(shape):
    found = orthogonal(matrices(*shape)[0])
    values = torch.linalg.svdvals(found)
    assert found.shape == shape and values.min() > 0.5 and values.max() < 1.25


def test_the_singular_directions_stay():
    matrix, left, right = matrices(6, 30)
    seen = left.mT @ orthogonal(matrix) @ right.mT
    torch.testing.assert_close(seen, torch.diag(seen.diagonal()), rtol=0, atol=1e-4)


def test_the_scale_of_a_matrix_does_not_matter_and_zeros_stay_zeros():
    matrix, _, _ = matrices(5, 9)
    torch.testing.assert_close(orthogonal(1e-6 * matrix), orthogonal(matrix), rtol=0, atol=1e-4)
    assert torch.equal(orthogonal(torch.zeros(5, 9)), torch.zeros(5, 9))


@pytest.mark.parametrize(("outputs", "inputs", "size"), [(4, 2, 1.0), (18, 2, 1.0), (72, 2, 2.0)])
def test_a_convolution_steps_along_its_momentum_and_farther_where_it_has_more_outputs_than_inputs(
    outputs, inputs, size
):
    torch.manual_seed(0)
    shape = (outputs, inputs, 3, 3)
    weight = nn.Parameter(torch.randn(shape))
    start, gradients = weight.detach().clone(), torch.randn(2, *shape)
    optimizer = Muon([weight], lr=0.1)
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    momentum = [gradients[0], 0.95 * gradients[0] + gradients[1]]
    expected = start
    for gradient, moved in zip(gradients, momentum, strict=True):
        ahead = gradient + 0.95 * moved
        step = orthogonal(ahead.reshape(outputs, 9 * inputs)).reshape(shape)
        expected = expected - 0.1 * size * step
    torch.testing.assert_close(weight.detach(), expected)


@pytest.mark.parametrize("shape", [(7,), (3, 7), (2, 3, 7)])
def test_all_other_parameters_step_as_with_adam_at_a_quarter_of_the_learning_rate(shape):
    torch.manual_seed(0)
    ours, theirs = (nn.Parameter(torch.ones(shape)) for _ in range(2))
    optimizers = Muon([ours], lr=0.08), torch.optim.Adam([theirs], lr=0.02)
    for _ in range(5):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_parameter_without_a_gradient_stays_and_the_closure_is_called_once():
    used, unused = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(1, 1, 3, 3))
    optimizer, calls = Muon([used, unused], lr=0.5), []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = used.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 2 and calls == [True]
    assert torch.equal(unused, torch.ones(1, 1, 3, 3)) and used.max() < 1


def test_a_copy_with_the_saved_state_goes_on_with_the_same_bits():
    torch.manual_seed(0)
    straight = nn.Conv2d(3, 4, 3)
    first = Muon(straight.parameters(), lr=0.01)
    gradients = [torch.randn(4, 3, 3, 3) for _ in range(4)]

    def step(module, optimizer, gradient):
        module.weight.grad, module.bias.grad = gradient.clone(), gradient.sum((1, 2, 3))
        optimizer.step()

    for gradient in gradients[:2]:
        step(straight, first, gradient)
    resumed = copy.deepcopy(straight)
    second = Muon(resumed.parameters(), lr=0.01)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for gradient in gradients[2:]:
        step(straight, first, gradient)
        step(resumed, second, gradient)
    assert torch.equal(straight.weight, resumed.weight)
    assert torch.equal(straight.bias, resumed.bias)
