"""The product over rows is the same on whichever kernel."""

import pytest
import torch
import torch.nn.functional as F

from lstmgan_dist.models import fused


@pytest.mark.parametrize(
    "shape",
    [(3, 5), (256, 33), (16, 16, 33), (255, 90), (2, 400, 33)],
    ids=["few", "sixteen images", "rows of two dimensions", "one image", "not contiguous"],
)
@pytest.mark.parametrize("bias", [False, True])
def test_a_product_over_rows_and_its_gradient_are_those_of_a_matrix_product(shape: tuple[int, ...], bias: bool) -> None:
    random = torch.Generator().manual_seed(1)
    inputs = torch.randn(*shape, generator=random)
    if shape[0] == 2:
        inputs = inputs.transpose(0, 1)
    inputs.requires_grad_()
    weight = torch.randn(4300, shape[-1], generator=random).requires_grad_()
    learnt = [inputs, weight]
    own = torch.randn(4300, generator=random).requires_grad_() if bias else None
    if own is not None:
        learnt.append(own)
    found, expected = fused.linear(inputs, weight, own), F.linear(inputs, weight, own)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    towards = torch.randn(expected.shape, generator=random)
    for one, other in zip(
        torch.autograd.grad((found * towards).sum(), learnt),
        torch.autograd.grad((expected * towards).sum(), learnt),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-2, rtol=1e-3)
