"""A run's generator as `model.py` has it, or the reason why it cannot be.

What this file does not know of must not be left out unseen: settings and weights that are not named here are refused,
and so is a network that computes something else with the same weights.

Shapes: B rows, T positions, Z latent dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lstmgan_dist.config import Job
from lstmgan_dist.corpus.stream import heldout_batches, read_sentences
from lstmgan_dist.errors import UserError
from lstmgan_dist.evaluation.sampling import rows, sample
from lstmgan_dist.models.drawing import END, draw
from lstmgan_dist.models.generator import Generator
from lstmgan_dist.models.generators.kind import GeneratorKind
from lstmgan_dist.models.padding import valid
from lstmgan_dist.runs.export import model
from lstmgan_dist.runs.export.form import Opened
from lstmgan_dist.runs.export.model import Network, build
from lstmgan_dist.runs.result import Result
from lstmgan_dist.runtime.randomness import Noise, derive
from lstmgan_dist.settings import Settings
from lstmgan_dist.training.brief import to_read

# What config.json says of a network, by its kind.
NETWORKS: Mapping[str, tuple[str, ...]] = {
    "lstm": ("kind", "embedding", "hidden", "layers", "tied", "latent"),
    "relational_memory": (
        *("kind", "embedding", "slots", "heads", "head_size", "blocks", "mlp_layers"),
        *("tied", "latent"),
    ),
}
# What matters to training alone.
_OF_TRAINING = {"dropout", "pretrained_vectors", "trainable_dimensions", "forget_bias"}
_OF_VIEWS = {
    "lower",
    "fold_width",
    "unicode",
    "mark_numbers",
    "segmenter",
    "stem",
}  # the tokenizer itself tells of them
_OF_TOKENIZERS = {"kind", "vocabulary_size", "min_count", *_OF_VIEWS}
TOKENIZER_KINDS = ("character", "byte", "word", "bpe")
_OF_CORPORA = {
    *("source", "heldout_source", "heldout_fraction", "column", "encoding", "layout", "split_sentences", "max_length"),
    *("on_long_text", "on_bad_text", "tokenizer", "shuffle_window", "language"),
    *("source_column", "max_source_length", "label_column", "label_by"),  # the run tells of contexts
}

# Texts that are compared: of a large vocabulary fewer, so that so many log-probabilities fit into memory.
_COMPARED_TEXTS, _MOST_LOG_PROBABILITIES = 64, 5 * 10**7
# Held-out texts among which an example is looked for.
_LOOKED_AT = 64
_DRAWN_TEXTS, _MOST_DRAWN_TOKENS = 32, 64
# The logit of a token that is never drawn: its probability is 0, in any precision.
_UNLIKELY = -1e4
# Of log-probabilities, in nats: two ways to add up the same products differ by less.
_MOST_DIFFERENCE = 1e-3


def refuse_unknown(result: Result) -> None:
    """See that nothing in the run's job is beyond what an export knows of.

    Raises:
        UserError: naming the setting.
    """
    job = result.run.job
    kind = job.generator.kind
    if kind not in NETWORKS:
        raise UserError(f"A generator of kind {kind} cannot be exported: export knows of {', '.join(NETWORKS)}.")
    if result.tokenizer.kind not in TOKENIZER_KINDS:
        raise UserError(
            f"A tokenizer of kind {result.tokenizer.kind} cannot be exported: export knows of "
            f"{', '.join(TOKENIZER_KINDS)}."
        )
    if not result.tokenizer.views.are_the_librarys:
        raise UserError(
            f"{result.run.folder} reads text through views that other programs' tokenizers have not (stems, words of a "
            "segmenter, marks of numbers), so it cannot be exported: what it would be given there is another text."
        )
    for where, settings, known in (
        ("generator", job.generator, {*NETWORKS[kind], *_OF_TRAINING}),
        ("corpus", job.corpus, _OF_CORPORA),
        ("corpus.tokenizer", job.corpus.tokenizer, _OF_TOKENIZERS),
    ):
        for name in _beyond(settings, known):
            raise UserError(f"A run with {where}.{name} cannot be exported: export does not know what it does.")


def _beyond(settings: Settings, known: set[str]) -> Iterator[str]:
    """The settings that are not known, and not left at their default."""
    for name, field in type(settings).model_fields.items():
        if name not in known and getattr(settings, name) != field.get_default(call_default_factory=True):
            yield name


def plain_network(generator: Generator, kind: GeneratorKind, config: Mapping[str, Any]) -> Network:
    """The network with these weights, on the CPU.

    Raises:
        UserError: if it has other weights than its kind is known to have.
    """
    weights = {name: tensor.detach().cpu() for name, tensor in generator.state_dict().items()}
    if kind.trainable_dimensions:  # what is fixed and what was learnt are one matrix to others
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("embedding.")}
        weights["embedding.weight"] = generator.embedding.weight.detach().cpu()
    if generator.labels:
        weights |= _with_unlikely_labels(weights, generator.labels)
    try:
        return build(config, weights)
    except RuntimeError as error:
        raise UserError(
            f"This generator of kind {kind.kind} cannot be exported, for it has other weights than export knows of: "
            f"{' '.join(str(error).split())}"
        ) from error


def _with_unlikely_labels(weights: Mapping[str, Tensor], labels: int) -> dict[str, Tensor]:
    """The output layer of a network that knows labels as tokens which it never writes."""
    padded = {"output_bias": F.pad(weights["output_bias"], (0, labels), value=_UNLIKELY)}
    if "output_weight" in weights:
        padded["output_weight"] = F.pad(weights["output_weight"], (0, 0, 0, labels))
    return padded


@dataclass(frozen=True)
class Example:
    """What texts that are drawn as an example begin with: tokens, of which these are a prompt and a label in words."""

    first: tuple[int, ...]
    prompt: str = ""
    label: str | None = None


def example_of(result: Result) -> Example:
    """The context of a held-out text, where texts have some; rather of one whose words are all known.

    Raises:
        UserError: if that is needed, and the corpus cannot be read.
    """
    first, tokenizer = to_read(result.run.job, ()).prompt, result.tokenizer
    if not result.run.max_context:
        return Example(first)
    held_out = min(_LOOKED_AT, result.corpus.splits["heldout"].rows)
    texts = read_sentences(result.corpus, "heldout", range(held_out))
    assert texts.starts_N is not None
    label: str | None = None
    begins_N = texts.stops_N - texts.lengths_N
    context: list[int] = []
    for start, stop in zip(begins_N, begins_N + texts.starts_N, strict=True):
        context = texts.tokens_T[start : stop - 1].tolist()
        label = tokenizer.labels[context.pop(0) - tokenizer.vocabulary_size] if tokenizer.labels else None
        prompt = tokenizer.decode(context)
        if tokenizer.unknown_id not in context and tokenizer.encode(prompt) == context:
            break
    else:
        prompt = tokenizer.decode(token for token in context if token != tokenizer.unknown_id)
        context = tokenizer.encode(prompt, on_unknown="skip")
    of_label = () if label is None else (tokenizer.label_id(label),)
    return Example((*first, *of_label, *context, END), prompt, label)


def sizes_of(kind: GeneratorKind) -> dict[str, Any]:
    """What config.json says of a network."""
    return {name: value for name, value in kind.model_dump(mode="json").items() if name in NETWORKS[kind.kind]}


# --- what is compared ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """Some texts. tokens_BT: each begins with what is read first; lengths_B: of those behind it. what: in words.

    starts_B: how many of those are a context, which is not compared; None where there are none.
    """

    tokens_BT: Tensor
    lengths_B: Tensor
    latent_BZ: Tensor | None
    what: str
    starts_B: Tensor | None = None


@dataclass(frozen=True)
class Comparison:
    """A sample read by two: nats per token by our own network, and by the other; the largest difference."""

    what: str
    tokens: int
    own_nll: float
    nll: float
    most: float

    def sentence(self) -> str:
        """All of it in words."""
        return (
            f"{self.tokens:,} tokens of {self.what} have {self.nll:.4f} nats each as exported, and {self.own_nll:.4f} "
            f"before ({self.nll - self.own_nll:+.4f}); no log-probability differs by more than {self.most:.2g}."
        )


@dataclass(frozen=True)
class Agreement:
    """Texts drawn by two from the same random numbers.

    equal: how many are the same. parting: the first token at which one is not, from 1; None where all are.
    """

    texts: int
    equal: int
    parting: int | None

    def sentence(self) -> str:
        """All of it in words."""
        if self.parting is None:
            return f"All {self.texts} texts drawn from the same random numbers are what the network drew before."
        return (
            "Where two tokens are about as likely such a difference decides which is drawn, so that texts from equal "
            f"random numbers part at some token, from the {_ordinal(self.parting)} on, and are others of the same kind "
            f"then: {self.texts - self.equal} of {self.texts} do."
        )


def _ordinal(number: int) -> str:
    suffix = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"


def some_texts(result: Result, generator: Generator, job: Job) -> Sample:
    """Held-out texts, or where the corpus cannot be read, texts that the generator draws."""
    most = _MOST_LOG_PROBABILITIES // (job.corpus.max_length * generator.vocabulary_size)
    rows_B = torch.arange(max(1, min(_COMPARED_TEXTS, most)))
    latent_size = generator.latent_size
    latent_BZ = Noise(derive("export"), rows_B).normal("latent", latent_size) if latent_size else None
    try:
        corpus = result.corpus
        batch = next(heldout_batches(corpus, batch_size=len(rows_B), most_sequences=len(rows_B), share=0, shares=1))
    except (UserError, OSError, StopIteration):
        (drawn,) = sample(generator, to_read(job, ()), count=len(rows_B), seed=1, device=torch.device("cpu"))
        first_B1 = torch.zeros(len(rows_B), 1, dtype=torch.int64)
        return Sample(torch.cat([first_B1, drawn.tokens_BT], dim=1), drawn.lengths_B, latent_BZ, "its own text")
    tokens_BT = torch.cat([batch.inputs_BT[:, :1], batch.targets_BT], dim=1)
    latent_BZ = None if latent_BZ is None else latent_BZ[: len(tokens_BT)]
    return Sample(tokens_BT, batch.lengths_B, latent_BZ, "held-out text", batch.starts_B)


@torch.no_grad()
def compare(generator: Generator, opened: Opened, sample: Sample) -> Comparison:
    """What both make of the texts."""
    tokens_BT, latent_BZ = sample.tokens_BT, sample.latent_BZ
    features_BTF, _ = generator(tokens_BT[:, :-1], latent_BZ=latent_BZ)
    own_BTV = generator.logits(features_BTF).log_softmax(-1)
    valid_BT = valid(sample.lengths_B, own_BTV.shape[1], sample.starts_B)
    own_N = own_BTV[valid_BT].gather(-1, tokens_BT[:, 1:][valid_BT][:, None])[:, 0].double()
    found_BT, _ = opened.score(tokens_BT, None, latent_BZ)
    found_N = found_BT[valid_BT].double()
    return Comparison(
        sample.what, len(own_N), -own_N.mean().item(), -found_N.mean().item(), (own_N - found_N).abs().max().item()
    )


def draw_both(generator: Generator, opened: Opened, job: Job, prompt: Sequence[int]) -> Agreement:
    """Whether both draw the same behind what is read first."""
    sampling = to_read(job, ())
    noise = Noise(derive("export"), torch.arange(_DRAWN_TEXTS))
    uniforms_BT = noise.uniform("token", min(sampling.length, _MOST_DRAWN_TOKENS))
    latent_BZ = noise.normal("latent", generator.latent_size) if generator.latent_size else None
    asked: dict[str, Any] = {"latent_BZ": latent_BZ, "prompt": prompt, "suppress": sampling.suppress}
    own = rows(draw(generator, uniforms_BT, **asked))
    others = model.draw(opened.start, opened.step, uniforms_BT, temperature=1.0, end=END, **asked)
    partings = [
        next(place for place, tokens in enumerate(zip_longest(one, other), start=1) if tokens[0] != tokens[1])
        for one, other in zip(own, others, strict=True)
        if one != other
    ]
    return Agreement(len(own), len(own) - len(partings), min(partings, default=None))


def refuse_another(generator: Generator, network: Network, sample: Sample) -> None:
    """See that the plain network computes what the run's does.

    Raises:
        UserError: if it does not, so that the generator has something that export does not know of.
    """
    found = compare(generator, Opened(network.start, network.step, network.score), sample)
    if not found.most < _MOST_DIFFERENCE:
        raise UserError(
            "This generator cannot be exported, for it computes otherwise than its kind is known to: log-probabilities "
            f"of {found.what} differ by {found.most:.2g} nats."
        )
