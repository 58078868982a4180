"""A trained model as a graph of operators that runs without nowcast: for ``torch.export``, or as an
ONNX file.

    from nowcast.forecasting.export import export_onnx, export_program

    export_onnx("runs/my-run", "nowcast.onnx")            # rain rates in, rain rates out, mm/h
    program = export_program(ConvLSTM(1, 16), state=True)
    torch.export.save(program, "layer.pt2")

Batch, height and width of what goes in are free, and so is the number of frames where the model
reads any number; the length of the forecast is a constant of the export. Before it is returned a
graph is run on sizes that it was not made with, and compared with the model. Graphs compute in the
types of their tensors: run a program without autocast.

What can be exported, both ways, by its ``capabilities``:

- a ConvLSTM, and models of ``any_length`` (EncoderForecaster, Persistence, Dry): any number of
  frames;
- other models: one number of context frames;
- models that ``needs_scale`` (LagrangianConvLSTM, the shipped model among them): also one grid
  spacing; the minutes between frames are an input. Its graph takes minutes to make (12 leads: 80 s
  a program, 4 minutes an ONNX file, on one core). Advection takes one minute.

Refused: ``slow`` models, which compute with pysteps outside torch; a stateful ConvLSTM, for a graph
remembers nothing; a ConvLSTM without an input. Ensembles and probabilities at thresholds are not
among the outputs.

Axes: B batch, T time, L leads, C channels, F hidden channels, H rows, W columns.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

import nowcast
from nowcast.forecasting.forecaster import Forecaster
from nowcast.models.base import ForecastModel
from nowcast.models.convlstm import ConvLSTM
from nowcast.models.network import Network
from nowcast.runtime.distribution import install_hint
from nowcast.runtime.errors import MissingDependency, UserError, first_line
from nowcast.runtime.files import replacing, run_folder
from nowcast.types.scale import Scale
from nowcast.types.task import Task

_TOLERANCE = 1e-3  # of normalised values; float32 in another order of operations stays far below it
_FEW = 1e-3  # share of the pixels that may lie on the other side of a threshold after rounding
_OPSET = 20


@dataclass(frozen=True)
class _Export:
    """What is exported, and how it is called.

    Args:
        name: of its class, for messages.
        module: the wrapper whose call is exported.
        sample: makes arguments for a batch, a length, a height and a width.
        axes: name -> its axes, in the order of the arguments; "1" stands for an axis of one entry.
        outputs: the same of what is returned.
        units: name -> unit.
        length: the number of frames that the graph is made with, and whether it is free.
        side: sizes are made of multiples of it.
        properties: of the model, that the file says.
        variadic: arguments from this one on are taken by ``*``.
    """

    name: str
    module: nn.Module
    sample: Callable[[int, int, int, int], tuple[Tensor, ...]]
    axes: dict[str, str]
    outputs: dict[str, str]
    units: dict[str, str]
    length: tuple[int, bool]
    side: int
    properties: dict[str, object]
    variadic: int


class _Layer(nn.Module):
    """A ConvLSTM whose optional arguments are all there or not at all."""

    def __init__(self, layer: ConvLSTM, names: tuple[str, ...]):
        super().__init__()
        self.layer, self.names = layer, names

    def forward(self, inputs: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        given = dict(zip(self.names, rest, strict=True))
        state = (given["h"], given["c"]) if "h" in given else None
        outputs, (h, c) = self.layer(inputs, state, mask=given.get("mask"))
        return outputs, h, c


class _Normalised(nn.Module):
    """A model's call with a forecast length, and a spacing, that do not change."""

    def __init__(self, model: nn.Module, forecast_length: int, spacing: float | None):
        super().__init__()
        self.model, self.forecast_length, self.spacing = model, forecast_length, spacing

    def forward(self, context: Tensor, observed: Tensor, *timestep: Tensor) -> Tensor:
        scale = None if self.spacing is None else Scale(timestep[0], self.spacing)
        return self.model(context, self.forecast_length, observed, scale).point()


