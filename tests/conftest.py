"""The text that the smallest runs learn, and how this process and Ray know each other."""

import os
import random
import signal

import pytest

from lstmgan_dist.runtime.ray_cluster import own_token

# Threads that wait by spinning slow down whatever else runs; read when torch is imported, as `cli.main` has it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Ray reads this when it is first imported, whichever test that is.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": own_token()}

# A shell's background jobs ignore Ctrl-C, and so would the commands that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def toy_sentences(count: int, seed: int = 1) -> list[str]:
    """Sentences of a toy grammar."""
    draw = random.Random(seed)
    subjects, verbs, objects = (
        ["the cat", "a dog", "my bird"],
        ["sees", "likes", "eats"],
        ["fish", "grass", "milk"],
    )
    return [
        " ".join([draw.choice(subjects), draw.choice(verbs), draw.choice(objects), *["now"] * draw.randrange(3)])
        for _ in range(count)
    ]


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A file of sentences of a toy grammar."""
    path = tmp_path_factory.mktemp("text") / "toy.txt"
    path.write_text("\n".join(toy_sentences(200)) + "\n")
    return path
