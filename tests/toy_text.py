"""The text that the smallest runs learn."""

import random


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
