"""Run a TFLite graph operator by operator in float, rounding where INT8 rounds, with every rounding a choice.

That is how a mend is tried without a conversion: a tensor left in float, a range set anew, weights of their own. Each
operator is LiteRT's float kernel, so whatever LiteRT runs can be simulated.
"""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mai_harness.errors import ModelContractError, gist
from mai_harness.records import Graph, Op
from mai_harness.tflite_graph.edit import MOVEMENT, SAME_SCALE
from mai_harness.tflite_graph.float_form import STORAGE, FloatForm
from mai_harness.tflite_graph.grid import Grid

Array = npt.NDArray[Any]
_WHITE = 255.0
_NEAR = 0.05  # share of a kernel's energy that rounding may take; of another network's it is more than all


@dataclass(frozen=True)
class Rounding:
    """What is rounded how: grids by tensor, the others stay in float; and constants in place of the file's."""

    grids: Mapping[int, Grid] = field(default_factory=dict)
    constants: Mapping[int, Array] = field(default_factory=dict)

    def without(self, tensors: Collection[int], constants: Mapping[int, Array] | None = None) -> "Rounding":
        """With these tensors in float, and these constants."""
        grids = {index: grid for index, grid in self.grids.items() if index not in tensors}
        return Rounding(grids, {**self.constants, **(constants or {})})

    def regridded(self, grids: Mapping[int, Grid]) -> "Rounding":
        """With other grids for some tensors."""
        return Rounding({**self.grids, **grids}, self.constants)


class Unit(NamedTuple):
    """Tensors that hold the same values on the same grid, and are rounded once, by the first operator."""

    op: Op
    tensors: tuple[int, ...]  #: the first is what ``op`` makes
    weights: tuple[int, ...]  #: quantised constants of ``op`` of more than one dimension

    @property
    def tensor(self) -> int:
        """By which the unit is named."""
        return self.tensors[0]


Values = dict[int, Array]


class Simulation:
    """A graph that is run operator by operator; inputs and outputs are real values, not codes.

    Args:
        path: TFLite of any precision.
        threads: of LiteRT; all cores by default.

    Raises:
        ModelContractError: the file cannot be taken apart, or holds operators that LiteRT has not.
    """

    def __init__(self, path: Path, threads: int | None = None) -> None:
        self.form = FloatForm(path)
        self.graph: Graph = self.form.graph
        refuse_custom_operators(self.graph)
        self._threads = threads or os.cpu_count() or 1
        self.form.constants |= _unsaturated_clips(self.form)
        self._interpreters: dict[tuple[int, tuple[int, ...]], tuple[Any, Any]] = {}
        grids = {tensor.index: Grid.of(tensor) for tensor in self.graph.tensors if not tensor.is_constant}
        #: As the file rounds.
        self.rounding = Rounding({index: grid for index, grid in grids.items() if grid is not None})
        self.units = tuple(self._units())

    @property
    def output(self) -> int:
        """The tensor of the result."""
        return self.graph.outputs[0]

    def run(self, source: Array, rounding: Rounding, like: "Run | None" = None) -> "Run":
        """The result of the first input's real values.

        Args:
            source: of any size that the graph runs at.
            like: a run of the same source with all its values, of which what stays the same is taken.

        Raises:
            ModelContractError: an operator does not run.
        """
        index = self.graph.inputs[0]
        values: Values = {index: source}
        changed: set[int] = set()
        for op in self.graph.ops:
            if like is not None and not changed.intersection(op.inputs) and self._alike(op, rounding, like.rounding):
                values.update({i: like.values[i] for i in op.outputs})
                continue
            changed.update(op.outputs)
            values.update(zip(op.outputs, self._rounded(op, values, rounding), strict=True))
        return Run(values, rounding, values[self.output])

    def walk(self, source: Array, rounding: Rounding) -> Iterator[tuple[Op, Array]]:
        """Operators and what they make, one after the other; nothing that is read no more is kept.

        Raises:
            ModelContractError: an operator does not run.
        """
        last = {index: op.index for op in self.graph.ops for index in op.inputs}
        values: Values = {self.graph.inputs[0]: source}
        for op in self.graph.ops:
            made = self._rounded(op, values, rounding)
            values.update(zip(op.outputs, made, strict=True))
            yield op, made[0]
            for index in [i for i in values if last.get(i, -1) <= op.index]:
                del values[index]

    def alone(self, op: Op, values: Values, rounding: Rounding) -> Array:
        """The first output of one operator on given values of its inputs.

        Raises:
            ModelContractError: the operator does not run.
        """
        return self._rounded(op, values, rounding)[0]

    def _alike(self, op: Op, rounding: Rounding, other: Rounding) -> bool:
        grids = all(rounding.grids.get(i) == other.grids.get(i) for i in op.outputs)
        return grids and all(rounding.constants.get(i) is other.constants.get(i) for i in op.inputs)

    def _rounded(self, op: Op, values: Values, rounding: Rounding) -> list[Array]:
        made = []
        for index, value in zip(op.outputs, self._made(op, values, rounding.constants), strict=True):
            grid = rounding.grids.get(index)
            moved = op.name in MOVEMENT and grid in [rounding.grids.get(i) for i in op.inputs]
            made.append(value if grid is None or moved else grid(value))
        return made

    def _made(self, op: Op, values: Values, constants: Mapping[int, Array]) -> list[Array]:
        if op.name in STORAGE:
            index = op.inputs[0]
            return [values[index] if index in values else constants.get(index, self.form.constants[index])]
        fed = self.graph.activations(op)
        interpreter, state = self._opened(op, constants)
        shapes = tuple(values[i].shape for i in fed)
        try:
            if state["shapes"] != shapes:
                for detail, shape in zip(state["inputs"], shapes, strict=True):
                    interpreter.resize_tensor_input(detail["index"], shape)
                interpreter.allocate_tensors()
                state["shapes"] = shapes
            for detail, index in zip(state["inputs"], fed, strict=True):
                interpreter.set_tensor(detail["index"], values[index].astype(detail["dtype"], copy=False))
            interpreter.invoke()
            return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]
        except (RuntimeError, ValueError) as error:
            self._interpreters.clear()
            raise ModelContractError(f"{op.label} does not run alone: {gist(error)}") from None

    def _opened(self, op: Op, constants: Mapping[int, Array]) -> tuple[Any, dict[str, Any]]:
        from ai_edge_litert.interpreter import Interpreter

        own = {i: constants[i] for i in op.inputs if i in constants}
        key = op.index, tuple(id(values) for values in own.values())
        if key not in self._interpreters:
            try:
                interpreter = Interpreter(model_content=self.form.operator(op, own), num_threads=self._threads)
                interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                raise ModelContractError(f"{op.label} has no float form in LiteRT: {gist(error)}") from None
            # ``own`` is kept so that no other array gets its identity.
            state = {"inputs": interpreter.get_input_details(), "shapes": None, "own": own}
            self._interpreters[key] = interpreter, state
        return self._interpreters[key]

    def _units(self) -> Iterator[Unit]:
        """Quantised tensors in the order in which they are made, but for those that hold the input's own values."""
        grids = self.rounding.grids
        group: dict[int, int] = {index: index for index in self.graph.inputs}
        makers: dict[int, Op] = {}
        for op in self.graph.ops:
            for index in op.outputs:
                makers[index] = op
                grid, sources = grids.get(index), [i for i in op.inputs if i in group]
                same = [i for i in sources if grid and (old := grids.get(i)) and grid.same_values(old)]
                passes = op.name in SAME_SCALE or op.name == "QUANTIZE"
                group[index] = group[same[0]] if passes and same else index
        members: dict[int, list[int]] = {}
        for index, first in group.items():
            if index in grids and first not in self.graph.inputs:
                members.setdefault(first, []).append(index)
        for first, tensors in members.items():
            op = makers[first]
            weights = [i for i in op.inputs if self._is_weight(i)]
            yield Unit(op, tuple(tensors), tuple(weights))

    def _is_weight(self, index: int) -> bool:
        if index < 0:
            return False
        tensor = self.graph.tensors[index]
        return tensor.is_constant and bool(tensor.scales) and sum(size > 1 for size in tensor.shape) > 1


