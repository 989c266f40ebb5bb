"""A calibrated TFLite graph as a torch network that rounds where its INT8 form rounds; for quantisation-aware training.

What is trained is the graph that ships: after export, after its rewrites, with batch norm folded and activations fused.
So weights and ranges go back into the file by position, whatever the entrant's network looked like, and nothing has to
be guessed. INT8 as TFLite specifies it: activations per tensor and asymmetric, weights per channel and symmetric
without -128, biases int32 of scale input times weight.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mai_harness.errors import ModelContractError
from mai_harness.tflite_graph.edit import (
    SAME_SCALE,
    Range,
    add_constant,
    edited,
    is_activation,
    operator_names,
    range_of,
    scale_groups,
    set_range,
)
from mai_harness.tflite_graph.grid import CODES, Grid

LEAST, MOST = CODES["int8"]
_ON_GRID = SAME_SCALE - {"AVERAGE_POOL_2D", "RESIZE_BILINEAR"}  # what they put out is already rounded
_FIXED_RANGE = {"LOGISTIC": (0.0, 255 / 256), "TANH": (-1.0, 127 / 128)}


class FakeQuantNetwork(nn.Module):
    """The graph of a calibrated float TFLite model, (N, 3, H, W) to (N, 3, 3H, 3W), both float RGB in [0, 255].

    Its parameters are the graph's weights and biases, and the logarithm of every scale that is not known beforehand;
    zero points stay as calibrated. The graph is of one frame; here it runs at other sizes too, such as patches.

    Args:
        model: float TFLite with ``min`` and ``max`` of its tensors.

    Raises:
        ModelContractError: an operator has no form here that can be trained, or a tensor was not calibrated.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        graph = _read(model)
        self._ops = graph.ops
        self._constants = graph.constants
        self._input, self._output, self._frame = graph.input, graph.output, graph.frame
        self._groups = graph.groups
        anchors = {op.outputs[0] for op in graph.ops if op.name in _LAYERS and _is_anchor(op, graph.constants)}
        fixed = {self._groups[index] for index in (*graph.fixed, *anchors)}
        self.quantisers = nn.ModuleDict()
        for group in sorted(set(self._groups.values())):
            self.quantisers[str(group)] = Quantiser(*graph.ranges[group], learned=group not in fixed)
        self.layers = nn.ModuleDict()
        for op in graph.ops:
            if op.name in _LAYERS:
                weight, bias = (self._constants.get(op.input(position)) for position in _LAYERS[op.name])
                if weight is None:
                    raise ModelContractError(f"{op}: its weights are not constant, so they cannot be trained")
                axis = weight.ndim - 1 if op.name == "DEPTHWISE_CONV_2D" else 0
                self.layers[str(op.index)] = Weights(weight, bias, axis, learned=op.outputs[0] not in anchors)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, 3, 3H, 3W)."""
        values: dict[int, Tensor] = {self._input: self._quantised(self._input, x.permute(0, 2, 3, 1))}
        for op in self._ops:
            inputs = [self._value(values, index, op) for index in op.inputs]
            for index, value in zip(op.outputs, self._run(op, inputs, x.shape), strict=True):
                values[index] = value if op.name in _ON_GRID else self._quantised(index, value)
        return values[self._output].permute(0, 3, 1, 2)

    def write(self, model: bytes) -> bytes:
        """``model``, which this was made of, with the weights and ranges as they are now."""
        quantisers = {index: self._quantiser(index) for index in self._groups}

        def change(unpacked: Any) -> None:
            graph = unpacked.subgraphs[0]
            for index, quantiser in quantisers.items():
                set_range(graph.tensors[index], quantiser.limits)
            for op in (op for op in self._ops if op.name in _LAYERS):
                layer, inputs = self._weights(op), list(op.inputs)
                for position, value in zip(_LAYERS[op.name], (layer.weight, layer.bias), strict=True):
                    if value is not None:
                        # One of its own: the converter lets all layers without a bias share one of zeros.
                        name = graph.tensors[inputs[position]].name
                        inputs[position] = add_constant(unpacked, name, value.detach().numpy())
                graph.operators[op.index].inputs = inputs

        return edited(model, change)

    def _run(self, op: "Op", inputs: list[Any], shape: torch.Size) -> Sequence[Tensor]:
        position = _DATA.get(op.name, 0)
        data, result = self._quantiser(op.inputs[position]), self._quantiser(op.outputs[0])
        at = _Place(shape[0], self._frame, (shape[2], shape[3]), (data.scale, result.scale), data.zero_point)
        if op.name in _LAYERS:
            weight, bias = self._weights(op)(at.scales[0])
            made = _COMPUTE[op.name](op, at, inputs[position], weight, bias)
        else:
            made = _COMPUTE[op.name](op, at, *inputs)
        results = made if isinstance(made, tuple | list) else (made,)
        return [_ACTIVATIONS[op.options.get("fusedActivationFunction", 0)](value) for value in results]

    def _value(self, values: dict[int, Tensor], index: int, op: "Op") -> Any:
        if index < 0:
            return None
        if index in values:
            return values[index]
        constant = self._constants[index]
        if constant.dtype.kind != "f" or op.name in _LAYERS:
            return constant
        value = torch.from_numpy(constant)
        if op.name in ("MINIMUM", "MAXIMUM", "PADV2"):
            return self._quantised(op.outputs[0], value)
        return _symmetric(value) if op.name == "PRELU" else _asymmetric(value)

    def _weights(self, op: "Op") -> "Weights":
        weights = self.layers[str(op.index)]
        assert isinstance(weights, Weights)
        return weights

    def _quantiser(self, index: int) -> "Quantiser":
        quantiser = self.quantisers[str(self._groups[index])]
        assert isinstance(quantiser, Quantiser)
        return quantiser

    def _quantised(self, index: int, value: Tensor) -> Tensor:
        result: Tensor = self._quantiser(index)(value)
        return result


class Quantiser(nn.Module):
    """Rounding of one tensor to INT8: value = (code - zero_point) * scale, codes from -128 to 127.

    Args:
        least: of the range; with ``most``, widened to hold 0.
        learned: whether the scale is a parameter (gradients of LSQ, Esser et al., ICLR 2020, arXiv 1902.08153).
    """

    zero_point: Tensor

    def __init__(self, least: float, most: float, *, learned: bool) -> None:
        super().__init__()
        scale, zero_point = _grid(least, most)
        self.log_scale = nn.Parameter(torch.tensor([math.log(scale)], dtype=torch.float64), requires_grad=learned)
        self.register_buffer("zero_point", torch.tensor([zero_point], dtype=torch.int32))

    @property
    def scale(self) -> Tensor:
        """(1,) float32."""
        return self.log_scale.exp().float()

    @property
    def limits(self) -> tuple[float, float]:
        """Least and greatest value that a code stands for."""
        scale, zero_point = math.exp(self.log_scale.item()), int(self.zero_point)
        return (LEAST - zero_point) * scale, (MOST - zero_point) * scale

    def forward(self, x: Tensor) -> Tensor:
        """The nearest values that INT8 holds, in float."""
        result: Tensor = torch._fake_quantize_learnable_per_tensor_affine(
            x, self.scale, self.zero_point.float(), LEAST, MOST, 1.0
        )
        return result


class Weights(nn.Module):
    """Kernel and bias of one layer, rounded as TFLite does.

    Args:
        weight: float32, of any rank.
        bias: (channels,) float32.
        axis: of the kernel's channels, each of which has a scale.
        learned: whether they are parameters.
    """

    def __init__(
        self, weight: npt.NDArray[Any], bias: npt.NDArray[Any] | None, axis: int, *, learned: bool = True
    ) -> None:
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.from_numpy(weight), requires_grad=learned)
        self.bias = None if bias is None else nn.Parameter(torch.from_numpy(bias), requires_grad=learned)

    def forward(self, input_scale: Tensor) -> tuple[Tensor, Tensor | None]:
        """Kernel and bias on their grids."""
        others = [d for d in range(self.weight.ndim) if d != self.axis]
        scale = self.weight.detach().abs().amax(others).clamp_min(1e-12) / MOST
        zero = torch.zeros_like(scale, dtype=torch.int32)
        weight = torch.fake_quantize_per_channel_affine(self.weight, scale, zero, self.axis, -MOST, MOST)
        if self.bias is None:
            return weight, None
        step = input_scale.detach() * scale
        return weight, self.bias + (torch.round(self.bias / step) * step - self.bias).detach()


def _grid(least: float, most: float) -> tuple[float, int]:
    """Scale and zero point of codes for a range, which is widened to hold 0."""
    grid = Grid(1.0, 0, LEAST, MOST).over((least, most))
    return grid.scale, grid.zero_point


def _asymmetric(value: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(value, *_grid(float(value.min()), float(value.max())), LEAST, MOST)


def _symmetric(value: Tensor) -> Tensor:
    return torch.fake_quantize_per_tensor_affine(value, float(value.abs().max()) / MOST or 1.0, 0, -MOST, MOST)


# The graph


@dataclass(frozen=True, slots=True)
class Op:
    """One operator; inputs and outputs are tensor indices, -1 for an input left out."""

    index: int
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any]
    shapes: dict[int, tuple[int, ...]]  #: of its tensors, in the graph's own frame

    def input(self, position: int) -> int:
        """The tensor at ``position``; -1 if it is left out."""
        return self.inputs[position] if position < len(self.inputs) else -1

    def __str__(self) -> str:
        return f"operator {self.index} ({self.name})"


@dataclass(frozen=True, slots=True)
class _Graph:
    ops: tuple[Op, ...]
    constants: dict[int, npt.NDArray[Any]]
    ranges: dict[int, Range]
    groups: dict[int, int]  # activation -> one that stands for all of its scale
    input: int
    output: int
    frame: tuple[int, int]
    fixed: tuple[int, ...]  # tensors whose range is known beforehand


def _read(model: bytes) -> _Graph:
    from ai_edge_litert import schema_py_generated as schema

    unpacked = schema.ModelT.InitFromPackedBuf(model)
    graph, names = unpacked.subgraphs[0], operator_names(unpacked)
    dtypes = {schema.TensorType.FLOAT32: "<f4", schema.TensorType.INT32: "<i4", schema.TensorType.INT64: "<i8"}
    constants: dict[int, npt.NDArray[Any]] = {}
    ranges: dict[int, Range] = {}
    for index, tensor in enumerate(graph.tensors):
        shape = _shape(tensor)
        if not is_activation(unpacked, tensor):
            data = np.asarray(unpacked.buffers[tensor.buffer].data, np.uint8).tobytes()
            constants[index] = np.frombuffer(data, dtypes.get(tensor.type, "<u1")).reshape(shape).copy()
        elif (limits := range_of(tensor)) is not None:
            ranges[index] = limits
    ops = []
    for index, each in enumerate(graph.operators):
        inputs, outputs = tuple(map(int, each.inputs)), tuple(map(int, each.outputs))
        shapes = {i: _shape(graph.tensors[i]) for i in (*inputs, *outputs) if i >= 0}
        options = dict(vars(each.builtinOptions)) if each.builtinOptions is not None else {}
        op = Op(index, names[each.opcodeIndex], inputs, outputs, options, shapes)
        if op.name not in _COMPUTE or options.get("fusedActivationFunction", 0) not in _ACTIVATIONS:
            raise ModelContractError(f"{op} cannot be trained with quantisation in the loop")
        ops.append(op)
    for op in ops:
        for i in (*op.inputs, *op.outputs):
            if i >= 0 and i not in constants and i not in ranges:
                raise ModelContractError(f"{op}: tensor {i} has no calibrated range")
    source, result = int(graph.inputs[0]), int(graph.outputs[0])
    used = {i for op in ops for i in (*op.inputs, *op.outputs)}  # fused operators leave tensors behind
    groups = {index: group for index, group in scale_groups(unpacked).items() if index in used}
    fixed = [source, *([result] if ranges[result] == ranges[source] else [])]
    for op in ops:
        if op.name in _FIXED_RANGE:
            fixed += op.outputs
            ranges |= dict.fromkeys(op.outputs, _FIXED_RANGE[op.name])
    _, height, width, _ = _shape(graph.tensors[source])
    return _Graph(tuple(ops), constants, ranges, groups, source, result, (height, width), tuple(fixed))


def _is_anchor(op: Op, constants: dict[int, npt.NDArray[Any]]) -> bool:
    """Whether every output of a layer is one of its inputs as it is: a frozen copy, of the input's own range."""
    weight, bias = (constants.get(op.input(position)) for position in _LAYERS[op.name])
    if weight is None or (bias is not None and bias.any()):
        return False
    return bool(((weight == 0) | (weight == 1)).all() and (weight.reshape(len(weight), -1).sum(1) == 1).all())


