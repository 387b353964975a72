"""Text from a generator: free running, without gradient.

Shapes: B rows, T positions, P prompt tokens or given ones, S slots that are worked on together, V vocabulary,
F features, K candidates, J blocks of the vocabulary, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.models.generator import Generator, State
from lstmgan_dist.models.padding import valid
from lstmgan_dist.tokens import END_ID as END

_SLOTS = 512  # rows whose logits fit into a CPU's cache, and enough of them for fast matrix products
_SLOT_STEP = 4  # most kernels work on so many rows at once
_BLOCK = 64  # tokens
_MOST_GRAPHS = 4  # of one generator: training, evaluation and their last batches


class Given(NamedTuple):
    """What rows begin with, each with something of its own.

    tokens_BP: int64, padded. lengths_B: int64, how many of them are given.
    """

    tokens_BP: Tensor
    lengths_B: Tensor

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Given:
        """What these lists of tokens give, on the CPU."""
        lengths_B = torch.tensor([len(row) for row in rows])
        tokens_BP = torch.zeros(len(rows), int(lengths_B.max()), dtype=torch.int64)
        tokens_BP[valid(lengths_B, tokens_BP.shape[1])] = torch.tensor([token for row in rows for token in row])
        return cls(tokens_BP, lengths_B)


class Drawn(NamedTuple):
    """Drawn text.

    tokens_BT: int64, padded with END.
    lengths_B: tokens of each row, END included where the row reached it.
    starts_B: how many tokens of each row were given to it; None where none were.
    """

    tokens_BT: Tensor
    lengths_B: Tensor
    starts_B: Tensor | None = None


@torch.no_grad()
def draw(
    generator: Generator,
    uniforms_BT: Tensor,
    *,
    latent_BZ: Tensor | None = None,
    prompt: Sequence[int] = (END,),
    given: Given | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    suppress: Sequence[int] = (),
) -> Drawn:
    """Write one text for each row of uniforms: token t of a row is its distribution's inverse at uniforms_BT[:, t].

    A row's text depends on its own uniforms only, up to the rounding of matrix products.

    Args:
        uniforms_BT: in (0, 1), on the generator's device.
        latent_BZ: for a generator that has a latent vector.
        prompt: tokens read before the first drawn one, at least one. A sentence starts with END.
        given: what each row reads after the prompt as if it had drawn it; the uniforms are of what follows.
        temperature: divides the logits; 0 takes the most probable token.
        top_k: draw from this many most probable tokens.
        top_p: draw from the fewest most probable tokens that have this probability together (Holtzman et al. 2020).
        suppress: tokens never drawn. With END among them no row stops early.
    """
    device = uniforms_BT.device
    allowed_V = torch.zeros(generator.vocabulary_size, device=device)
    allowed_V[list(suppress)] = -torch.inf

    def begin(latent_SZ: Tensor | None, slots: int) -> State:
        """The state in which texts read the last token of the prompt."""
        if len(prompt) == 1:
            return generator.initial_state(slots, latent_SZ)
        # Without latent vectors the prompt leads every row to the same state.
        inputs_SP = torch.tensor([prompt[:-1]], device=device).expand(1 if latent_SZ is None else slots, -1)
        _, state = generator(inputs_SP, latent_BZ=latent_SZ)
        return tuple(tensor.expand(slots, *tensor.shape[1:]) for tensor in state)

    def picker(dtype: torch.dtype) -> Pick:
        """How the next token of every slot is picked, in a type of number."""
        logits_of = generator.logits_reader(dtype, scale=1 / temperature if temperature else 1.0, allowed_V=allowed_V)

        def pick(features_SF: Tensor, uniforms_S: Tensor) -> Tensor:
            logits_SV = logits_of(features_SF)
            if temperature == 0:
                return logits_SV.argmax(dim=-1)
            if top_k is not None or top_p is not None:
                return _among_the_most_probable(logits_SV, uniforms_S, top_k, top_p)
            return inverse_cdf(logits_SV.softmax(dim=-1), uniforms_S)

        return pick

    if not uniforms_BT.is_cuda:
        return _draw_in_slots(generator, uniforms_BT, latent_BZ, prompt[-1], given, begin, picker)
    settings = (temperature, top_k, top_p, tuple(suppress))
    state = begin(latent_BZ, len(uniforms_BT))
    return _replay(generator, uniforms_BT, latent_BZ, state, prompt[-1], given, picker, settings)


Begin = Callable[[Tensor | None, int], State]
Pick = Callable[[Tensor, Tensor], Tensor]  # features_SF, uniforms_S -> tokens_S
Picker = Callable[[torch.dtype], Pick]


def _draw_in_slots(
    generator: Generator,
    uniforms_BT: Tensor,
    latent_BZ: Tensor | None,
    first_token: int,
    given: Given | None,
    begin: Begin,
    picker: Picker,
) -> Drawn:
    """Draw in a fixed number of slots: a text that ends makes room for the next, so none is worked on in vain."""
    rows, positions = uniforms_BT.shape
    nowhere = rows  # the row of a slot that has nothing left to do
    uniforms_BT = F.pad(uniforms_BT, (0, 0, 0, 1), value=0.5)
    latent_BZ = None if latent_BZ is None else F.pad(latent_BZ, (0, 0, 0, 1))
    if given:
        given = Given(F.pad(given.tokens_BP, (0, 0, 0, 1)), F.pad(given.lengths_B, (0, 1)))
    longest = positions + (given.tokens_BP.shape[1] if given else 0)
    tokens_BT = torch.zeros(rows + 1, longest, dtype=torch.int64)
    lengths_B = torch.zeros(rows + 1, dtype=torch.int64)

    def latent_of(row_S: Tensor) -> Tensor | None:
        return None if latent_BZ is None else latent_BZ[row_S]

    entered = min(rows, _SLOTS)
    row_S = torch.arange(entered)
    position_S = torch.zeros_like(row_S)
    token_S = torch.full_like(row_S, first_token)
    state = begin(latent_of(row_S), entered)
    # A kind may put its weights together for this, so once, unless it also takes in what slots hold just now.
    step = generator.step(None, torch.float32) if latent_BZ is None else None
    pick = picker(torch.float32)
    while len(row_S):
        features_SF, state = (step or generator.step(latent_of(row_S), torch.float32))(token_S, state)
        # How much of its text a slot has written; below 0 its token is given.
        written_S = position_S - (given.lengths_B[row_S] if given else 0)
        if given is None:
            uniforms_S = uniforms_BT[row_S, written_S]
            token_S = pick(features_SF, uniforms_S)
        else:
            token_S = given.tokens_BP[row_S, position_S.clamp(max=given.tokens_BP.shape[1] - 1)]
            free = (written_S >= 0).nonzero().squeeze(1)
            if len(free):
                uniforms_S = uniforms_BT[row_S[free], written_S[free]]
                token_S[free] = pick(features_SF[free], uniforms_S)
        tokens_BT[row_S, position_S] = token_S
        position_S += 1
        lengths_B[row_S] = position_S
        over = ((token_S == END) & (written_S >= 0) | (written_S + 1 == positions)) & (row_S != nowhere)
        position_S[over | (row_S == nowhere)] = 0
        over = over.nonzero().squeeze(1)
        refill = over[: rows - entered]
        if len(refill):
            row_S[refill] = torch.arange(entered, entered + len(refill))
            token_S[refill] = first_token
            for old, new in zip(state, begin(latent_of(row_S[refill]), len(refill)), strict=True):
                old[refill] = new
            entered += len(refill)
        row_S[over[len(refill) :]] = nowhere
        slots = -(-int((row_S != nowhere).sum()) // _SLOT_STEP) * _SLOT_STEP
        if slots < len(row_S):
            keep = (row_S == nowhere).argsort(stable=True)[:slots]
            row_S, position_S, token_S = row_S[keep], position_S[keep], token_S[keep]
            state = tuple(tensor[keep] for tensor in state)
    return Drawn(tokens_BT[:rows], lengths_B[:rows], given.lengths_B[:rows] if given else None)


def _draw_in_step(
    generator: Generator,
    uniforms_BT: Tensor,
    latent_BZ: Tensor | None,
    state: State,
    first_token: int,
    given: Given | None,
    picker: Picker,
    dtype: torch.dtype,
) -> Drawn:
    """Draw all rows to the last position, without ever asking the device for a value: what a CUDA graph can hold."""
    longest = uniforms_BT.shape[1]
    tokens_BT = torch.empty(0)
    if given:
        uniforms_BT, tokens_BT = _behind(given, uniforms_BT)
    step = generator.step(latent_BZ, dtype)
    state = tuple(tensor.to(dtype) for tensor in state)
    pick = picker(dtype)
    rows, positions = uniforms_BT.shape
    token_B = torch.full((rows,), first_token, device=uniforms_BT.device)
    running_B = torch.ones(rows, dtype=torch.bool, device=uniforms_BT.device)
    lengths_B = torch.zeros(rows, dtype=torch.int64, device=uniforms_BT.device)
    drawn = []
    for t in range(positions):
        features_BF, state = step(token_B, state)
        token_B = pick(features_BF, uniforms_BT[:, t])
        is_end_B = token_B == END
        if given:
            is_given_B = t < given.lengths_B
            token_B = tokens_BT[:, t].where(is_given_B, token_B)
            is_end_B = is_end_B & ~is_given_B | (t + 1 == given.lengths_B + longest)
        drawn.append(token_B.where(running_B, END))
        lengths_B = lengths_B + running_B
        running_B = running_B & ~is_end_B
    return Drawn(torch.stack(drawn, dim=1), lengths_B, given.lengths_B if given else None)


def _behind(given: Given, uniforms_BT: Tensor) -> tuple[Tensor, Tensor]:
    """The uniforms of texts that begin behind what is given, and what is given, both as long as the longest row."""
    most = given.tokens_BP.shape[1]
    position_T = torch.arange(most + uniforms_BT.shape[1], device=uniforms_BT.device)
    drawn_BT = (position_T - given.lengths_B[:, None]).clamp(0, uniforms_BT.shape[1] - 1)
    return uniforms_BT.gather(1, drawn_BT), F.pad(given.tokens_BP, (0, uniforms_BT.shape[1]))


class _Graph(NamedTuple):
    """A captured draw: write the inputs, replay, read the outputs."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor]
    drawn: Drawn


