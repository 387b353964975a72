"""ONNX: a graph of one step, and one of the log-probabilities of whole texts.

They are made from the weights, not traced, so that every operator and every weight in them is meant. What recurs is
written once, for one position; scoring repeats it along a text (`Scan`). The graphs share a file of weights.

Shapes: B rows, T positions, V vocabulary, H hidden units, L layers, Z latent dimensions, I inputs of what recurs, S
slots, R = S + 1 slots and the input, N heads, K dimensions of a head, M = N·K dimensions of a slot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lstmgan_dist import __version__
from lstmgan_dist.runs.export.form import Form, Opened, Quantisation
from lstmgan_dist.runs.export.usage import begun, text_of

if TYPE_CHECKING:
    from lstmgan_dist.runs.export.model import Network, State
    from lstmgan_dist.runs.export.onnx_graph import Graph

_GRAPHS, _WEIGHTS = ("start", "step", "score"), "weights.bin"
_OPSET, _IR_VERSION = 18, 9  # of 2023, so that older runtimes take them too
_ALIGNED_BYTES, _LEAST_BYTES_OUTSIDE = 64, 1024
_END = 2**31 - 1  # of an axis, whatever its length
_LAYER_NORM_EPSILON = 1e-5  # torch's

Values = Sequence[str]


@dataclass(frozen=True)
class _Kind:
    """How a kind of network is written.

    states: what its state consists of, with the dimensions of a row. start: the state, from tokens (B,) and the latent
    vectors. recur: hidden units (B, H) and the next state, from inputs (B, I) and a state.
    """

    states: Callable[[Network], Mapping[str, tuple[int, ...]]]
    start: Callable[[Graph, Network, str, str], Values]
    recur: Callable[[Graph, Network, str, Values], tuple[str, Values]]


def _lstm_states(network: Network) -> Mapping[str, tuple[int, ...]]:
    shape = (network.config["network"]["layers"], network.hidden_size)
    return {"h": shape, "c": shape}


def _lstm_start(graph: Graph, network: Network, tokens: str, latent: str) -> Values:
    layers, hidden = network.config["network"]["layers"], network.hidden_size
    if not network.latent_starts:
        shape = graph.op("Concat", graph.op("Shape", tokens), graph.numbers(layers, hidden), axis=0)
        return [graph.op("ConstantOfShape", shape) for _ in ("h", "c")]
    both = graph.product(latent, "latent_to_state.weight", graph.vector("latent_to_state.bias"))
    h, c = graph.split(both, 2, axis=-1)
    shape = graph.numbers(-1, layers, hidden)
    return [graph.op("Reshape", graph.op("Tanh", h), shape), graph.op("Reshape", c, shape)]


def _lstm_recur(graph: Graph, network: Network, x: str, state: Values) -> tuple[str, Values]:
    layers, first_axis = network.config["network"]["layers"], graph.numbers(1)
    ends: list[Values] = []
    for number, before in enumerate(zip(*(graph.split(tensor, layers, axis=1) for tensor in state), strict=True)):
        h, c = (graph.op("Squeeze", part, first_axis) for part in before)
        name = f"layers.{number}"
        gates = graph.op(
            "Add",
            graph.product(x, f"{name}.weight_ih_l0", graph.vector(f"{name}.bias_ih_l0", f"{name}.bias_hh_l0")),
            graph.product(h, f"{name}.weight_hh_l0"),
        )
        take, keep, new, show = graph.split(gates, 4, axis=-1)
        kept = graph.op("Mul", graph.op("Sigmoid", keep), c)
        c = graph.op("Add", kept, graph.op("Mul", graph.op("Sigmoid", take), graph.op("Tanh", new)))
        x = graph.op("Mul", graph.op("Sigmoid", show), graph.op("Tanh", c))
        ends.append([graph.op("Unsqueeze", value, first_axis) for value in (x, c)])
    if layers == 1:
        return x, ends[0]
    return x, [graph.op("Concat", *values, axis=1) for values in zip(*ends, strict=True)]


def _memory_states(network: Network) -> Mapping[str, tuple[int, ...]]:
    slots = network.config["network"]["slots"]
    return {"memory": (slots, network.hidden_size // slots)}


def _memory_start(graph: Graph, network: Network, tokens: str, latent: str) -> Values:
    (slots, size), *_ = _memory_states(network).values()
    identity = graph.constant("identity", np.eye(slots, size, dtype=np.float32)[None])
    if not network.latent_starts:
        shape = graph.op("Concat", graph.op("Shape", tokens), graph.numbers(1, 1), axis=0)
        return [graph.op("Expand", identity, shape)]
    added = graph.product(latent, "latent_to_memory.weight", graph.vector("latent_to_memory.bias"))
    added = graph.op("Reshape", graph.op("Tanh", added), graph.numbers(-1, slots, size))
    return [graph.op("Add", identity, added)]


def _memory_recur(graph: Graph, network: Network, x: str, state: Values) -> tuple[str, Values]:
    (memory,) = state
    slots_axis = graph.numbers(1)
    x = graph.product(x, "input_projection.weight", graph.vector("input_projection.bias"))
    of_input = graph.product(x, "input_gates.weight", graph.vector("input_gates.bias"))
    gates = graph.op(
        "Add",
        graph.product(graph.op("Tanh", memory), "memory_gates.weight"),
        graph.op("Unsqueeze", of_input, slots_axis),
    )
    take, keep = graph.split(graph.op("Sigmoid", gates), 2, axis=-1)
    attended = _attend(graph, network, graph.op("Concat", memory, graph.op("Unsqueeze", x, slots_axis), axis=1))
    memory = graph.op("Add", graph.op("Mul", keep, memory), graph.op("Mul", take, graph.op("Tanh", attended)))
    return graph.op("Flatten", memory, axis=1), [memory]


def _attend(graph: Graph, network: Network, rows: str) -> str:
    """What the slots find in each other and in the input, (B, R, M) -> (B, S, M)."""
    sizes = network.config["network"]
    scale = graph.constant("attention scale", np.array(sizes["head_size"] ** -0.5, np.float32))

    def without_last(value: str, axis: int) -> str:
        return graph.op("Slice", value, graph.numbers(0), graph.numbers(-1), graph.numbers(axis))

    for block in range(sizes["blocks"]):
        qkv = graph.normalised(graph.product(rows, "attention.weight"), "attention_norm", _LAYER_NORM_EPSILON)
        by_head = graph.op("Reshape", qkv, graph.numbers(0, 0, sizes["heads"], -1))
        q, k, v = graph.split(graph.op("Transpose", by_head, perm=[0, 2, 1, 3]), 3, axis=-1)
        if block == sizes["blocks"] - 1:  # nobody asks what the input found
            rows, q = without_last(rows, 1), without_last(q, 2)
        alike = graph.op("Mul", graph.op("MatMul", q, graph.op("Transpose", k, perm=[0, 1, 3, 2])), scale)
        found = graph.op("MatMul", graph.op("Softmax", alike, axis=-1), v)
        found = graph.op("Transpose", found, perm=[0, 2, 1, 3])
        found = graph.op("Reshape", found, graph.numbers(0, 0, -1))
        rows = graph.normalised(graph.op("Add", rows, found), "attended_norm", _LAYER_NORM_EPSILON)
        found = rows
        for number in range(sizes["mlp_layers"]):
            name = f"mlp.{number}"
            found = graph.op("Relu", found) if number else found
            found = graph.product(found, f"{name}.weight", graph.vector(f"{name}.bias"))
        rows = graph.normalised(graph.op("Add", rows, found), "mlp_norm", _LAYER_NORM_EPSILON)
    return rows


_KINDS = {
    "lstm": _Kind(_lstm_states, _lstm_start, _lstm_recur),
    "relational_memory": _Kind(_memory_states, _memory_start, _memory_recur),
}


# --- whole graphs ----------------------------------------------------------------------------------------------------


def _write(network: Network, quantisation: Quantisation | None, folder: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper
    from onnx.external_data_helper import set_external_data

    from lstmgan_dist.runs.export.onnx_graph import Graph, Weights

    kind = _KINDS[network.config["network"]["kind"]]
    weights = Weights(network.state_dict(), quantisation)
    float_, int_ = TensorProto.FLOAT, TensorProto.INT64

    def value(name: str, type_: int, *shape: int | str) -> Any:
        return helper.make_tensor_value_info(name, type_, shape)

    states = [value(name, float_, "rows", *shape) for name, shape in kind.states(network).items()]
    names = [state.name for state in states]
    nexts = [value(f"next_{name}", float_, "rows", *shape) for name, shape in kind.states(network).items()]
    latent = [value("latent", float_, "rows", network.latent_size)]
    at_start, at_step = latent * network.latent_starts, latent * network.latent_is_fed
    one, many = value("tokens", int_, "rows"), value("tokens", int_, "rows", "positions")
    graphs = {}

    def finish(name: str, graph: Graph, inputs: list[Any], outputs: list[Any], found: Values) -> None:
        for output, made in zip(outputs, found, strict=True):
            graph.nodes.append(helper.make_node("Identity", [made], [output.name]))
        graphs[name] = graph, inputs, outputs

    graph = Graph(weights)
    finish("start", graph, [one, *at_start], nexts, kind.start(graph, network, "tokens", "latent"))

    graph = Graph(weights)
    hidden, after = kind.recur(graph, network, _inputs(graph, network, "tokens", positions=False), names)
    logits = value("logits", float_, "rows", network.config["vocabulary_size"])
    finish("step", graph, [one, *states, *at_step], [logits, *nexts], [_logits(graph, network, hidden), *after])

    graph = Graph(weights)
    axis = graph.numbers(1)
    before = graph.op("Slice", "tokens", graph.numbers(0), graph.numbers(-1), axis)
    behind = graph.op("Slice", "tokens", graph.numbers(1), graph.numbers(_END), axis)
    hidden, *after = _repeat(graph, kind, network, _inputs(graph, network, before, positions=True), names)
    log_probabilities = graph.op("LogSoftmax", _logits(graph, network, hidden), axis=-1)
    chosen = graph.op("GatherElements", log_probabilities, graph.op("Unsqueeze", behind, graph.numbers(2)), axis=2)
    scores = value("log_probabilities", float_, "rows", "scored")
    found = [graph.op("Squeeze", chosen, graph.numbers(2)), *after]
    finish("score", graph, [many, *states, *at_step], [scores, *nexts], found)

    assert not weights.left, f"the graphs leave out {sorted(weights.left)}"
    places: dict[str, tuple[int, int]] = {}
    with (folder / _WEIGHTS).open("wb") as file:
        for name, (graph, inputs, outputs) in graphs.items():
            tensors = []
            for weight, array in graph.initializers.items():
                tensor = numpy_helper.from_array(np.ascontiguousarray(array), weight)
                if array.nbytes >= _LEAST_BYTES_OUTSIDE:
                    if weight not in places:
                        file.write(bytes(-file.tell() % _ALIGNED_BYTES))
                        places[weight] = file.tell(), array.nbytes
                        file.write(tensor.raw_data)
                    set_external_data(tensor, _WEIGHTS, *places[weight])
                    tensor.ClearField("raw_data")
                tensors.append(tensor)
            made = helper.make_model(
                helper.make_graph(graph.nodes, name, inputs, outputs, tensors),
                opset_imports=[helper.make_opsetid("", _OPSET)],
                ir_version=_IR_VERSION,
                producer_name="lstmgan_dist",
                producer_version=__version__,
            )
            (folder / f"{name}.onnx").write_bytes(made.SerializeToString())


def _inputs(graph: Graph, network: Network, tokens: str, *, positions: bool) -> str:
    """What recurs sees of tokens, with the latent vectors at each of them."""
    x = graph.rows("embedding.weight", tokens)
    if not network.latent_is_fed:
        return x
    latent = "latent"
    if positions:
        shape = graph.op("Concat", graph.op("Shape", tokens), graph.numbers(1), axis=0)
        latent = graph.op("Expand", graph.op("Unsqueeze", latent, graph.numbers(1)), shape)
    return graph.op("Concat", x, latent, axis=-1)


def _logits(graph: Graph, network: Network, hidden: str) -> str:
    """Of the next token, (..., H) -> (..., V)."""
    features = hidden if network.projection is None else graph.product(hidden, "projection.weight")
    output = "embedding.weight" if network.output_weight is None else "output_weight"
    return graph.product(features, output, graph.vector("output_bias"))


def _repeat(graph: Graph, kind: _Kind, network: Network, x: str, names: Values) -> list[str]:
    """The hidden units (B, T, H) of whole texts of inputs (B, T, I), and the last state."""
    from onnx import TensorProto, helper

    from lstmgan_dist.runs.export.onnx_graph import Graph

    inside = Graph(graph.weights, around=graph)
    given = [
        helper.make_tensor_value_info(f"repeated/{name}", TensorProto.FLOAT, shape)
        for name, shape in ((*((name, None) for name in names), ("x", ["rows", network.input_size])))
    ]
    *before, position = (entry.name for entry in given)
    hidden, after = kind.recur(inside, network, position, before)
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (*after, hidden)]
    body = helper.make_graph(inside.nodes, "position", given, made)
    *after, hidden = graph.ops(
        "Scan",
        *names,
        x,
        count=len(names) + 1,
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[1],
        scan_output_axes=[1],
    )
    return [hidden, *after]


# --- as another program reads them -----------------------------------------------------------------------------------


def _read(folder: Path) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = {
        name: onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
        for name in _GRAPHS
    }

    def run(name: str, tokens: Tensor, state: State, latent: Tensor | None) -> list[Tensor]:
        inputs = [entry.name for entry in sessions[name].get_inputs()]
        of_state = (entry for entry in inputs if entry not in ("tokens", "latent"))
        given = {"tokens": tokens, **dict(zip(of_state, state, strict=True))}
        if "latent" in inputs:
            assert latent is not None, "this generator wants a latent vector for each row"
            given["latent"] = latent
        found = sessions[name].run(None, {entry: tensor.numpy() for entry, tensor in given.items()})
        return [torch.from_numpy(array) for array in found]

    def start(tokens_B: Tensor, latent_BZ: Tensor | None = None) -> State:
        return tuple(run("start", tokens_B, (), latent_BZ))

    def step(tokens_B: Tensor, state: State, latent_BZ: Tensor | None = None) -> tuple[Tensor, State]:
        logits_BV, *after = run("step", tokens_B, state, latent_BZ)
        return logits_BV, tuple(after)

    def score(tokens_BT: Tensor, state: State | None = None, latent_BZ: Tensor | None = None) -> tuple[Tensor, State]:
        state = start(tokens_BT[:, 0], latent_BZ) if state is None else state
        log_probabilities_BT, *after = run("score", tokens_BT, state, latent_BZ)
        return log_probabilities_BT, tuple(after)

    return Opened(start, step, score)


_USAGE = """
start, step = (onnxruntime.InferenceSession(f"{name}.onnx") for name in ("start", "step"))
random, drawing, texts = np.random.default_rng(1), config["drawing"], []
tokens = np.full(5, first[0])
NOISEstate = start.run(None, {"tokens": tokens, **AT_START})
for token in first[1:]:
    given = dict(zip([entry.name for entry in step.get_inputs()], [tokens, *state, *AT_STEP]))
    _, *state = step.run(None, given)
    tokens = np.full(5, token)