class _Physical(nn.Module):
    """The same from physical values to physical values, NaN where not observed or not forecast: (B,
    T, H, W) -> (B, L, H, W).
    """

    def __init__(self, call: _Normalised, transform):
        super().__init__()
        self.call, self.transform = call, transform

    def forward(self, values: Tensor, *timestep: Tensor) -> Tensor:
        observed = ~values.isnan()
        normalised = self.transform.normalise_(torch.where(observed, values, 0.0))
        forecast = self.call(normalised[:, :, None], observed[:, :, None], *timestep)[:, :, 0]
        known = torch.where(observed.any(dim=1, keepdim=True), forecast, torch.nan)
        return self.transform.restored(known)


def export_program(
    model,
    *,
    forecast_length: int | None = None,
    context_length: int | None = None,
    spacing: float | None = None,
    state: bool = False,
    mask: bool = False,
    verify: bool = True,
) -> ExportedProgram:
    """A model, or a ConvLSTM layer, as a program of ``torch.export``, for inference.

    What goes in and comes out depends on what is exported:

    - a run folder, "shipped", or a Forecaster: rain rates (B, T, H, W) float32 [mm/h] (or grey
      levels), NaN where not observed -> the forecast (B, L, H, W) in the same unit, NaN where there
      is none;
    - a model: context (B, T, 1, H, W), normalised, and observed, boolean, of its shape -> forecast
      (B, L, 1, H, W);
    - a ConvLSTM: inputs (B, T, C, H, W), then h and c with ``state``, and mask (B, T) with ``mask``
      -> outputs, h, c.

    Models that must know the scale of their frames take timestep, (B,) minutes, as a last argument.

    Args:
        model: what to export.
        forecast_length: L; None for that of the run's task.
        context_length: T; None for any, where the model reads any in one graph, else that of the
            run's task or of the model.
        spacing: kilometres between pixels, for models that must know: grids are laid out for it.
        state: of a ConvLSTM, whether the program takes h and c.
        mask: of a ConvLSTM, whether the program takes a mask.
        verify: run the program, in float32, on sizes it was not made with, and compare.

    Raises:
        UserError: what cannot be exported, and why; or the program does not do what the model does.
    """
    found = _export(model, forecast_length, context_length, spacing, state, mask)
    program = _program(found)
    if verify:
        runs = program.module()
        _compare(found, lambda arguments: runs(*arguments), "the exported program")
    return program


def export_onnx(
    model,
    path: str | Path,
    *,
    forecast_length: int | None = None,
    context_length: int | None = None,
    spacing: float | None = None,
    state: bool = False,
    mask: bool = False,
    verify: bool = True,
) -> Path:
    """The same as an ONNX file, which names its inputs and outputs, their axes and units.

    Args:
        model: as for ``export_program``, and so are the others.
        path: of the file, *.onnx.
        forecast_length: L.
        context_length: T.
        spacing: kilometres between pixels.
        state: of a ConvLSTM.
        mask: of a ConvLSTM.
        verify: run the file by onnxruntime on sizes it was not made with, and compare.

    Returns:
        The path.

    Raises:
        MissingDependency: onnx, onnxscript or (to verify) onnxruntime is not installed.
        UserError: as for ``export_program``.
    """
    _need_onnx(verify)
    path = Path(path)
    found = _export(model, forecast_length, context_length, spacing, state, mask)
    program = _program(found)
    try:
        with torch.no_grad():  # with gradients, scans of sizes that are free cannot be decomposed
            made = torch.onnx.export(
                program,
                (),
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=list(found.axes),
                output_names=list(found.outputs),
            )
    except Exception as error:
        raise UserError(
            f"{found.name} is not expressed in ONNX: {_reason(error)}. Export a program of "
            "torch instead (export_program)."
        ) from error
    _name_modes(made.model)
    _describe(made.model, found)
    with replacing(path) as temporary:
        made.save(str(temporary), external_data=False)
        if verify:
            _compare(found, _session(temporary, tuple(found.axes)), f"{path} in onnxruntime")
    return path