# The graphs read a generator's weights where they are, so they live as long as it does.
_graphs: WeakKeyDictionary[Generator, dict[Hashable, _Graph]] = WeakKeyDictionary()


def _replay(
    generator: Generator,
    uniforms_BT: Tensor,
    latent_BZ: Tensor | None,
    state: State,
    first_token: int,
    given: Given | None,
    picker: Picker,
    settings: tuple[Hashable, ...],
) -> Drawn:
    """Draw by a CUDA graph of the whole sequence, captured once for each shape and setting.

    A graph reads the weights in place, so it sees every update of theirs.
    """
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else torch.float32
    addresses = tuple(parameter.data_ptr() for parameter in generator.parameters())
    key = (*uniforms_BT.shape, dtype, first_token, given and given.tokens_BP.shape[1], settings, addresses)
    inputs = [uniforms_BT, *state, *(given or ())]
    if latent_BZ is not None:
        inputs.append(latent_BZ)
    graphs = _graphs.setdefault(generator, {})
    if key not in graphs:
        if len(graphs) == _MOST_GRAPHS:
            del graphs[next(iter(graphs))]
        with torch.autocast("cuda", enabled=False):  # the cast weights belong into the graph, not into autocast's cache
            static = [tensor.clone() for tensor in inputs]
            graphs[key] = _capture(generator, static, first_token, picker, dtype, has_given=given is not None)
    captured = graphs[key]
    for static, tensor in zip(captured.inputs, inputs, strict=True):
        static.copy_(tensor)
    captured.graph.replay()
    tokens_BT, lengths_B = captured.drawn.tokens_BT.clone(), captured.drawn.lengths_B.clone()
    return Drawn(tokens_BT, lengths_B, given.lengths_B if given else None)


