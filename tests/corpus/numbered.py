"""Text of numbered sentences, and tokenizers of a wanted size."""

from typing import Any

from lstmgan_dist.corpus.tokenizers import TOKENIZERS


def tokenizer_settings(kind: str, vocabulary_size: int) -> dict[str, Any]:
    """A tokenizer of so many tokens; of bytes there are as many as there are."""
    return {"kind": kind, "vocabulary_size": vocabulary_size} if TOKENIZERS[kind].is_counted else {"kind": kind}


def numbered_sentences(count: int) -> str:
    """Different sentences of different lengths, one a line."""
    return "".join(f"number {index} " + "and more " * (index % 7) + "ends .\n" for index in range(count))