def _export(
    model,
    forecast_length: int | None,
    context_length: int | None,
    spacing: float | None,
    state: bool,
    mask: bool,
) -> _Export:
    """What is to be exported of a model, by its kind."""
    if isinstance(model, (str, Path)):
        model = Forecaster.load(run_folder(model))
    if isinstance(model, ConvLSTM):
        if forecast_length is not None or spacing is not None:
            raise UserError(
                "a ConvLSTM layer takes no forecast_length and no spacing; leave them out."
            )
        return _layer(model, context_length, state, mask)
    network, task = model, None
    if isinstance(model, Forecaster):
        network, task = model.model, model.task
    name = type(network).__name__
    if not isinstance(network, ForecastModel):
        raise UserError(
            f"{name} is not exported; expected a run folder, a Forecaster, a model or a ConvLSTM."
        )
    if state or mask:
        raise UserError(
            f"state and mask are arguments of a ConvLSTM layer, but {name} is exported; leave them "
            "out."
        )
    if network.capabilities.slow:
        raise UserError(
            f"{name} computes with NumPy and pysteps outside torch, so there is no graph of it to "
            "export; a trained network has one."
        )
    if forecast_length is None and task is not None:
        forecast_length = task.forecast_length
    call = _call(network, forecast_length, spacing)
    length = _length(network, context_length, task)
    side = max(4, network.multiple if isinstance(network, Network) else 16)
    if isinstance(model, Forecaster):
        return _physical(model, call, length, side)
    return _normalised(call, length, side)


def _call(
    network: ForecastModel, forecast_length: int | None, spacing: float | None
) -> _Normalised:
    """A model's call with the constants that its graph needs."""
    name = type(network).__name__
    if forecast_length is None:
        raise UserError(
            f"give forecast_length, the number of frames that the exported {name} is to predict."
        )
    if not network.capabilities.needs_scale:
        return _Normalised(network, forecast_length, None)
    if spacing is None or not spacing > 0:
        raise UserError(
            "give spacing, the kilometres between pixels that the grids of the exported "
            f"{name} are laid out for; got {spacing}."
        )
    return _Normalised(network, forecast_length, spacing)


def _length(
    network: ForecastModel, context_length: int | None, task: Task | None
) -> tuple[int, bool]:
    """The number of context frames that a graph is made with, and whether it takes any."""
    if context_length is not None:
        return context_length, False
    if network.capabilities.any_length:
        return 3, True
    if task is not None:
        return task.context_length, False
    if network.context_length > 1:
        return network.context_length, False
    raise UserError(
        f"give context_length, the number of frames that the exported {type(network).__name__} is "
        "to read: its graph is made for one."
    )


def _layer(layer: ConvLSTM, length: int | None, state: bool, mask: bool) -> _Export:
    cell = layer.cell
    names = (("h", "c") if state else ()) + (("mask",) if mask else ())
    if layer.stateful:
        raise UserError(
            "this ConvLSTM is stateful, but an exported program remembers nothing; make it with "
            "stateful=False, and pass the state (state=True)."
        )
    if not cell.input_channels:
        raise UserError(
            "this ConvLSTM has no input, so nothing says for how many steps its program is to "
            "run; export the model that it is part of."
        )

    def sample(batch: int, length: int, height: int, width: int) -> tuple[Tensor, ...]:
        tensors = [torch.randn(batch, length, cell.input_channels, height, width)]
        if state:
            shape = (batch, cell.hidden_channels, *cell.state_size(height, width))
            tensors += [torch.randn(shape).tanh(), torch.randn(shape)]
        if layer.channels_last:
            tensors = [tensor.movedim(-3, -1) for tensor in tensors]
        return (*tensors, torch.rand(batch, length) > 0.3) if mask else tuple(tensors)

    maps = "H W {}" if layer.channels_last else "{} H W"
    inside, hidden = maps.format("C"), "B " + maps.format("F").replace("H", "H'").replace("W", "W'")
    axes = {"inputs": f"B T {inside}", "h": hidden, "c": hidden, "mask": "B T"}
    outputs = {"outputs": hidden.replace("B", "B T"), "final_h": hidden, "final_c": hidden}
    reach = max(d * (k - 1) + 1 for k, d in zip(cell.input_kernel, cell.dilation, strict=True))
    return _Export(
        name=type(layer).__name__,
        module=_Layer(layer, names),
        sample=sample,
        axes={name: axes[name] for name in ("inputs", *names)},
        outputs=outputs,
        units={},
        length=(length or 3, length is None),
        side=max(4, reach),
        properties={},
        variadic=1,
    )


