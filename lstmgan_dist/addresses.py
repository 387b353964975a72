"""Where an address leads: to text that needs no file, to a storage, or to a file of this machine."""

from __future__ import annotations

import re

# Text that is made from its address alone: `builtin:python-docs`, `oracle:length=20`, `grammar:seed=1`.
SYNTHETIC = ("oracle", "grammar")
WITHOUT_FILE = ("builtin", *SYNTHETIC)

# One letter is a drive, as in C://texts. What follows a :: is inside of what stands before it (fsspec's chains).
_PROTOCOL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)(?:::[A-Za-z0-9+.:-]+)?://")


def scheme_of(address: str) -> str:
    """What kind of address it is: `builtin`, `oracle` or `grammar`; a protocol such as `s3`; or `file`, for any path.

    A colon alone makes no scheme, for file names may hold one: `notes:1.txt` and `C:\\texts` are paths, and so is
    `./oracle:1.txt`.
    """
    if match := _PROTOCOL.match(address):
        return "file" if match[1] == "local" else match[1]
    kind, colon, _ = address.partition(":")
    return kind if colon and kind in WITHOUT_FILE else "file"


def is_remote(address: str) -> bool:
    """Whether it leads to a storage that other machines reach as this one does."""
    return scheme_of(address) not in ("file", *WITHOUT_FILE)


def path_of(address: str) -> str:
    """The path of a file's address, which may be written as a URL."""
    assert scheme_of(address) == "file", address
    return address.removeprefix("file://").removeprefix("local://")
