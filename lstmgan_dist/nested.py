"""Nested values as one flat table."""

from __future__ import annotations

from typing import Any


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """What stands within dicts, lists and tuples, by its path: `phases.0.steps`. An empty one is a leaf itself."""
    if not isinstance(value, dict | list | tuple) or not value:
        return {path: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    start = f"{path}." if path else ""
    return {name: leaf for key, item in items for name, leaf in leaves(item, f"{start}{key}").items()}
