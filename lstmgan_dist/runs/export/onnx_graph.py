"""An ONNX graph that is made operator by operator, from weights in one precision.

int8: weights have one scale for each output, inputs are scaled as they come (`DynamicQuantizeLinear`), and products are
those of integers: what onnxruntime's `quantize_dynamic` makes of a graph. half: weights are stored in half precision,
and turned to float32 once, when the graph is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from torch import Tensor

from lstmgan_dist.runs.export.form import Quantisation

_FLOAT = TensorProto.FLOAT


class Weights:
    """Weights by name, and which of them a graph has taken."""

    def __init__(self, tensors: Mapping[str, Tensor], quantisation: Quantisation | None) -> None:
        self._tensors = {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
        self.quantisation = quantisation
        self._taken: set[str] = set()

    def take(self, name: str) -> np.ndarray:
        """A weight, float32."""
        self._taken.add(name)
        return self._tensors[name]

    def take_int8(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """A matrix (outputs, inputs) in int8, and the scale of each output."""
        weight = self.take(name)
        scales = (np.abs(weight).max(axis=1) / 127).clip(min=np.finfo(np.float32).tiny).astype(np.float32)
        return np.rint(weight / scales[:, None]).astype(np.int8), scales

    @property
    def left(self) -> set[str]:
        """Those that no graph has taken."""
        return self._tensors.keys() - self._taken


class Graph:
    """A graph that grows node by node; every method names the value that it adds.

    around: the graph that repeats this one; weights and constants are that one's.
    """

    def __init__(self, weights: Weights, around: Graph | None = None) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, np.ndarray] = {} if around is None else around.initializers
        self.weights = weights
        self._outermost: Graph = self if around is None else around._outermost
        self._once_made: dict[tuple[str, str], str] = {} if around is None else around._once_made
        self._prefix = "" if around is None else "repeated/"

    def ops(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """What an operator gives."""
        outputs = [f"{self._prefix}{kind}/{len(self.nodes)}/{number}" for number in range(count)]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, **attributes))
        return outputs

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """The one thing that an operator gives."""
        (output,) = self.ops(kind, *inputs, count=1, **attributes)
        return output

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """Equal parts."""
        if parts == 1:
            return [value]
        return self.ops("Split", value, count=parts, axis=axis, num_outputs=parts)

    def numbers(self, *values: int) -> str:
        """Whole numbers, such as a shape."""
        name = f"numbers/{values}"
        self.initializers[name] = np.array(values, np.int64)
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """An array that is no weight."""
        self.initializers[name] = value
        return name

    def vector(self, *names: str) -> str:
        """A weight that is used as it is, or the sum of several, which is stored instead of them."""
        return self.constant("+".join(names), np.sum([self.weights.take(name) for name in names], axis=0))

    def product(self, x: str, name: str, bias: str | None = None) -> str:
        """What a layer with a weight (outputs, inputs) makes of x, (..., inputs) -> (..., outputs)."""
        if self.weights.quantisation == "int8":
            integers, scales = self._int8(name)
            x_int8, x_scale, x_zero = self.ops("DynamicQuantizeLinear", x, count=3)
            sums = self.op("MatMulInteger", x_int8, self._once("Transpose", integers, perm=[1, 0]), x_zero)
            found = self.op("Mul", self.op("Cast", sums, to=_FLOAT), self.op("Mul", x_scale, scales))
        else:
            found = self.op("MatMul", x, self._once("Transpose", self._float(name), perm=[1, 0]))
        return found if bias is None else self.op("Add", found, bias)

    def rows(self, name: str, numbers: str) -> str:
        """Rows of a weight, by their numbers."""
        if self.weights.quantisation != "int8":
            return self.op("Gather", self._float(name), numbers)
        integers, scales = self._int8(name)
        scales = self.op("Unsqueeze", self.op("Gather", scales, numbers), self.numbers(-1))
        return self.op("Mul", self.op("Cast", self.op("Gather", integers, numbers), to=_FLOAT), scales)

    def normalised(self, x: str, name: str, epsilon: float) -> str:
        """Layer normalisation over the last dimension."""
        return self.op(
            "LayerNormalization",
            x,
            self.vector(f"{name}.weight"),
            self.vector(f"{name}.bias"),
            axis=-1,
            epsilon=epsilon,
        )

    def _float(self, name: str) -> str:
        if self.weights.quantisation != "half":
            return self.vector(name)
        return self._once("Cast", self.constant(name, self.weights.take(name).astype(np.float16)), to=_FLOAT)

    def _int8(self, name: str) -> tuple[str, str]:
        integers, scales = f"{name}.int8", f"{name}.scale"
        if integers not in self.initializers:
            self.initializers[integers], self.initializers[scales] = self.weights.take_int8(name)
        return integers, scales

    def _once(self, kind: str, name: str, **attributes: Any) -> str:
        """What an operator makes of a weight, outside of what is repeated: it is computed when the graph is loaded."""
        if (kind, name) not in self._once_made:
            self._once_made[kind, name] = self._outermost.op(kind, name, **attributes)
        return self._once_made[kind, name]
