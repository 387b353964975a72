"""The two operations that take the time, each on the fastest kernel of its device.

Shapes: B rows, T positions, I inputs, H hidden units, O outputs.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lstmgan_dist.models.initialise import orthogonal_, uniform_

# A product with numbers below 1e-38, of which the gradient of a sharp softmax is full, takes an Intel CPU forty times
# as long. Threads inherit this, so it comes before any product.
torch.set_flush_denormal(True)

# PyTorch hands 1×1 convolutions to oneDNN from this many images on in any number of threads; and a single image, of so
# many numbers or more, only where there are several threads.
_IMAGES, _ONEDNN_FROM = 16, 20481
_WORTH_IT = 2**25  # multiplications of a product by which oneDNN gains more than its call takes


_mode = threading.local()  # units are worked on side by side, and the others keep their kernels


@contextmanager
def twice_differentiable() -> Iterator[None]:
    """Meanwhile this thread computes by operations whose gradients have a gradient: a fused LSTM's have none.

    Neither oneDNN's nor cuDNN's, so an LSTM is read step by step then.
    """
    before = is_twice_differentiable()
    _mode.twice_differentiable = True
    try:
        yield
    finally:
        _mode.twice_differentiable = before


def is_twice_differentiable() -> bool:
    """Whether the gradient must have a gradient now, in this thread."""
    return getattr(_mode, "twice_differentiable", False)


class LSTMLayer(nn.LSTM):
    """One LSTM layer, read by one call: oneDNN's on CPUs, cuDNN's on NVIDIA GPUs.

    nn.LSTM holds the weights, in the one chunk of memory that cuDNN wants. `read` hands them over one by one, which is
    what lets a mask on the recurrent weights stay on the fused path.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__(inputs, hidden, batch_first=True)

    @torch.no_grad()
    def initialise(self, seed: int, name: str) -> None:
        """Glorot-uniform input weights, orthogonal recurrent weights, open forget gates (Jozefowicz et al. 2015)."""
        hidden, inputs = self.hidden_size, self.input_size
        uniform_(self.weight_ih_l0, math.sqrt(6 / (inputs + hidden)), seed, f"{name} input")
        for gate, weight_HH in enumerate(self.weight_hh_l0.chunk(4)):
            orthogonal_(weight_HH, seed, f"{name} {gate}")
        self.bias_ih_l0.zero_()
        self.bias_hh_l0.zero_()
        self.bias_ih_l0[hidden : 2 * hidden] = 1  # gates are in the order input, forget, cell, output

    @property
    def weights(self) -> list[Tensor]:
        """Input weights, recurrent weights and their biases."""
        return [self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0]

    def read(
        self,
        inputs_BTI: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        *,
        recurrent_keep: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read whole sequences.

        Args:
            state: h_BH and c_BH before the first position; zeros without.
            recurrent_keep: what the recurrent weights are multiplied by, (4H, H).

        Returns:
            outputs_BTH, and the float32 state after the last position.
        """
        if state is None:
            zeros_BH = inputs_BTI.new_zeros(len(inputs_BTI), self.hidden_size)
            state = zeros_BH, zeros_BH
        weights = self.weights
        if recurrent_keep is not None:
            weights[1] = weights[1] * recurrent_keep
        if is_twice_differentiable():
            return _read_step_by_step(inputs_BTI, state, weights)
        outputs_BTH, h_1BH, c_1BH = torch.lstm(
            inputs_BTI,
            [state[0][None].contiguous(), state[1][None].contiguous()],
            weights,
            has_biases=True,
            num_layers=1,
            dropout=0.0,
            train=torch.is_grad_enabled(),  # the kernels keep what the backward pass needs
            bidirectional=False,
            batch_first=True,
        )
        return outputs_BTH, (h_1BH[0].float(), c_1BH[0].float())


def _read_step_by_step(
    inputs_BTI: Tensor, state: tuple[Tensor, Tensor], weights: list[Tensor]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What `LSTMLayer.read` gives, of operations that have second derivatives on every device."""
    input_weight, recurrent_weight, input_bias, recurrent_bias = weights
    (h_BH, c_BH), outputs = state, []
    for gates_B4H in F.linear(inputs_BTI, input_weight, input_bias + recurrent_bias).unbind(1):
        take_BH, keep_BH, new_BH, show_BH = (gates_B4H + F.linear(h_BH, recurrent_weight)).chunk(4, dim=1)
        c_BH = keep_BH.sigmoid() * c_BH + take_BH.sigmoid() * new_BH.tanh()
        h_BH = show_BH.sigmoid() * c_BH.tanh()
        outputs.append(h_BH)
    return torch.stack(outputs, dim=1), (h_BH.float(), c_BH.float())


def linear(inputs_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`F.linear` over the last dimension.

    On CPUs it is a 1×1 convolution over the rows, laid out as channels-last images without a copy: PyTorch hands
    convolutions to oneDNN but float32 matrix products to MKL, which leaves half of an AMD core idle.
    """
    size = inputs_I.shape[-1]
    rows = inputs_I.numel() // size
    if rows % _IMAGES == 0 and rows * weight_OI.numel() >= _WORTH_IT:
        images = _IMAGES
    else:
        images = 1 if inputs_I.numel() >= _ONEDNN_FROM else 0
    if inputs_I.is_cuda or not images:
        return F.linear(inputs_I, weight_OI, bias_O)
    image = inputs_I.reshape(images, rows // images, 1, size).permute(0, 3, 1, 2)
    outputs = F.conv2d(image, weight_OI[:, :, None, None], bias_O)
    return outputs.permute(0, 2, 3, 1).reshape(*inputs_I.shape[:-1], -1)
