"""Cases of one test, of which `make quick` runs some."""

from collections.abc import Iterable
from typing import Any

import pytest


def cases(everything: Iterable[Any], *, quick: Iterable[Any]) -> list[Any]:
    """All of them for `pytest.mark.parametrize`, marked slow but for the quick ones."""
    kept = list(quick)
    return [pytest.param(case, marks=() if case in kept else pytest.mark.slow) for case in everything]
