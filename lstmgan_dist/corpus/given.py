"""Texts that somebody gives, in a list or in files, as a corpus would have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa

from lstmgan_dist.corpus.cleaning import clean
from lstmgan_dist.corpus.passes import numbered_chunks
from lstmgan_dist.corpus.settings import Corpus, Layout
from lstmgan_dist.corpus.sources import Source, check_columns, find_sources
from lstmgan_dist.corpus.tokenizer import Encoded, Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import BY_ENVIRONMENT, Storage


def encode_texts(texts: Sequence[str], tokenizer: Tokenizer, layout: Layout) -> Encoded:
    """The tokens of texts, each with an end mark; what the vocabulary lacks is `<unk>`, as in a corpus.

    Sentences lose the white space around them.

    Raises:
        UserError: if one of them is no text.
    """
    try:
        rows = pa.array([text.strip() for text in texts] if layout == "sentences" else list(texts), pa.string())
    except (AttributeError, TypeError, UnicodeEncodeError, pa.ArrowException) as error:
        raise UserError(f"Texts are given as a list of strings of Unicode characters: {error}.") from error
    return tokenizer.encode_rows(tokenizer.views.seen(rows))


def read_texts(names: Sequence[str], settings: Corpus, storage: Storage = BY_ENVIRONMENT) -> list[str]:
    """The texts of files, each a line or a row of a column, without empty ones.

    settings: of their layout, encoding and column, and of what is an error. Sentences lose the white space around them;
    of continuous text, of which a corpus makes one, a line keeps it.

    Raises:
        UserError: if a file cannot be read, or holds none.
    """
    sources = find_sources(names, storage, known_as="text file")
    check_columns(settings, sources.files)
    texts = [text for source in sources.files for text in _texts_of(source, settings) if text]
    if not texts:
        raise UserError(f"{', '.join(names)} holds no text: every line of it is empty.")
    return texts


def _texts_of(source: Source, settings: Corpus) -> Iterator[str]:
    parts: list[str] = []
    for _, chunk in numbered_chunks(settings, source):
        parts += clean(chunk, settings).texts.to_pylist()
    if settings.layout == "continuous" and source.format in ("text", "builtin"):
        return iter("".join(parts).split("\n"))
    return iter(parts)