def _shape(tensor: Any) -> tuple[int, ...]:
    return () if tensor.shape is None else tuple(map(int, tensor.shape))


# Operators, on (N, H, W, C)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the graph runs: images at a time, and their size beside that of its own frame."""

    batch: int
    frame: tuple[int, int]  #: height and width of the graph's own input
    size: tuple[int, int]  #: and of this one
    scales: tuple[Tensor, Tensor]  #: of the operator's data and of its result
    zero_point: Tensor  #: of its data

    def shape(self, values: Sequence[int]) -> list[int]:
        """A constant shape of the graph's own frame, here."""
        result, left = [], dict(zip(self.frame, self.size, strict=True))
        for position, value in enumerate(map(int, values)):
            side = next((side for side in left if value and value % side == 0), None)
            if position == 0 and value == 1:
                result.append(self.batch)
            elif side is None:
                result.append(value)
            else:  # rows come before columns
                result.append(value // side * left.pop(side))
        return result


def _conv(op: Op, _at: _Place, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    stride = op.options["strideH"], op.options["strideW"]
    dilation = op.options["dilationHFactor"], op.options["dilationWFactor"]
    x = _padded(x, op, weight.shape[1:3], stride, dilation).permute(0, 3, 1, 2)
    if op.name == "DEPTHWISE_CONV_2D":
        kernel, groups = weight.permute(3, 0, 1, 2), x.shape[1]
    else:
        kernel, groups = weight.permute(0, 3, 1, 2), x.shape[1] // weight.shape[3]
    return F.conv2d(x, kernel, bias, stride, 0, dilation, groups).permute(0, 2, 3, 1)


def _padded(x: Tensor, op: Op, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    if op.options["padding"] != 0:  # VALID
        return x
    pads = []
    for size, k, s, d in zip(x.shape[1:3], kernel, stride, dilation, strict=True):
        total = max((math.ceil(size / s) - 1) * s + (k - 1) * d + 1 - size, 0)
        pads.append((total // 2, total - total // 2))
    return F.pad(x, (0, 0, *pads[1], *pads[0]))


def _transpose_conv(op: Op, _at: _Place, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    stride = op.options["strideH"], op.options["strideW"]
    given, made = op.shapes[op.inputs[2]], op.shapes[op.outputs[0]]
    sizes = [(x.shape[d] - given[d]) * stride[d - 1] + made[d] for d in (1, 2)]
    whole = F.conv_transpose2d(x.permute(0, 3, 1, 2), weight.permute(3, 0, 1, 2), bias, stride).permute(0, 2, 3, 1)
    crop = [max(whole.shape[d] - size, 0) for d, size in zip((1, 2), sizes, strict=True)]
    top, left = (c // 2 for c in crop)
    fill = [max(size - whole.shape[d], 0) for d, size in zip((1, 2), sizes, strict=True)]
    whole = F.pad(whole, (0, 0, 0, fill[1], 0, fill[0]))
    return whole[:, top : top + sizes[0], left : left + sizes[1]]


def _fully_connected(_op: Op, _at: _Place, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return F.linear(x, weight, bias)


def _prelu(_op: Op, at: _Place, x: Tensor, slope: Tensor) -> Tensor:
    value = torch.where(x < 0, x * slope, x)
    step = slope.abs().max() / MOST
    below = _fixed_point(x / at.scales[0] * (slope / step), at.scales[0] * step / at.scales[1])
    above = _fixed_point(x / at.scales[0], at.scales[0] / at.scales[1])
    return value + (torch.where(x < 0, below, above) * at.scales[1] - value).detach()


@torch.no_grad()
def _fixed_point(codes: Tensor, multiplier: Tensor) -> Tensor:
    """``codes * multiplier`` as TFLite's kernels round it: twice, to a whole number and then to one of fewer bits."""
    mantissa, exponent = torch.frexp(multiplier.double())
    shift = torch.exp2(-exponent.double())
    once = torch.round(torch.round(codes.double()) * mantissa / shift.clamp_max(1))
    twice = once / shift.clamp_min(1)
    return (torch.sign(twice) * torch.floor(twice.abs() + 0.5)).float()


def _leaky(op: Op, at: _Place, x: Tensor) -> Tensor:
    value = F.leaky_relu(x, op.options["alpha"])
    with torch.no_grad():  # XNNPACK's kernel has multipliers of 1 / 256
        multiplier = at.scales[0] / at.scales[1] * torch.where(x < 0, op.options["alpha"], 1.0)
        codes = torch.floor(torch.round(x / at.scales[0]) * torch.round(256 * multiplier) / 256 + 0.5)
    return value + (codes * at.scales[1] - value).detach()


def _concatenation(op: Op, _at: _Place, *inputs: Tensor) -> Tensor:
    return torch.cat(inputs, op.options["axis"])


def _split(op: Op, _at: _Place, axis: Any, x: Tensor) -> Sequence[Tensor]:
    return torch.chunk(x, op.options["numSplits"], int(axis))


def _split_v(_op: Op, _at: _Place, x: Tensor, sizes: Any, axis: Any) -> Sequence[Tensor]:
    return torch.split(x, [int(size) for size in sizes], int(axis))


def _slice(op: Op, _at: _Place, x: Tensor, begin: Any, size: Any) -> Tensor:
    stop = [op.shapes[op.inputs[0]][d] if size[d] < 0 else begin[d] + size[d] for d in range(x.ndim)]
    return _sliced(op, x, list(begin), stop, [1] * x.ndim)


def _strided_slice(op: Op, _at: _Place, x: Tensor, begin: Any, end: Any, strides: Any) -> Tensor:
    o = op.options
    if o["ellipsisMask"] or o["newAxisMask"] or o["shrinkAxisMask"] or min(strides) < 1:
        raise ModelContractError(f"{op} cannot be trained: it drops, adds or reverses an axis")
    shape = op.shapes[op.inputs[0]]
    start = [0 if o["beginMask"] >> d & 1 else int(begin[d]) % (shape[d] + 1) for d in range(x.ndim)]
    stop = [shape[d] if o["endMask"] >> d & 1 or end[d] >= shape[d] else int(end[d]) % shape[d] for d in range(x.ndim)]
    return _sliced(op, x, start, stop, [int(s) for s in strides])


def _sliced(op: Op, x: Tensor, start: list[int], stop: list[int], steps: list[int]) -> Tensor:
    for d, whole in enumerate(op.shapes[op.inputs[0]]):
        # Of positions in the frame's second half, what is meant is the distance from its end.
        first, last = (p + x.shape[d] - whole if p > whole // 2 else p for p in (start[d], stop[d]))
        x = x[(slice(None),) * d + (slice(first, last, steps[d]),)]
    return x


def _pad(_op: Op, _at: _Place, x: Tensor, pads: Any, value: Any = None) -> Tensor:
    flat = [int(p) for pair in reversed(pads.tolist()) for p in pair]
    return F.pad(x, flat, value=0.0 if value is None else float(value))


def _mirror_pad(op: Op, _at: _Place, x: Tensor, pads: Any) -> Tensor:
    edge = op.options["mode"]  # 0: without the border pixel, 1: with it
    for d, (before, after) in enumerate(pads.tolist()):
        head = x.narrow(d, 1 - edge, before).flip(d)
        tail = x.narrow(d, x.shape[d] - after - 1 + edge, after).flip(d)
        x = torch.cat((head, x, tail), d) if before or after else x
    return x


def _reshape(op: Op, at: _Place, x: Tensor, _shape: Any = None) -> Tensor:
    return x.reshape(at.shape(op.shapes[op.outputs[0]]))


def _transpose(_op: Op, _at: _Place, x: Tensor, order: Any) -> Tensor:
    return x.permute([int(axis) for axis in order])


def _depth_to_space(op: Op, _at: _Place, x: Tensor) -> Tensor:
    (n, h, w, c), b = x.shape, op.options["blockSize"]
    return x.reshape(n, h, w, b, b, c // b**2).permute(0, 1, 3, 2, 4, 5).reshape(n, h * b, w * b, c // b**2)


def _space_to_depth(op: Op, _at: _Place, x: Tensor) -> Tensor:
    (n, h, w, c), b = x.shape, op.options["blockSize"]
    return x.reshape(n, h // b, b, w // b, b, c).permute(0, 1, 3, 2, 4, 5).reshape(n, h // b, w // b, c * b**2)


def _tile(_op: Op, _at: _Place, x: Tensor, times: Any) -> Tensor:
    return x.tile([int(t) for t in times])


def _gather(op: Op, _at: _Place, x: Tensor, indices: Any) -> Tensor:
    if indices.ndim != 1 or op.options.get("batchDims", 0):
        raise ModelContractError(f"{op} cannot be trained: it gathers by more than one list")
    return x.index_select(op.options["axis"], torch.from_numpy(indices.astype(np.int64)))


def _resize(op: Op, _at: _Place, x: Tensor, _size: Any) -> Tensor:
    given, made = op.shapes[op.inputs[0]], op.shapes[op.outputs[0]]
    sizes = [round(x.shape[d] * made[d] / given[d]) for d in (1, 2)]
    corners, centres = op.options["alignCorners"], op.options["halfPixelCenters"]
    image = x.permute(0, 3, 1, 2)
    if op.name == "RESIZE_NEAREST_NEIGHBOR" and not corners:
        mode = "nearest-exact" if centres else "nearest"
        return F.interpolate(image, sizes, mode=mode).permute(0, 2, 3, 1)
    if op.name == "RESIZE_BILINEAR" and corners != centres:
        return F.interpolate(image, sizes, mode="bilinear", align_corners=corners).permute(0, 2, 3, 1)
    raise ModelContractError(f"{op} cannot be trained: it places pixels as no torch operator does")


def _pool(op: Op, at: _Place, x: Tensor) -> Tensor:
    kernel = op.options["filterHeight"], op.options["filterWidth"]
    stride = op.options["strideH"], op.options["strideW"]
    if op.options["padding"] == 0 and any(x.shape[d] % stride[d - 1] or kernel[d - 1] > stride[d - 1] for d in (1, 2)):
        raise ModelContractError(f"{op} cannot be trained: it pools across the border")
    image = x.permute(0, 3, 1, 2)
    if op.name == "MAX_POOL_2D":
        return F.max_pool2d(image, kernel, stride).permute(0, 2, 3, 1)
    value = F.avg_pool2d(image, kernel, stride).permute(0, 2, 3, 1)
    with torch.no_grad():  # the kernel rounds the mean of codes, halves away from zero
        codes = torch.round(value / at.scales[0] * math.prod(kernel)) / math.prod(kernel) + at.zero_point
        codes = torch.sign(codes) * torch.floor(codes.abs() + 0.5) - at.zero_point
    return value + (codes * at.scales[0] - value).detach()


def _mean(op: Op, _at: _Place, x: Tensor, axes: Any) -> Tensor:
    return x.mean([int(axis) for axis in np.atleast_1d(axes)], keepdim=op.options["keepDims"])


def _plain(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda _op, _at, *inputs: function(*inputs)


_COMPUTE: dict[str, Callable[..., Any]] = {
    "CONV_2D": _conv, "DEPTHWISE_CONV_2D": _conv, "TRANSPOSE_CONV": _transpose_conv,
    "FULLY_CONNECTED": _fully_connected, "ADD": _plain(torch.add), "SUB": _plain(torch.sub), "MUL": _plain(torch.mul),
    "MINIMUM": _plain(torch.minimum), "MAXIMUM": _plain(torch.maximum), "ABS": _plain(torch.abs),
    "RELU": _plain(F.relu), "RELU6": _plain(F.relu6), "LOGISTIC": _plain(torch.sigmoid), "TANH": _plain(torch.tanh),
    "HARD_SWISH": _plain(F.hardswish), "PRELU": _prelu, "LEAKY_RELU": _leaky, "CONCATENATION": _concatenation,
    "SPLIT": _split, "SPLIT_V": _split_v, "SLICE": _slice, "STRIDED_SLICE": _strided_slice, "PAD": _pad,
    "PADV2": _pad, "MIRROR_PAD": _mirror_pad, "RESHAPE": _reshape, "SQUEEZE": _reshape, "EXPAND_DIMS": _reshape,
    "TRANSPOSE": _transpose, "DEPTH_TO_SPACE": _depth_to_space, "SPACE_TO_DEPTH": _space_to_depth, "TILE": _tile,
    "GATHER": _gather, "RESIZE_BILINEAR": _resize, "RESIZE_NEAREST_NEIGHBOR": _resize, "AVERAGE_POOL_2D": _pool,
    "MAX_POOL_2D": _pool, "MEAN": _mean,
}  # fmt: skip
_ACTIVATIONS: dict[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x, 1: F.relu, 2: lambda x: x.clamp(-1, 1), 3: F.relu6,
}  # fmt: skip
_DATA = {"TRANSPOSE_CONV": 2, "SPLIT": 1}  # position of the data input, where it is not the first
# Operators with weights -> positions of kernel and bias.
_LAYERS = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "TRANSPOSE_CONV": (1, 3), "FULLY_CONNECTED": (1, 2)}
