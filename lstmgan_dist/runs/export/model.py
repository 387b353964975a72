"""A text generator that lstmgan_dist has trained, in plain PyTorch: this file needs torch and safetensors alone.

    generator = load("folder")
    for tokens in generator.draw(torch.rand(3, generator.length)):
        print(generator.text(tokens))

It lies beside the weights of every generator that `lstmgan export --to safetensors` writes, and is what the other forms
are made from. Every function takes tokens first, and a latent vector last where the generator has one.

Shapes: B rows, T positions, V vocabulary, E embedding, H hidden units, L layers, Z latent dimensions, I inputs of what
recurs, S slots, R = S + 1 slots and the input, N heads, K dimensions of a head, M = N·K dimensions of a slot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

# Of words and signs with a space between each two: what double quotes hold, and the spaces that nobody writes, before
# what leans to the left and behind what leans to the right.
QUOTED = r'(?<!\S)" ([^"]*?) "(?!\S)'
CLOSE = (
    r""" (?=(?:[,.;:!?%)\]}…”»’]|\.\.\.|\(\)|['’](?:s|re|ve|ll|d|m|t)|n['’]t)(?![^\s"]))|(?<=(?<![^\s"])[(\[{“«‘]) """
)

State = tuple[Tensor, ...]  # float32, rows first


def load(folder: str | Path = ".", *, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Network:
    """The generator in a folder. dtype: of its weights, and of what is multiplied by them."""
    config = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    network = build(config, load_file(Path(folder) / "model.safetensors"))
    network.vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].__getitem__)
    return network.to(device, dtype)


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Network:
    """The network that a config.json describes, with all of these weights and no others."""
    network = KINDS[config["network"]["kind"]](config)
    network.load_state_dict(dict(weights), strict=True)
    return network.requires_grad_(False)


class Network(nn.Module):
    """Both ends of a generator; a kind adds what recurs between them.

    A state is what `start` gives; its tensors have a row for each text.
    """

    hidden_size: int

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        network = config["network"]
        latent = network["latent"] or {"size": 0, "feed": None}
        self.config = config
        self.vocabulary: list[str] = []
        self.latent_size: int = latent["size"]
        self.latent_starts, self.latent_is_fed = latent["feed"] == "initial_state", latent["feed"] == "every_step"
        self.input_size: int = network["embedding"] + (self.latent_size if self.latent_is_fed else 0)
        self.embedding = nn.Embedding.from_pretrained(torch.empty(config["vocabulary_size"], network["embedding"]))

    def add_output(self, hidden: int) -> None:
        """Make the output layer behind so many hidden units."""
        (vocabulary, embedding), tied = self.embedding.weight.shape, self.config["network"]["tied"]
        self.hidden_size = hidden
        self.projection = nn.Linear(hidden, embedding, bias=False) if tied and embedding != hidden else None
        self.output_weight = None if tied else nn.Parameter(torch.empty(vocabulary, hidden))
        self.output_bias = nn.Parameter(torch.empty(vocabulary))

    @property
    def length(self) -> int:
        """Most tokens of a text, as it was trained."""
        return self.config["drawing"]["length"]

    # --- what a kind is ---

    def start(self, tokens_B: Tensor, latent_BZ: Tensor | None = None) -> State:
        """The state before the first token; of the tokens only their number counts."""
        raise NotImplementedError

    def recur(self, x_BI: Tensor, state: State) -> tuple[Tensor, State]:
        """The hidden units behind one position, (B, H), and the state after it."""
        raise NotImplementedError

    def read(self, x_BTI: Tensor, state: State) -> tuple[Tensor, State]:
        """The same of whole sequences, (B, T, H)."""
        hidden = []
        for x_BI in x_BTI.unbind(1):
            hidden_BH, state = self.recur(x_BI, state)
            hidden.append(hidden_BH)
        return torch.stack(hidden, dim=1), state

    # --- what all do alike ---

    def step(self, tokens_B: Tensor, state: State, latent_BZ: Tensor | None = None) -> tuple[Tensor, State]:
        """Logits of the token behind each of these, (B, V), and the state after them."""
        hidden_BH, state = self.recur(self.inputs(tokens_B, latent_BZ), state)
        return self.logits(hidden_BH), state

    def score(
        self, tokens_BT: Tensor, state: State | None = None, latent_BZ: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Log-probability in nats of each token but the first, given those before it, (B, T - 1), and the last state.

        A sentence begins with the end mark. The state is the one before the last token, from which a text goes on.
        """
        if state is None:
            state = self.start(tokens_BT[:, 0], latent_BZ)
        hidden_BTH, state = self.read(self.inputs(tokens_BT[:, :-1], latent_BZ), state)
        log_probabilities_BTV = self.logits(hidden_BTH).log_softmax(-1)
        return log_probabilities_BTV.gather(-1, tokens_BT[:, 1:, None])[..., 0], state

    @torch.no_grad()
    def draw(
        self,
        uniforms_BT: Tensor,
        *,
        latent_BZ: Tensor | None = None,
        prompt: Sequence[int] | None = None,
        temperature: float = 1.0,
    ) -> list[list[int]]:
        """One text for each row of uniforms in (0, 1); as `draw` below, with what the config says of drawing.

        prompt: tokens to go on from; a sentence's begin with the end mark.
        """
        drawing = self.config["drawing"]
        return draw(
            self.start,
            self.step,
            uniforms_BT,
            latent_BZ=latent_BZ,
            prompt=drawing["first_tokens"] if prompt is None else prompt,
            temperature=temperature,
            suppress=drawing["suppress"],
            end=self.config["end_id"],
        )

    def text(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; words and signs put together about as one writes them."""
        pieces = [self.vocabulary[token] for token in tokens if token != self.config["end_id"]]
        if self.config["tokenizer"]["kind"] == "word":
            return re.sub(CLOSE, "", re.sub(QUOTED, r'"\1"', " ".join(pieces)))
        if self.config["tokenizer"]["kind"] == "character":
            return "".join("\ufffd" if piece == "<unk>" else piece for piece in pieces)
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]  # GPT-2's alphabet of bytes
        others = (byte for byte in range(256) if byte not in printable)
        value = {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
        return bytes(value[letter] for piece in pieces for letter in piece).decode("utf-8", errors="replace")

    def inputs(self, tokens: Tensor, latent_BZ: Tensor | None) -> Tensor:
        """What recurs sees of tokens, (B, I) or (B, T, I)."""
        x = self.embedding(tokens).float()
        if not self.latent_is_fed:
            return x
        assert latent_BZ is not None, "this generator wants a latent vector for each row"
        latent = latent_BZ if x.ndim == 2 else latent_BZ[:, None].expand(-1, x.shape[1], -1)
        return torch.cat([x, latent], dim=-1)

    def logits(self, hidden: Tensor) -> Tensor:
        """Of the next token, (..., H) -> (..., V)."""
        features = hidden if self.projection is None else linear(hidden, self.projection.weight)
        return linear(features, self.embedding.weight if self.output_weight is None else self.output_weight) + (
            self.output_bias.float()
        )


class LSTM(Network):
    """LSTM layers. The state is (h_BLH, c_BLH)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        layers, hidden = config["network"]["layers"], config["network"]["hidden"]
        sizes = [self.input_size] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(size, hidden, batch_first=True) for size in sizes)
        self.latent_to_state = nn.Linear(self.latent_size, 2 * layers * hidden) if self.latent_starts else None
        self.add_output(hidden)

    def start(self, tokens_B: Tensor, latent_BZ: Tensor | None = None) -> State:
        shape = (tokens_B.shape[0], self.config["network"]["layers"], self.hidden_size)
        if self.latent_to_state is None:
            return torch.zeros(shape, device=tokens_B.device), torch.zeros(shape, device=tokens_B.device)
        assert latent_BZ is not None, "this generator wants a latent vector for each row"
        h, c = linear(latent_BZ, self.latent_to_state.weight, self.latent_to_state.bias).chunk(2, dim=-1)
        return h.tanh().reshape(shape), c.reshape(shape)

    def recur(self, x_BI: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = [], []
        for layer, h_BH, c_BH in zip(self.layers, state[0].unbind(1), state[1].unbind(1), strict=True):
            assert isinstance(layer, nn.LSTM)
            of_input, of_state, input_bias, state_bias = layer.all_weights[0]
            gates = linear(x_BI, of_input, input_bias) + linear(h_BH, of_state, state_bias)
            take, keep, new, show = gates.chunk(4, dim=-1)
            c.append(keep.sigmoid() * c_BH + take.sigmoid() * new.tanh())
            h.append(show.sigmoid() * c[-1].tanh())
            x_BI = h[-1]
        return x_BI, (torch.stack(h, dim=1), torch.stack(c, dim=1))

    def read(self, x_BTI: Tensor, state: State) -> tuple[Tensor, State]:
        h, c = [], []
        for layer, *before in zip(self.layers, state[0].unbind(1), state[1].unbind(1), strict=True):
            assert isinstance(layer, nn.LSTM)
            dtype = layer.all_weights[0][0].dtype
            h_1BH, c_1BH = (tensor[None].to(dtype).contiguous() for tensor in before)
            x_BTI, (h_1BH, c_1BH) = layer(x_BTI.to(dtype), (h_1BH, c_1BH))
            h.append(h_1BH[0].float())
            c.append(c_1BH[0].float())
        return x_BTI.float(), (torch.stack(h, dim=1), torch.stack(c, dim=1))


class RelationalMemory(Network):
    """Slots that attend to each other and to the input (Santoro et al. 2018). The state is (memory_BSM,)."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        network = config["network"]
        self.slots, self.heads, self.blocks = network["slots"], network["heads"], network["blocks"]
        size = network["heads"] * network["head_size"]
        self.input_projection = nn.Linear(self.input_size, size)
        self.input_gates = nn.Linear(size, 2 * size)
        self.memory_gates = nn.Linear(size, 2 * size, bias=False)
        self.attention = nn.Linear(size, 3 * size, bias=False)
        self.attention_norm, self.attended_norm = nn.LayerNorm(3 * size), nn.LayerNorm(size)
        self.mlp = nn.ModuleList(nn.Linear(size, size) for _ in range(network["mlp_layers"]))
        self.mlp_norm = nn.LayerNorm(size)
        self.latent_to_memory = nn.Linear(self.latent_size, self.slots * size) if self.latent_starts else None
        self.add_output(self.slots * size)

    def start(self, tokens_B: Tensor, latent_BZ: Tensor | None = None) -> State:
        shape = (tokens_B.shape[0], self.slots, self.hidden_size // self.slots)
        memory_SM = torch.eye(*shape[1:], device=tokens_B.device)
        if self.latent_to_memory is None:
            return (memory_SM.expand(shape),)
        assert latent_BZ is not None, "this generator wants a latent vector for each row"
        added = linear(latent_BZ, self.latent_to_memory.weight, self.latent_to_memory.bias).tanh()
        return (memory_SM + added.reshape(shape),)

    def recur(self, x_BI: Tensor, state: State) -> tuple[Tensor, State]:
        (memory_BSM,) = state
        x_BM = linear(x_BI, self.input_projection.weight, self.input_projection.bias)
        gates_BSG = linear(memory_BSM.tanh(), self.memory_gates.weight)
        gates_BSG = gates_BSG + linear(x_BM, self.input_gates.weight, self.input_gates.bias)[:, None]
        take_BSM, keep_BSM = gates_BSG.sigmoid().chunk(2, dim=-1)
        memory_BSM = keep_BSM * memory_BSM + take_BSM * self.attend(memory_BSM, x_BM).tanh()
        return memory_BSM.flatten(1), (memory_BSM,)

    def attend(self, memory_BSM: Tensor, x_BM: Tensor) -> Tensor:
        """What the slots find in each other and in the input, (B, S, M)."""
        rows_BRM = torch.cat([memory_BSM, x_BM[:, None]], dim=1)
        for block in range(self.blocks):
            qkv_BRG = norm(self.attention_norm, linear(rows_BRM, self.attention.weight))
            qkv_BNRK = qkv_BRG.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            q_BNRK, k_BNRK, v_BNRK = qkv_BNRK.chunk(3, dim=-1)
            if block == self.blocks - 1:  # nobody asks what the input found
                rows_BRM, q_BNRK = rows_BRM[:, :-1], q_BNRK[:, :, :-1]
            weights_BNRR = (q_BNRK @ k_BNRK.transpose(2, 3) * k_BNRK.shape[-1] ** -0.5).softmax(dim=-1)
            rows_BRM = norm(self.attended_norm, rows_BRM + (weights_BNRR @ v_BNRK).transpose(1, 2).flatten(2))
            found_BRM = rows_BRM
            for number, layer in enumerate(self.mlp):
                assert isinstance(layer, nn.Linear)
                found_BRM = linear(found_BRM.relu() if number else found_BRM, layer.weight, layer.bias)
            rows_BRM = norm(self.mlp_norm, rows_BRM + found_BRM)
        return rows_BRM


KINDS: dict[str, type[Network]] = {"lstm": LSTM, "relational_memory": RelationalMemory}


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The layer, computed in the weights' type of number; float32 comes out."""
    return F.linear(inputs.to(weight.dtype), weight, bias).float()


def norm(layer: nn.LayerNorm, inputs: Tensor) -> Tensor:
    """The layer in float32."""
    return F.layer_norm(inputs, layer.normalized_shape, layer.weight.float(), layer.bias.float(), layer.eps)


def draw(
    start: Callable[..., State],
    step: Callable[..., tuple[Tensor, State]],
    uniforms_BT: Tensor,
    *,
    latent_BZ: Tensor | None,
    prompt: Sequence[int],
    temperature: float,
    suppress: Sequence[int],
    end: int,
) -> list[list[int]]:
    """One text for each row of uniforms: a token is its distribution's inverse at a uniform.

    A text ends at its end mark, which is its last token then, or with its uniforms. temperature: 0 takes the most
    probable token. suppress: tokens that are never drawn.
    """
    rows, length = uniforms_BT.shape
    latent = () if latent_BZ is None else (latent_BZ,)
    tokens_B = torch.full((rows,), prompt[0], device=uniforms_BT.device)
    state = start(tokens_B, *latent)
    for token in prompt[1:]:
        _, state = step(tokens_B, state, *latent)
        tokens_B = torch.full_like(tokens_B, token)
    drawn_BT = torch.full((rows, length), end, device=uniforms_BT.device)
    running_B = torch.ones(rows, dtype=torch.bool, device=uniforms_BT.device)
    for position in range(length):
        logits_BV, state = step(tokens_B, state, *latent)
        logits_BV = logits_BV.index_fill(1, torch.tensor(suppress, dtype=torch.int64, device=logits_BV.device), -1e30)
        if temperature:
            cumulative_BV = (logits_BV.double() / temperature).softmax(-1).cumsum(-1)
            target_B1 = uniforms_BT[:, position, None] * cumulative_BV[:, -1:]
            tokens_B = (cumulative_BV <= target_B1).sum(-1).clamp(max=logits_BV.shape[1] - 1)
        else:
            tokens_B = logits_BV.argmax(-1)
        drawn_BT[:, position] = tokens_B.where(running_B, end)
        running_B = running_B & (tokens_B != end)
        if not running_B.any():
            break
    texts = drawn_BT.tolist()
    return [text[: text.index(end) + 1] if end in text else text for text in texts]