def _normalised(call: _Normalised, length: tuple[int, bool], side: int) -> _Export:
    def sample(batch: int, length: int, height: int, width: int) -> tuple[Tensor, ...]:
        values = _moving(batch, length, height, width)[:, :, None]
        observed = ~values.isnan()
        context = torch.where(observed, values / values.nan_to_num().amax(), 0.0)
        return context, observed, *_minutes(batch, call.spacing)

    return _Export(
        name=type(call.model).__name__,
        module=call,
        sample=sample,
        axes={"context": "B T 1 H W", "observed": "B T 1 H W"} | _timestep_axis(call.spacing),
        outputs={"forecast": "B L 1 H W"},
        units={"context": "1", "observed": "boolean", "timestep": "min", "forecast": "1"},
        length=length,
        side=side,
        properties=_properties(call),
        variadic=2,
    )


def _physical(
    forecaster: Forecaster, call: _Normalised, length: tuple[int, bool], side: int
) -> _Export:
    name, unit, scale = "grey_level", "1", 1 / 20
    if forecaster.task.quantity == "rain_rate":
        name, unit, scale = "rain_rate", "mm h-1", 1.0

    def sample(batch: int, length: int, height: int, width: int) -> tuple[Tensor, ...]:
        values = _moving(batch, length, height, width) * scale
        return values, *_minutes(batch, call.spacing)

    properties = _properties(call) | {"missing": "NaN"}
    if forecaster.settings is not None:
        properties |= {name: forecaster.settings[name] for name in ("task", "transform")}
    return _Export(
        name=type(call.model).__name__,
        module=_Physical(call, forecaster.transform),
        sample=sample,
        axes={name: "B T H W"} | _timestep_axis(call.spacing),
        outputs={"forecast": "B L H W"},
        units={name: unit, "timestep": "min", "forecast": unit},
        length=length,
        side=side,
        properties=properties,
        variadic=1,
    )


def _timestep_axis(spacing: float | None) -> dict[str, str]:
    return {} if spacing is None else {"timestep": "B"}


def _properties(call: _Normalised) -> dict[str, object]:
    spacing = {} if call.spacing is None else {"spacing_km": call.spacing}
    return {"forecast_length": call.forecast_length} | spacing


def _minutes(batch: int, spacing: float | None) -> tuple[Tensor, ...]:
    return () if spacing is None else (torch.full((batch,), 5.0),)