def _capture(
    generator: Generator, inputs: list[Tensor], first_token: int, picker: Picker, dtype: torch.dtype, *, has_given: bool
) -> _Graph:
    uniforms_BT, *state = inputs
    latent_BZ = state.pop() if generator.latent_size else None
    given = Given(*reversed([state.pop(), state.pop()])) if has_given else None

    def run() -> Drawn:
        return _draw_in_step(generator, uniforms_BT, latent_BZ, tuple(state), first_token, given, picker, dtype)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries set themselves up outside of the capture
        run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):  # other threads may use CUDA meanwhile
        drawn = run()
    return _Graph(graph, inputs, drawn)


def inverse_cdf(weights_SV: Tensor, uniforms_S: Tensor) -> Tensor:
    """The token at which the cumulative weight first exceeds uniform times total; never one without weight.

    In two levels: first the block of tokens, from the blocks' sums, then the token in it.
    """
    slots, vocabulary = weights_SV.shape
    whole = vocabulary // _BLOCK * _BLOCK
    sums_SJ = weights_SV[:, :whole].view(slots, whole // _BLOCK, _BLOCK).sum(dim=-1)
    if whole < vocabulary:
        sums_SJ = torch.cat([sums_SJ, weights_SV[:, whole:].sum(dim=-1, keepdim=True)], dim=-1)
    cumulative_SJ = sums_SJ.cumsum(dim=-1)
    target_S1 = uniforms_S[:, None] * cumulative_SJ[:, -1:]
    block_S1 = _first_above(cumulative_SJ, target_S1)
    before_S1 = (cumulative_SJ - sums_SJ).gather(1, block_S1)
    token_SK = block_S1 * _BLOCK + torch.arange(_BLOCK, device=weights_SV.device)
    inside_SK = weights_SV.gather(1, token_SK.clamp(max=vocabulary - 1)).masked_fill_(token_SK >= vocabulary, 0)
    return (block_S1 * _BLOCK + _first_above(inside_SK.cumsum(dim=-1), target_S1 - before_S1)).squeeze(1)


def _first_above(cumulative_SK: Tensor, target_S1: Tensor) -> Tensor:
    """Index of the first cumulative weight above the target; of the last that rose where rounding leaves none above."""
    last_S1 = (cumulative_SK < cumulative_SK[:, -1:]).sum(dim=-1, keepdim=True)
    return (cumulative_SK <= target_S1.clamp(min=0)).sum(dim=-1, keepdim=True).minimum(last_S1)


def _among_the_most_probable(logits_SV: Tensor, uniforms_S: Tensor, top_k: int | None, top_p: float | None) -> Tensor:
    """A token of the top_k most probable ones, of which only the first that reach top_p together count."""
    logits_SK, token_SK = logits_SV.topk(min(top_k or logits_SV.shape[1], logits_SV.shape[1]), dim=-1)
    weights_SK = logits_SK.softmax(dim=-1)
    cumulative_SK = weights_SK.cumsum(dim=-1)
    if top_p is not None:
        weights_SK = weights_SK.masked_fill(cumulative_SK - weights_SK >= top_p, 0)
        weights_SK[:, 0] = weights_SK[:, 0].clamp(min=torch.finfo(weights_SK.dtype).tiny)
        cumulative_SK = weights_SK.cumsum(dim=-1)
    index_S1 = _first_above(cumulative_SK, uniforms_S[:, None] * cumulative_SK[:, -1:])
    return token_SK.gather(1, index_S1).squeeze(1)