def refuse_custom_operators(graph: Graph) -> None:
    """Call before a file is opened: LiteRT has kernels for its built-in operators alone.

    Raises:
        ModelContractError: there is one.
    """
    if strange := [op.label for op in graph.ops if op.is_custom]:
        raise ModelContractError(f"LiteRT has no operator {', '.join(strange[:3])}")


def _unsaturated_clips(form: FloatForm) -> dict[int, Array]:
    """Upper bounds that a narrow range has cut off, taken for 255, or a wide one has rounded to 0, taken for 1.

    With the file's own rounding they change nothing; with ranges set anew the clip is where it was meant to be.
    """
    found = {}
    for index in (i for op in form.graph.ops if op.name == "MINIMUM" for i in op.inputs if i in form.constants):
        grid, bound = Grid.of(form.graph.tensors[index]), form.constants[index]
        if grid is None or bound.size != 1:
            continue
        if grid.limits[1] - grid.scale / 2 <= bound.max() < _WHITE:
            found[index] = np.full_like(bound, _WHITE)
        elif bound.max() == 0 and grid.scale > 2:  # of which 1 is less than half a step
            found[index] = np.ones_like(bound)
    return found


class Run(NamedTuple):
    """All values of one run."""

    values: Values
    rounding: Rounding
    result: Array


def matched(form: FloatForm, pool: Iterable[Array]) -> dict[int, Array]:
    """Float weights of the same network in place of the file's rounded ones, by tensor: the nearest of their shape.

    Names do not matter, so the two may come from different converters.
    """
    by_shape: dict[tuple[int, ...], list[Array]] = {}
    for values in pool:
        by_shape.setdefault(values.shape, []).append(values)
    found = {}
    for index in (i for op in form.graph.ops if op.name not in STORAGE for i in op.inputs if i in form.constants):
        if not form.graph.tensors[index].scales:
            continue
        rounded = form.constants[index]
        if rounded.ndim < 2 or not (candidates := by_shape.get(rounded.shape)):
            continue
        nearest = min(candidates, key=lambda values: float(np.square(values - rounded).sum()))
        if np.square(nearest - rounded).sum() <= _NEAR * np.square(nearest).sum():
            found[index] = nearest
    return found