for position in range(length):
    given = dict(zip([entry.name for entry in step.get_inputs()], [tokens, *state, *AT_STEP]))
    logits, *state = step.run(None, given)
    logits[:, drawing["suppress"]] = -1e30
    cumulative = np.exp(logits - logits.max(1, keepdims=True), dtype=np.float64).cumsum(1)
    uniforms = random.random((len(tokens), 1)) * cumulative[:, -1:]
    tokens = np.minimum((cumulative <= uniforms).sum(1), logits.shape[1] - 1)
    texts.append(tokens)
for text in np.stack(texts, axis=1).tolist():
    end = text.index(config["end_id"]) if config["end_id"] in text else len(text)
    print(TEXT)
"""


def _usage(config: Mapping[str, Any]) -> str:
    latent = config["network"]["latent"]
    made = latent and f"latent = random.standard_normal((5, {latent['size']}), np.float32)\n"
    starts, is_fed = (bool(latent) and latent["feed"] == feed for feed in ("initial_state", "every_step"))
    code = _USAGE.replace("NOISE", made or "").replace("TEXT", text_of(config, "kept + text[:end]"))
    code = code.replace(", **AT_START", ', "latent": latent' if starts else "")
    code = code.replace(", *AT_STEP", ", latent" if is_fed else "")
    return begun(config, ("import numpy as np", "import onnxruntime"), writes=True) + code


ONNX = Form(
    files=(*(f"{name}.onnx" for name in _GRAPHS), _WEIGHTS),
    write=_write,
    read=_read,
    refused={},
    modules=("onnx", "onnxruntime"),
    used=("onnxruntime", "tokenizers", "numpy"),
    reads_with="`onnxruntime`, in any language that has it",
    functions="`start.onnx` gives the state before a text; `step.onnx` makes of tokens and a state the logits of the "
    "next tokens and the state behind these; `score.onnx` makes of whole texts, with what is read before them, and a "
    "state the log-probability of every token but the first. They share `weights.bin`.",
    usage=_usage,
)
