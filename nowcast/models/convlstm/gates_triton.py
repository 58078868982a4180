"""The gates on a GPU: one Triton kernel forward and one backward, the arithmetic of gates.c.

Every launch depends on shapes alone, and nothing is read back to the host, so that a CUDA graph can
capture a whole sequence.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 512  # numbers of h and c that one program computes
ROWS = 64  # rows that one program of the backward pass adds up


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _forward(
    conv,
    add,
    keep,
    before,
    after,
    h,
    peephole,
    count,
    features,
    offset,
    CONV: tl.constexpr,
    ADD: tl.constexpr,
    KEEP: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < count
    channel = at % features
    gate = (at // features) * 4 * features + channel
    i = tl.zeros([BLOCK], tl.float32)
    f, g, o = i, i, i
    if CONV:
        i += tl.load(conv + gate, inside, 0).to(tl.float32)
        f += tl.load(conv + gate + features, inside, 0).to(tl.float32)
        g += tl.load(conv + gate + 2 * features, inside, 0).to(tl.float32)
        o += tl.load(conv + gate + 3 * features, inside, 0).to(tl.float32)
    if ADD:
        i += tl.load(add + gate, inside, 0).to(tl.float32)
        f += tl.load(add + gate + features, inside, 0).to(tl.float32)
        g += tl.load(add + gate + 2 * features, inside, 0).to(tl.float32)
        o += tl.load(add + gate + 3 * features, inside, 0).to(tl.float32)
    if KEEP:
        tl.store(keep + gate, i, inside)
        tl.store(keep + gate + features, f, inside)
        tl.store(keep + gate + 2 * features, g, inside)
        tl.store(keep + gate + 3 * features, o, inside)
    c = tl.load(before + at, inside, 0)
    f += offset
    if PEEPHOLE:
        i += tl.load(peephole + channel) * c
        f += tl.load(peephole + features + channel) * c
    c = tl.sigmoid(f) * c + tl.sigmoid(i) * _tanh(g)
    if PEEPHOLE:
        o += tl.load(peephole + 2 * features + channel) * c
    tl.store(after + at, c, inside)
    tl.store(h + at, tl.sigmoid(o) * _tanh(c), inside)


@triton.jit
def _backward(
    z,
    before,
    dh1,
    dh2,
    dc,
    dz,
    peephole,
    sums,
    rows,
    features,
    offset,
    DH1: tl.constexpr,
    DH2: tl.constexpr,
    PEEPHOLE: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    channel = tl.arange(0, CHANNELS)[None, :]
    channel = channel + tl.program_id(1) * CHANNELS
    inside = (row < rows) & (channel < features)
    at = row * features + channel
    gate = row * 4 * features + channel
    one = channel < features
    c0 = tl.load(before + at, inside, 0)
    zi = tl.load(z + gate, inside, 0).to(tl.float32)
    zf = tl.load(z + gate + features, inside, 0).to(tl.float32) + offset
    zg = tl.load(z + gate + 2 * features, inside, 0).to(tl.float32)
    zo = tl.load(z + gate + 3 * features, inside, 0).to(tl.float32)
    if PEEPHOLE:
        wi = tl.load(peephole + channel, one, 0)
        wf = tl.load(peephole + features + channel, one, 0)
        wo = tl.load(peephole + 2 * features + channel, one, 0)
        zi += wi * c0
        zf += wf * c0
    i, f, g = tl.sigmoid(zi), tl.sigmoid(zf), _tanh(zg)
    c = f * c0 + i * g
    if PEEPHOLE:
        zo += wo * c
    o, t = tl.sigmoid(zo), _tanh(c)
    dh = tl.zeros_like(c)
    if DH1:
        dh += tl.load(dh1 + at, inside, 0).to(tl.float32)
    if DH2:
        dh += tl.load(dh2 + at, inside, 0).to(tl.float32)
    dzo = dh * t * o * (1 - o)
    d = tl.load(dc + at, inside, 0) + dh * o * (1 - t * t)
    if PEEPHOLE:
        d += dzo * wo
    dzi, dzf, dzg = d * g * i * (1 - i), d * c0 * f * (1 - f), d * i * (1 - g * g)
    d = d * f
    if PEEPHOLE:
        d += dzi * wi + dzf * wf
    tl.store(dc + at, d, inside)
    tl.store(dz + gate, dzi, inside)
    tl.store(dz + gate + features, dzf, inside)
    tl.store(dz + gate + 2 * features, dzg, inside)
    tl.store(dz + gate + 3 * features, dzo, inside)
    mine = (
        sums
        + tl.program_id(0) * 7 * features
        + tl.arange(0, CHANNELS)
        + tl.program_id(1) * CHANNELS
    )
    mask = tl.arange(0, CHANNELS) + tl.program_id(1) * CHANNELS < features
    zero = tl.zeros_like(c)
    tl.store(mine, tl.load(mine, mask, 0) + tl.sum(tl.where(inside, dzi, zero), 0), mask)
    tl.store(
        mine + features,
        tl.load(mine + features, mask, 0) + tl.sum(tl.where(inside, dzf, zero), 0),
        mask,
    )
    tl.store(
        mine + 2 * features,
        tl.load(mine + 2 * features, mask, 0) + tl.sum(tl.where(inside, dzg, zero), 0),
        mask,
    )
    tl.store(
        mine + 3 * features,
        tl.load(mine + 3 * features, mask, 0) + tl.sum(tl.where(inside, dzo, zero), 0),
        mask,
    )
    if PEEPHOLE:
        tl.store(
            mine + 4 * features,
            tl.load(mine + 4 * features, mask, 0) + tl.sum(tl.where(inside, dzi * c0, zero), 0),
            mask,
        )
        tl.store(
            mine + 5 * features,
            tl.load(mine + 5 * features, mask, 0) + tl.sum(tl.where(inside, dzf * c0, zero), 0),
            mask,
        )
        tl.store(
            mine + 6 * features,
            tl.load(mine + 6 * features, mask, 0) + tl.sum(tl.where(inside, dzo * c, zero), 0),
            mask,
        )


class Fused:
    """The calls of ``nowcast.models.convlstm.gates`` on a GPU."""

    name = "Triton"

    def parts(self, before: Tensor) -> int:
        """Rows of ``zero_sums``."""
        return triton.cdiv(before.shape[0], ROWS)

    def forward(self, conv, add, keep, before, after, h, peephole, forget_offset) -> None:
        """One step."""
        rows, features = before.shape
        given = {
            "CONV": conv is not None,
            "ADD": add is not None,
            "KEEP": keep is not None,
            "PEEPHOLE": peephole is not None,
        }
        tensors = [
            before if part is None else part
            for part in (conv, add, keep, before, after, h, peephole)
        ]
        with _on(before):
            _forward[(triton.cdiv(rows * features, BLOCK),)](
                *tensors, rows * features, features, forget_offset, **given, BLOCK=BLOCK
            )

    def backward(self, z, before, dh, more_dh, dc, dz, peephole, forget_offset, sums) -> None:
        """The gradient of one step."""
        rows, features = before.shape
        channels = min(64, triton.next_power_of_2(features))
        given = {
            "DH1": dh is not None,
            "DH2": more_dh is not None,
            "PEEPHOLE": peephole is not None,
        }
        tensors = [
            before if part is None else part
            for part in (z, before, dh, more_dh, dc, dz, peephole, sums)
        ]
        with _on(before):
            _backward[(len(sums), triton.cdiv(features, channels))](
                *tensors, rows, features, forget_offset, **given, ROWS=ROWS, CHANNELS=channels
            )


def _on(tensor: Tensor):
    """Kernels go to the GPU of their tensors, whichever is the current one."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else torch.no_grad()
