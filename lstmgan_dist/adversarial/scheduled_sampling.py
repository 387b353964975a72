"""Scheduled sampling (Bengio et al. 2015), in parallel over positions (Duckworth et al. 2019).

Shapes: B rows, T positions, N positions that read an own sample, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor

from lstmgan_dist.adversarial.objective import Tensors
from lstmgan_dist.adversarial.texts import select, state_named
from lstmgan_dist.models.drawing import inverse_cdf
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.tokens import END_ID


def with_own_samples(generator: Generator, part: Tensors, *, probability: float, passes: int, noise: Noise) -> Tensor:
    """What the rows of real text read, with some tokens replaced by samples of the generator itself, (B, T).

    Which positions do is drawn for each by itself, and stays. Every pass reads the whole mixture, at first the real
    text, and draws anew what these positions read, with the same uniforms. So after k passes the first k of them are
    as the paper has them, where each sample depends on those before it; others depend on real tokens instead, which
    is how fewer passes differ from it. Not replaced are the first token, contexts and what is behind the text. Samples
    are drawn without dropout, are constants, and are no end marks, behind which no text goes on.
    """
    inputs_BT = part["real_inputs_BT"]
    starts_B = part.get("real_starts_B")
    told_BT = valid(part["real_lengths_B"] - 1, inputs_BT.shape[1], starts_B)  # by which the next position is read
    own_BT = told_BT & (noise.uniform("positions", inputs_BT.shape[1]) < probability)
    index_N = own_BT.flatten().nonzero().squeeze(1)
    uniforms_N = noise.uniform("tokens", inputs_BT.shape[1]).flatten()[index_N]
    # The position behind is in the same row, for the last one tells nothing.
    read_N = index_N + 1
    for _ in range(passes):
        features_BTF, _ = generator(inputs_BT, state_named(part), latent_BZ=part.get("real_latent_BZ"))
        probabilities_NV = generator.logits(select(features_BTF, index_N)).softmax(dim=-1)
        probabilities_NV[:, END_ID] = 0
        own_N = inverse_cdf(probabilities_NV, uniforms_N)
        inputs_BT = inputs_BT.flatten().index_copy(0, read_N, own_N).view_as(inputs_BT)
    return inputs_BT
