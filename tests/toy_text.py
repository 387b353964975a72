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


def toy_talk(count: int) -> str:
    """A CSV file of what is said and answered: of an animal, what it eats; and in which mood, which is how often."""
    animals, moods = {"the cat": "fish", "a dog": "milk", "my bird": "grass"}, {"calm": 1, "loud": 2}
    draw = random.Random(1)
    rows = ["said,answer,mood"]
    for _ in range(count):
        animal, mood = draw.choice([*animals]), draw.choice([*moods])
        answer = " ".join([f"{animals[animal]} {draw.randrange(20)}"] * moods[mood])
        rows.append(f"what eats {animal} {draw.randrange(20)},{answer},{mood}")
    return "\n".join(rows) + "\n"
