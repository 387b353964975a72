"""What must never be in a file that people copy."""

import re

import pytest

from tests.cluster.commands import CLUSTER

NOT_TEXT = {".png", ".pyc"}
FILES = sorted(path for path in CLUSTER.rglob("*") if path.is_file() and path.suffix not in NOT_TEXT)
KEYS = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|eyJ[A-Za-z0-9_-]{10,}|gh[pousr]_\w{20,}|(?<![\w+/])(?=[A-Za-z+/]*\d)[A-Za-z0-9+/]{40}(?![\w+/])|[0-9a-f]{32}"
    r"|(?i:(?:token|secret|password|access_key\w*)\s*[=:]\s*[\"']?[A-Za-z0-9+/]{8,})"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_files_hold_no_keys(path):
    assert not KEYS.search(path.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "value: AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
        "password: correcthorse",
        "RAY_AUTH_TOKEN=0123456789abcdef0123456789abcdef",
    ],
)
def test_keys_would_be_noticed(text):
    assert KEYS.search(text)
