"""Sums over the units of a batch, always in the order of one binary tree, whoever holds which units.

Float addition rounds, so a sum has the same bits only where the same numbers are added in the same order. A node of the
tree is a range of units; its halves are cut at the largest power of two, so contiguous units are a few whole nodes, and
it is their sums that travel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping
from functools import cache
from typing import TypeVar

T = TypeVar("T")


def part_of(count: int, part: int, parts: int) -> range:
    """Of so many things one of so many parts: contiguous, and as many as the others have, or one more."""
    return range(part * count // parts, (part + 1) * count // parts)


def whole_nodes(own: range, root: range) -> list[range]:
    """The largest nodes of the tree that lie in a range of units, from left to right."""
    if root.start >= own.stop or root.stop <= own.start:
        return []
    if own.start <= root.start and root.stop <= own.stop:
        return [root]
    return [node for half in _halves(root) for node in whole_nodes(own, half)]


def add_up(
    found: MutableMapping[range, T], new: Iterable[tuple[range, T]], add: Callable[[T, T], T], root: range
) -> None:
    """Take in the sums of further nodes; where both halves of a node are known, its sum takes their place.

    found: the sums so far, by node. root: the node of all units.
    """
    above = _above(root)
    for node, value in new:
        while node in above and above[node][1] in found:
            parent, sibling = above[node]
            node, value = parent, add(found.pop(sibling), value)
        found[node] = value


def total(sums: Iterable[tuple[range, T]], add: Callable[[T, T], T], root: range) -> T:
    """The sum of a node, from those of nodes that cover it."""
    found: dict[range, T] = {}
    add_up(found, sums, add, root)
    assert found.keys() == {root}, "a unit is missing"
    return found[root]


def _halves(node: range) -> tuple[range, range]:
    """What a node of two units or more is the sum of."""
    middle = node.start + (1 << ((len(node) - 1).bit_length() - 1))
    return range(node.start, middle), range(middle, node.stop)


@cache  # it is asked for at every parameter of every update
def _above(root: range) -> dict[range, tuple[range, range]]:
    """Of every node below this one, the node that it is a half of, and the other half."""
    if len(root) == 1:
        return {}
    left, right = _halves(root)
    return {left: (root, right), right: (root, left)} | _above(left) | _above(right)
