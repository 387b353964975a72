"""Exports: a run's generator for other programs.

To add a form: a file with a `Form`, and a line in `FORMS`, which names it and gives it when it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lstmgan_dist.runs.export.form import Form


def _safetensors() -> Form:
    from lstmgan_dist.runs.export.safetensors_form import SAFETENSORS

    return SAFETENSORS


def _torch() -> Form:
    from lstmgan_dist.runs.export.torch_form import TORCH

    return TORCH


def _onnx() -> Form:
    from lstmgan_dist.runs.export.onnx_form import ONNX

    return ONNX


FORMS = {"safetensors": _safetensors, "torch": _torch, "onnx": _onnx}