def _moving(batch: int, length: int, height: int, width: int) -> Tensor:
    """Made rain [mm/h] that moves, (B, T, H, W), with a corner of the last frame not observed."""
    rows, columns = torch.arange(height)[:, None] / 7.0, torch.arange(width) / 9.0
    steps = torch.arange(length)[:, None, None] / 5.0
    phases = torch.arange(batch)[:, None, None, None].float()
    values = 20 * (torch.sin(rows - steps + phases) * torch.cos(columns + steps)).clamp(min=0) ** 2
    values[:, -1, : height // 5, : width // 5] = torch.nan
    return values


def _program(found: _Export) -> ExportedProgram:
    length, free = found.length
    kinds = {
        "B": Dim.DYNAMIC,
        "T": Dim.DYNAMIC if free else Dim.STATIC,
        "H": Dim.DYNAMIC,
        "W": Dim.DYNAMIC,
        "H'": Dim.AUTO,
        "W'": Dim.AUTO,
    }
    shapes = []
    for axes in found.axes.values():
        free_axes = enumerate(axes.split())
        shapes.append({place: kinds[axis] for place, axis in free_axes if axis in kinds})
    named, rest = shapes[: found.variadic], tuple(shapes[found.variadic :])
    dynamic_shapes = (*named, rest) if rest else tuple(named)
    arguments = found.sample(2, length, 2 * found.side + 3, 3 * found.side + 1)
    try:
        with _evaluating(found.module), torch.no_grad(), torch.autocast("cpu", enabled=False):
            return torch.export.export(found.module, arguments, dynamic_shapes=dynamic_shapes)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{found.name} cannot be exported: {_reason(error)}.") from error


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """A module in evaluation, each part of it put back afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True


def _compare(found: _Export, run: Callable[[tuple[Tensor, ...]], object], name: str) -> None:
    """Compare with the model on sizes that the graph was not made with.

    Raises:
        UserError: the two differ.
    """
    length, free = found.length
    sizes = [
        (1, length, 3 * found.side + 2, 2 * found.side + 1),
        (3, length + 2 if free else length, 2 * found.side, 4 * found.side),
    ]
    for size in sizes:
        arguments = found.sample(*size)
        with _evaluating(found.module), torch.no_grad():
            wanted = found.module(*arguments)
            try:
                came = run(arguments)
            except Exception as error:
                raise UserError(
                    f"{name} does not run on {size} (B, T, H, W), sizes that it was not made "
                    f"with: {_reason(error)}."
                ) from error
        for one, other in zip(_as_tuple(wanted), _as_tuple(came), strict=True):
            near = (one - other).abs() <= _TOLERANCE * one.abs().clamp(min=1)
            same = near | (one.isnan() & other.isnan())
            if one.shape != other.shape or not same.float().mean() >= 1 - _FEW:
                raise UserError(
                    f"{name} does not do what the model does on {size} (B, T, H, W): "
                    f"{(~same).sum()} of {same.numel()} values differ; it is not used."
                )


def _as_tuple(value) -> tuple[Tensor, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _need_onnx(verify: bool) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401

        if verify:
            import onnxruntime  # noqa: F401
    except ImportError as error:
        raise MissingDependency(
            f"an ONNX file needs onnx, onnxscript and, to be verified, onnxruntime ({error}); "
            f"install them with: {install_hint('export')}."
        ) from error


def _session(path: Path, names: tuple[str, ...]) -> Callable[[tuple[Tensor, ...]], list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # of warnings there are many, about weights that its optimiser folded away
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )

    def run(arguments: tuple[Tensor, ...]) -> list[Tensor]:
        given = {
            name: tensor.contiguous().numpy() for name, tensor in zip(names, arguments, strict=True)
        }
        return [torch.from_numpy(found) for found in session.run(None, given)]

    return run


def _name_modes(made) -> None:
    """The mode of each GridSample as this opset calls it: within loops torch leaves the name of an
    older one, which is refused.
    """
    for node in made.graph.all_nodes():
        mode = node.attributes.get("mode")
        if node.op_type == "GridSample" and mode is not None and mode.as_string() == "bilinear":
            node.attributes["mode"] = type(mode)("mode", mode.type, "linear")


_AXES = {
    "B": "batch",
    "T": "time",
    "H": "height",
    "W": "width",
    "L": "lead",
    "C": "channel",
    "F": "hidden_channel",
    "H'": "state_height",
    "W'": "state_width",
}


def _describe(made, found: _Export) -> None:
    """Names of the free axes of inputs and outputs, and what they are, into the file."""
    symbols = {}
    for value, axes in zip(made.graph.inputs, found.axes.values(), strict=True):
        for dimension, axis in zip(value.shape, axes.split(), strict=True):
            if not isinstance(dimension, int):
                symbols.setdefault(str(dimension.value), _AXES[axis])
    described = [*zip(made.graph.inputs, found.axes.items(), strict=True)]
    described += zip(made.graph.outputs, found.outputs.items(), strict=True)
    for value, (name, axes) in described:
        sizes = []
        for dimension in value.shape:
            if not isinstance(dimension, int):
                dimension = symbols.get(str(dimension.value), str(dimension.value))
            sizes.append(dimension)
        value.shape = type(value.shape)(sizes)
        words = [_AXES.get(axis, axis) for axis in axes.split()]
        if name in found.units:
            words.append(f"[{found.units[name]}]")
        value.doc_string = " ".join(words)
    names = (*found.axes, *found.outputs)
    properties = {
        "version": nowcast.__version__,
        "inputs": found.axes,
        "outputs": found.outputs,
        "units": {name: found.units[name] for name in names if name in found.units},
        **found.properties,
    }
    for name, value in properties.items():
        text = value if isinstance(value, str) else json.dumps(value)
        made.metadata_props[f"nowcast.{name}"] = text


def _reason(error: Exception) -> str:
    """What torch says is wrong, in one line; its exporter puts a summary after pages of its own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    summary = first_line(error) or type(error).__name__
    for line, following in pairwise(lines):
        if line.endswith("Exception summary"):
            summary = following
            break
    return summary.rstrip(".")[:300]
