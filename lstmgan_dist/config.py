"""Every setting of a job.

A job file is one YAML document that becomes one frozen `Job`. Unknown keys, wrong types, values out of range and
combinations that cannot work are all refused here, before a worker starts.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from lstmgan_dist.errors import UserError
from lstmgan_dist.nested import leaves

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


# Whether the settings validated are those of a resolved job, in which nobody has chosen what has its default.
_RESOLVED = "resolved"


class Settings(BaseModel):
    """Base of every block of a job file: frozen, and strict about keys that are unknown or without use.

    without_use: what another setting of the block leaves without use, by that setting's name and value. It is refused
    where somebody gives it, and left out of what is written.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    without_use: ClassVar[Mapping[tuple[str, str], tuple[str, ...]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _has_no_dead_settings(cls, given: Any, info: ValidationInfo) -> Any:
        dead = cls._dead_settings(given) if isinstance(given, dict) else {}
        for name, (setting, value) in dead.items():
            if name in given and info.context != _RESOLVED:
                others = [
                    other
                    for other in get_args(cls.model_fields[setting].annotation)
                    if name not in cls.without_use.get((setting, other), ())
                ]
                raise PydanticCustomError(
                    "without_use",
                    "{setting} {value} has no use for it: leave it out, or set {setting}: {others}",
                    {"name": name, "setting": setting, "value": value, "others": _either(others)},
                )
        return {name: value for name, value in given.items() if name not in dead} if dead else given

    @model_serializer(mode="wrap")
    def _without_dead_settings(self, written: SerializerFunctionWrapHandler) -> dict[str, Any]:
        dead = self._dead_settings(self.__dict__)
        return {name: value for name, value in written(self).items() if name not in dead}

    @classmethod
    def _dead_settings(cls, values: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """The names of settings without use, each with the setting that leaves it so and that one's value."""
        return {
            name: (setting, value)
            for (setting, value), names in cls.without_use.items()
            if values.get(setting, cls.model_fields[setting].default) == value
            for name in names
        }


Probability = Annotated[float, Field(ge=0, lt=1)]


class Schedule(Settings):
    """A number that changes over a phase, or over so many of its steps."""

    start: float = Field(description="Value at the first step of the phase.")
    end: float = Field(description="Value at the last step of the phase, or `steps` steps after the first.")
    steps: int | None = Field(
        default=None,
        ge=1,
        description="Steps from start to end, whatever the phase's length: a shorter phase ends on the way, a longer "
        "one stays at the end; none: those of the phase.",
    )
    shape: Literal["linear", "cosine", "exponential"] = Field(
        default="linear", description="How the value goes from start to end; exponential needs both above 0."
    )

    @model_validator(mode="after")
    def _exponential_is_positive(self) -> Self:
        if self.shape == "exponential" and min(self.start, self.end) <= 0:
            raise ValueError("an exponential schedule needs start and end above 0: try shape: linear")
        return self

    def at(self, step: int, steps: int) -> float:
        """The value at a phase's `step` (from 0) of `steps`."""
        fraction = step / max(1, steps - 1) if self.steps is None else min(1.0, step / self.steps)
        if self.shape == "exponential":
            return self.start * (self.end / self.start) ** fraction
        weight = fraction if self.shape == "linear" else (1 - math.cos(math.pi * fraction)) / 2
        return self.start + (self.end - self.start) * weight


def value_at(setting: float | Schedule, step: int, steps: int) -> float:
    """A setting that is either one number or a schedule, at a phase's `step` (from 0) of `steps`."""
    return setting.at(step, steps) if isinstance(setting, Schedule) else setting


class Interval(Settings):
    """How often something happens, written as `50 steps` or `1 epoch`."""

    count: int = Field(ge=1)
    unit: Literal["steps", "epochs"]

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[1-9]\d* (steps?|epochs?)$", "examples": ["50 steps", "1 epoch"]}

    @model_validator(mode="before")
    @classmethod
    def _from_words(cls, value: Any) -> Any:
        if isinstance(value, dict | Interval):
            return value
        match = re.fullmatch(r"([1-9]\d*) (step|epoch)s?", str(value).strip())
        if not match:
            raise ValueError(f"{value!r} is not an interval: write '50 steps' or '1 epoch'")
        return {"count": int(match[1]), "unit": match[2] + "s"}

    @model_serializer
    def _in_words(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"{self.count} {self.unit if self.count > 1 else self.unit[:-1]}"

    def steps(self, steps_per_epoch: int) -> int:
        """The interval in steps."""
        return self.count if self.unit == "steps" else self.count * steps_per_epoch


# --- corpus ----------------------------------------------------------------------------------------------------------


TokenizerKind = Literal["character", "byte", "word", "bpe"]
Layout = Literal["sentences", "continuous"]
OnLongText = Literal["error", "skip", "truncate"]
OnBadText = Literal["error", "skip", "replace"]
# A word of a file or a command line that may not be empty.
Name = Annotated[str, Field(min_length=1)]


class Tokenizer(Settings):
    """How text becomes token ids."""

    without_use = {("kind", "byte"): ("vocabulary_size", "min_count")}

    kind: TokenizerKind = Field(default="word", description="The unit of text that is one token.")
    lower: bool = Field(default=False, description="Lower-case the text first.")
    vocabulary_size: int | None = Field(
        default=None,
        ge=3,
        le=2**31 - 1,
        description="Most tokens kept, special ones included; none keeps all (bpe: 8192).",
    )
    min_count: int = Field(default=1, ge=1, description="Words or characters seen fewer times become <unk>.")


class Corpus(Settings):
    """Which text, and how it is cut into sequences."""

    source: Name | Annotated[tuple[Name, ...], Field(min_length=1)] = Field(
        description="File, folder, glob or URL (several allowed); builtin:python-docs; oracle:length=20,seed=1 or "
        "grammar:seed=1, synthetic text; or a corpus that prepare made."
    )
    heldout_source: Name | Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(
        default=None, description="Separate held-out text; without it, heldout_fraction of the source is held out."
    )
    heldout_fraction: Probability = Field(
        default=0.05,
        description="Share held out, 0 to 1: of sentences by a hash of their text; of a continuous text its end.",
    )
    column: Name | None = Field(
        default=None, description="Column that holds the text in JSON lines, Parquet and Arrow sources."
    )
    layout: Layout = Field(
        default="sentences",
        description="sentences: one sequence a line or row; continuous: one long text, state carried over.",
    )
    max_length: int = Field(
        default=64,
        ge=2,
        le=65536,
        description="Tokens. sentences: longest sequence, end mark included; continuous: most tokens per "
        "backpropagation.",
    )
    on_long_text: OnLongText = Field(
        default="error", description="What to do with a sentence of more than max_length tokens."
    )
    on_bad_text: OnBadText = Field(
        default="error", description="What to do with text that is not valid UTF-8 or holds NUL characters."
    )
    tokenizer: Tokenizer = Field(default_factory=Tokenizer, description="How text becomes token ids.")
    shuffle_window: int = Field(
        default=65536,
        ge=1,
        description="Rows that each lane shuffles at a time (sentences); bounds the memory of the order.",
    )

    @property
    def sources(self) -> tuple[str, ...]:
        """The source as a tuple."""
        return (self.source,) if isinstance(self.source, str) else self.source

    @property
    def heldout_sources(self) -> tuple[str, ...]:
        """The held-out source as a tuple; empty when a share of the source is held out instead."""
        if self.heldout_source is None:
            return ()
        return (self.heldout_source,) if isinstance(self.heldout_source, str) else self.heldout_source


class Batch(Settings):
    """How many sequences one update sees."""

    size: int = Field(default=64, ge=1, description="Sequences per update, over all workers.")
    lanes: int = Field(
        default=8,
        ge=1,
        description="Fixed streams the data is dealt to; workers own whole lanes, so it bounds their number.",
    )
    accumulate: int = Field(
        default=1, ge=1, description="Parts an update is split into to save memory; changes no number."
    )

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.size % self.lanes:
            below = self.size - self.size % self.lanes
            choices = " or ".join(str(size) for size in (below, below + self.lanes) if size)
            raise ValueError(f"size {self.size} must be divisible by {self.lanes} lanes: try size {choices}")
        if (self.size // self.lanes) % self.accumulate:
            raise ValueError(
                f"accumulate {self.accumulate} must divide the {self.size // self.lanes} rows of a lane, "
                "so that it fits any number of workers"
            )
        return self


class Synchronisation(Settings):
    """How the workers of a run keep together where the network between them is slow; one worker has nothing to do.

    Either setting makes the numbers depend on how many workers there are.
    """

    compression: Literal["none", "bf16"] = Field(
        default="none", description="What gradients travel as: float32, or bf16 in half the bytes."
    )
    every: int = Field(
        default=1,
        ge=1,
        description="Updates of a player between synchronisations. 1: gradients are averaged at every update; "
        "more: each worker applies its own, and the weights are averaged (local SGD, Stich 2019).",
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.compression != "none" and self.every > 1:
            raise ValueError("compression is of gradients, and with every above 1 none travel: try compression: none")
        return self


# --- networks --------------------------------------------------------------------------------------------------------


class GeneratorDropout(Settings):
    """Variational dropout: one mask per sequence, the same at every position (Gal and Ghahramani 2016)."""

    embedding: Probability = Field(default=0.0, description="On the embedded input, 0 to 1.")
    between: Probability = Field(default=0.0, description="Between LSTM layers, 0 to 1.")
    output: Probability = Field(default=0.0, description="On the last LSTM layer's output, 0 to 1.")
    weight: Probability = Field(default=0.0, description="On the recurrent weights (Merity et al. 2018), 0 to 1.")


def _dropout_from_one_number(value: Any) -> Any:
    return {"embedding": value, "between": value, "output": value} if isinstance(value, int | float) else value


class Latent(Settings):
    """A noise vector z ~ N(0, 1) per sequence."""

    size: int = Field(ge=1, description="Dimensions of z.")
    feed: Literal["every_step", "initial_state"] = Field(
        default="every_step", description="Concatenated to every input, or mapped to the LSTM's initial state."
    )


class Generator(Settings):
    """The LSTM language model that writes."""

    embedding: int = Field(default=256, ge=1, description="Dimensions of a token's embedding.")
    hidden: int = Field(default=512, ge=1, description="Units of each LSTM layer.")
    layers: int = Field(default=1, ge=1, le=16, description="LSTM layers.")
    tied: bool = Field(
        default=True, description="Output weights are the embedding's; a projection joins unequal sizes."
    )
    dropout: Annotated[
        GeneratorDropout,
        BeforeValidator(_dropout_from_one_number, json_schema_input_type=GeneratorDropout | Probability),
    ] = Field(
        default_factory=GeneratorDropout,
        description="Variational dropout; one number sets embedding, between and output.",
    )
    latent: Latent | None = Field(default=None, description="Latent noise per sequence; none without.")
    pretrained_vectors: str | None = Field(
        default=None,
        description="Word vectors in word2vec or GloVe text format to start the embedding from: a path or URL.",
    )


class LSTMDiscriminator(Settings):
    """An LSTM that scores text, per token or per sentence."""

    kind: Literal["lstm"] = "lstm"
    scores: Literal["per_token", "per_sentence"] = Field(
        default="per_sentence", description="One score a token or a sentence."
    )
    embedding: int = Field(default=64, ge=1, description="Dimensions of a token's embedding.")
    hidden: int = Field(default=256, ge=1, description="LSTM units in each direction.")
    layers: int = Field(default=1, ge=1, le=16, description="LSTM layers.")
    bidirectional: bool = Field(default=False, description="Read the sentence both ways.")
    layer_norm: bool = Field(default=False, description="Normalise the LSTM's output.")
    position_features: int = Field(
        default=0,
        ge=0,
        multiple_of=2,
        description="Sinusoidal position channels added beside the embedding (even; 0: none).",
    )
    dropout: Probability = Field(default=0.0, description="Variational dropout on embedding and output, 0 to 1.")
    embedding_from_generator: bool = Field(
        default=False,
        description="Start from the generator's embedding when this player first moves; sizes must be equal.",
    )


class ConvolutionalDiscriminator(Settings):
    """A convolutional scorer of sentences (Kim 2014; with several representations, RelGAN's, Nie et al. 2019)."""

    kind: Literal["convolutional"] = "convolutional"
    scores: Literal["per_sentence"] = Field(default="per_sentence", description="Whole sentences, always.")
    embedding: int = Field(default=64, ge=1, description="Dimensions of a token's embedding over all representations.")
    representations: int = Field(
        default=1,
        ge=1,
        description="Parts the embedding is cut into; each part is scored on its own, and every score is in the loss.",
    )
    filters: dict[int, int] = Field(
        default_factory=lambda: {2: 100, 3: 100, 4: 100, 5: 100},
        description="Filter width in tokens: number of filters.",
    )
    highway: bool = Field(default=True, description="A highway layer after pooling (Srivastava et al. 2015).")
    dense: int = Field(default=100, ge=0, description="Units of the dense layer before the score; 0 leaves it out.")
    dropout: Probability = Field(default=0.25, description="On the pooled features, 0 to 1.")
    embedding_from_generator: bool = Field(
        default=False,
        description="Start from the generator's embedding when this player first moves; sizes must be equal.",
    )

    @model_validator(mode="after")
    def _filters_fit(self) -> Self:
        if not self.filters or min(self.filters) < 1 or min(self.filters.values()) < 1:
            raise ValueError("filters must map widths of 1 or more to counts of 1 or more: try {2: 100, 3: 100}")
        if self.embedding % self.representations:
            raise ValueError(
                f"embedding {self.embedding} must be divisible by {self.representations} representations"
                f": try embedding {self.representations * math.ceil(self.embedding / self.representations)}"
            )
        return self


Discriminator = Annotated[LSTMDiscriminator | ConvolutionalDiscriminator, Field(discriminator="kind")]


# --- phases ----------------------------------------------------------------------------------------------------------


class Optimizer(Settings):
    """How a player's weights follow its gradient."""

    without_use = {("kind", "sgd"): ("betas",), ("kind", "adam"): ("momentum",), ("kind", "adamw"): ("momentum",)}

    kind: Literal["adam", "adamw", "sgd"] = Field(default="adam", description="Update rule.")
    learning_rate: Annotated[float, Field(gt=0)] | Schedule = Field(
        default=1e-3, description="Above 0; a number or schedule."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps over which the learning rate rises linearly from 0.")
    betas: tuple[Probability, Probability] = Field(default=(0.9, 0.999), description="Adam's moment decays, 0 to 1.")
    momentum: Probability = Field(default=0.0, description="SGD's momentum, 0 to 1.")
    weight_decay: float = Field(default=0.0, ge=0, description="L2 penalty (adam, sgd) or decoupled decay (adamw).")
    clip: float | None = Field(default=5.0, gt=0, description="Largest norm of the whole gradient; none does not clip.")

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of the phase's `step` (from 0) of `steps`."""
        warmup = min(1.0, (step + 1) / (self.warmup_steps + 1))
        return warmup * value_at(self.learning_rate, step, steps)


class Phase(Settings):
    """What every phase has."""

    steps: int | None = Field(default=None, ge=1, description="Length in steps (rounds of updates).")
    epochs: float | None = Field(default=None, gt=0, description="Length in passes over the training text.")
    early_stop: int | None = Field(
        default=None,
        ge=1,
        description="End after this many evaluations that were no better than the best one; none: never.",
    )
    finish_with: Literal["latest", "best"] = Field(
        default="latest",
        description="Weights the next phase starts from: the latest, or those of the phase's best evaluation: of the "
        "lowest held-out loss, in a discriminator phase of the highest accuracy on held-out and drawn text.",
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads."""
        return 1

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give the phase's length as either steps or epochs")
        return self


class LikelihoodPhase(Phase):
    """The generator learns to predict the next token."""

    kind: Literal["likelihood"]
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The generator's optimiser.")


LossName = Literal["cross_entropy", "non_saturating", "probability", "least_squares", "hinge", "relativistic"]


class DiscriminatorPhase(Phase):
    """The discriminator learns to tell real text from generated text."""

    kind: Literal["discriminator"]
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    optimizer: Optimizer = Field(default_factory=Optimizer, description="The discriminator's optimiser.")


class Baseline(Settings):
    """What a reward is compared with, to lower the gradient's variance."""

    without_use = {("kind", "none"): ("decay",)}

    kind: Literal["none", "moving_average", "per_position"] = Field(
        default="moving_average", description="Nothing; one moving average; or one moving average for each position."
    )
    decay: Probability = Field(
        default=0.9, description="Weight of the old average at every update, 0 to 1; 0: the last update's mean alone."
    )


class ScoreFunction(Settings):
    """REINFORCE (Williams 1992): the reward weighs the gradient of the log-probability."""

    without_use = {("credit", "sentence"): ("discount",)}

    kind: Literal["score_function"]
    credit: Literal["sentence", "discounted"] = Field(
        default="discounted",
        description="Every token earns the sentence's reward, or the discounted rewards from it onwards.",
    )
    discount: float = Field(
        default=0.23, ge=0, le=1, description="Weight of the next token's reward, 0 to 1 (discounted)."
    )
    baseline: Baseline = Field(default_factory=Baseline, description="What the reward is compared with.")


class GumbelSoftmax(Settings):
    """Gumbel-softmax (Jang et al. 2017): the score's own gradient flows through a softened sample."""

    kind: Literal["gumbel_softmax"]
    straight_through: bool = Field(
        default=False,
        description="The discriminator sees the hard token forwards and the soft one backwards; else the soft.",
    )
    inverse_temperature: Annotated[float, Field(gt=0)] | Schedule = Field(
        default=1.0, description="Sharpness of the softened sample, above 0; a number or schedule."
    )

    @field_validator("inverse_temperature")
    @classmethod
    def _positive(cls, value: float | Schedule) -> float | Schedule:
        if isinstance(value, Schedule) and min(value.start, value.end) <= 0:
            raise ValueError("inverse_temperature must stay above 0: try start: 1")
        return value


Estimator = Annotated[ScoreFunction | GumbelSoftmax, Field(discriminator="kind")]


class AdversarialPhase(Phase):
    """Generator and discriminator take turns."""

    kind: Literal["adversarial"]
    discriminator_updates: int = Field(default=1, ge=1, description="Discriminator updates in each step.")
    generator_updates: int = Field(default=1, ge=1, description="Generator updates in each step.")
    loss: LossName = Field(default="cross_entropy", description="The game's loss.")
    estimator: Estimator = Field(description="How a gradient reaches the generator.")
    likelihood_weight: float = Field(
        default=0.0, ge=0, description="Weight of the likelihood loss added to every generator update; 0: none."
    )
    generator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The generator's optimiser."
    )
    discriminator_optimizer: Optimizer = Field(
        default_factory=lambda: Optimizer(learning_rate=1e-4), description="The discriminator's optimiser."
    )

    @property
    def batches_per_step(self) -> int:
        """Batches of real text that one step reads: one for every update of either player."""
        return self.discriminator_updates + self.generator_updates


AnyPhase = Annotated[LikelihoodPhase | DiscriminatorPhase | AdversarialPhase, Field(discriminator="kind")]


# --- evaluation, checkpoints, logging --------------------------------------------------------------------------------


class Frontier(Settings):
    """How thoroughly quality and diversity are judged: see lstmgan evaluate."""

    temperatures: tuple[Annotated[float, Field(gt=0, le=10)], ...] = Field(
        default=(0.7, 0.8, 0.9, 1.0, 1.1), min_length=1, description="At which texts are drawn, above 0."
    )
    seeds: int = Field(default=1, ge=1, description="Times that everything is drawn and learnt anew.")
    samples: int = Field(default=10_000, ge=300, description="Texts drawn for each temperature and seed.")

    @field_validator("temperatures")
    @classmethod
    def _distinct(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < len(value):
            raise ValueError("a temperature is given twice: leave one out")
        return tuple(sorted(value))


class Evaluation(Settings):
    """What is measured while training."""

    every: Interval = Field(
        default=Interval(count=1, unit="epochs"), description="How often, and at the end of each phase."
    )
    heldout_sequences: int = Field(
        default=2000,
        ge=1,
        description="Most held-out sequences scored (sentences: and at most a third of them, for the others are kept "
        "for judges; continuous: rows of a batch times windows).",
    )
    samples: int = Field(
        default=500, ge=2, description="Texts generated for BLEU, distinct-n and the like (sentences)."
    )
    frontier: Frontier | None = Field(
        default=None, description="Judge quality and diversity in full at the end of each phase; none: not in training."
    )
    show: int = Field(default=8, ge=1, description="Texts written to samples/ and TensorBoard.")
    prompt: str = Field(default="", description="Text that shown samples continue.")
    sample_length: int | None = Field(
        default=None, ge=1, description="Tokens of each sample; none: max_length (sentences) or 500 (continuous)."
    )


class Guard(Settings):
    """What counts as a failed run, and what happens then."""

    distinct_2_floor: Probability = Field(
        default=0.0,
        description="Samples with a smaller share of distinct token pairs count as collapsed, 0 to 1; 0: never.",
    )
    on_failure: Literal["stop", "roll_back"] = Field(
        default="stop",
        description="On a loss that is not a number or a collapse: stop, or go on from the phase's best checkpoint, "
        "and before its first evaluation from its start.",
    )
    most_roll_backs: int = Field(default=3, ge=1, description="Roll-backs after which the run stops all the same.")
    learning_rate_factor: float = Field(
        default=0.5, gt=0, le=1, description="Every roll-back multiplies the learning rates by this, 0 to 1."
    )


class Checkpoints(Settings):
    """When the run is saved, and what is kept."""

    every: Interval = Field(
        default=Interval(count=1, unit="epochs"), description="How often, and at the end of each phase."
    )
    keep: int = Field(
        default=3,
        ge=1,
        description="Newest checkpoints kept; of every phase the best and the last are kept besides.",
    )
    best_by: Literal["heldout_nll", "frontier"] = Field(
        default="heldout_nll",
        description="What makes a checkpoint the best one of the last phase: its held-out loss; or the judges' "
        "verdict, by which the end of a game takes the place of the likelihood checkpoint only if it is better at "
        "equal diversity.",
    )


class Logging(Settings):
    """How often the losses are written."""

    every: Interval = Field(default=Interval(count=10, unit="steps"), description="How often.")
    publish_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Remote runs: seconds between uploads of curves; checkpoints bring them too.",
    )


class Storage(Settings):
    """How s3:// and gs:// URLs are reached. Secrets have no place here: they stay in the environment or a profile."""

    endpoint: str | None = Field(
        default=None,
        description="URL of an S3-compatible server; none: AWS_ENDPOINT_URL, and without that AWS itself.",
    )
    region: str | None = Field(
        default=None, description="Region of the bucket; none: AWS_REGION or AWS_DEFAULT_REGION."
    )
    profile: str | None = Field(
        default=None, description="Name of a credentials profile of every machine; none: AWS_PROFILE or AWS's order."
    )
    anonymous: bool = Field(default=False, description="Send no credentials, for what is public.")
    timeout: float = Field(default=15.0, gt=0, description="Seconds without an answer after which a request failed.")
    patience: float = Field(
        default=60.0, ge=0, description="Seconds for which a request that failed is tried again; then the run stops."
    )

    @field_validator("endpoint")
    @classmethod
    def _holds_no_secret(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^/@?#\s]+/?", value):
            # The value is not repeated, for it may hold a password.
            raise ValueError("write it as http://host:port or https://host; credentials belong in the environment")
        return value


class Job(Settings):
    """A whole run: which text, which networks, which phases."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Names the run's folder, runs/<name>.")
    seed: int = Field(default=1, ge=0, lt=2**63, description="Everything random follows from it.")
    corpus: Corpus = Field(description="Which text, and how it is cut into sequences.")
    batch: Batch = Field(default_factory=Batch, description="How many sequences one update sees.")
    synchronisation: Synchronisation = Field(
        default_factory=Synchronisation, description="How workers keep together over a slow network."
    )
    generator: Generator = Field(default_factory=Generator, description="The LSTM language model that writes.")
    discriminator: Discriminator | None = Field(
        default=None, description="The network that judges; none for likelihood only."
    )
    phases: tuple[AnyPhase, ...] = Field(min_length=1, description="What happens, in order.")
    evaluate: Evaluation = Field(default_factory=Evaluation, description="What is measured while training.")
    guard: Guard = Field(default_factory=Guard, description="What counts as a failed run.")
    checkpoint: Checkpoints = Field(default_factory=Checkpoints, description="When the run is saved.")
    log: Logging = Field(default_factory=Logging, description="How often the losses are written.")
    storage: Storage = Field(default_factory=Storage, description="How s3:// and gs:// URLs are reached.")
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: CUDA where there is a GPU, else the CPU."
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        default="auto", description="auto: bf16 on GPUs that have it, fp32 on CPUs, where bf16 LSTMs are slower."
    )

    @model_validator(mode="after")
    def _combinations(self, info: ValidationInfo) -> Self:
        if self.corpus.layout == "continuous" and self.guard.distinct_2_floor and info.context != _RESOLVED:
            raise ValueError(
                "guard.distinct_2_floor needs corpus.layout: sentences, for no samples are counted of one long text: "
                "leave it out"
            )
        if self.corpus.layout == "continuous" and (self.evaluate.frontier or self.checkpoint.best_by == "frontier"):
            raise ValueError(
                "evaluate.frontier and checkpoint.best_by: frontier need corpus.layout: sentences, for judges read "
                "whole texts: leave them out"
            )
        if self.corpus.layout == "continuous" and self.generator.latent:
            raise ValueError("generator.latent needs corpus.layout: sentences, for z belongs to one sentence")
        for number, phase in enumerate(self.phases):
            if isinstance(phase, DiscriminatorPhase | AdversarialPhase):
                self._check_game(f"phases.{number}", phase)
        discriminator = self.discriminator
        if discriminator is not None:
            if discriminator.embedding_from_generator and discriminator.embedding != self.generator.embedding:
                raise ValueError(
                    f"discriminator.embedding {discriminator.embedding} must equal generator.embedding "
                    f"{self.generator.embedding} when it is taken from the generator"
                )
            if isinstance(discriminator, ConvolutionalDiscriminator):
                widest = max(discriminator.filters)
                if widest > self.corpus.max_length:
                    raise ValueError(
                        f"discriminator.filters has width {widest}, more than corpus.max_length "
                        f"{self.corpus.max_length}: drop that width"
                    )
        return self

    def _check_game(self, where: str, phase: DiscriminatorPhase | AdversarialPhase) -> None:
        discriminator = self.discriminator
        if discriminator is None:
            raise ValueError(f"{where} is {phase.kind}, which needs a discriminator: add a discriminator block")
        if self.corpus.layout != "sentences":
            raise ValueError(
                f"{where} is {phase.kind}, which needs corpus.layout: sentences, for it scores whole texts"
            )
        if phase.loss == "relativistic" and discriminator.scores == "per_token":
            raise ValueError(
                f"{where}.loss relativistic pairs whole texts, but the discriminator scores tokens: "
                "set discriminator.scores: per_sentence"
            )
        if not isinstance(phase, AdversarialPhase) or not isinstance(phase.estimator, ScoreFunction):
            return
        if phase.estimator.credit == "discounted" and discriminator.scores == "per_sentence":
            raise ValueError(
                f"{where}.estimator.credit discounted needs a reward for every token: "
                "set discriminator.scores: per_token or credit: sentence"
            )
        if (
            phase.estimator.credit == "discounted"
            and isinstance(discriminator, LSTMDiscriminator)
            and discriminator.bidirectional
        ):
            raise ValueError(
                f"{where}.estimator.credit discounted is biased when a bidirectional discriminator's score of a token "
                "depends on later ones: set discriminator.bidirectional: false or credit: sentence"
            )


Block = TypeVar("Block", bound=Settings)


def from_options(block: type[Block], given: Mapping[str, Any], options: Mapping[str, str]) -> Block:
    """Settings that a command line gives. options: what each of them is called there, by its dotted key.

    Raises:
        UserError: in one line that names the option which will not do.
    """
    try:
        return block.model_validate(given)
    except ValidationError as error:
        raise UserError(explain(error, block, options)) from error


def check_frontier(*, temperatures: tuple[float, ...], seeds: int, samples: int) -> Frontier:
    """How thoroughly to judge, as a command line gives it.

    Raises:
        UserError: naming the option that is out of range.
    """
    given = {"temperatures": temperatures, "seeds": seeds, "samples": samples}
    return from_options(Frontier, given, {name: f"--{name}" for name in given})


# --- job files -------------------------------------------------------------------------------------------------------


def load_job(path: str | Path, overrides: tuple[str, ...] = ()) -> Job:
    """Read a job file, apply `a.b=VALUE` overrides in order, and check everything.

    Raises:
        UserError: with the file, the key, the value and what would do.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UserError(f"The job file {path} cannot be read: {reason}.") from error
    return parse_job(text, name=str(path), overrides=overrides)


def parse_job(text: str, *, name: str, overrides: tuple[str, ...] = ()) -> Job:
    """Like `load_job`, from the YAML itself; `name` stands for the file in messages."""
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{name}{where}: this is not valid YAML: {getattr(error, 'problem', error)}.") from error
    if not isinstance(tree, dict):
        raise UserError(
            f"{name}: a job file is a mapping of settings, such as name: my-run, but this is something else."
        )
    for override in overrides:
        _set(tree, override)
    # Older versions wrote what a kind has no use for, with its default, among all the others.
    context = _RESOLVED if tree.keys() >= _ALWAYS_WRITTEN else None
    try:
        return Job.model_validate(tree, context=context)
    except ValidationError as error:
        raise UserError(f"{name}: {explain(error, Job)}") from error


# Keys that every version of `dump_job` has written and nobody writes by hand, all of them.
_ALWAYS_WRITTEN = {"name", "seed", "corpus", "batch", "generator", "discriminator", "phases", "evaluate", "guard"}
_ALWAYS_WRITTEN |= {"checkpoint", "log", "device", "precision"}


def _set(tree: dict[str, Any], override: str) -> None:
    """Apply one `a.b=VALUE`, in which numbers name list entries: phases.0.epochs=2."""
    path, equals, value = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set {override}: write it as key=value, for example --set batch.size=32.")
    *parents, last = path.split(".")
    try:
        parsed = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {value!r} is not valid YAML.") from error
    node: Any = tree
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        if isinstance(node, list):
            node[int(last)] = parsed
        else:
            node[last] = parsed
    except (ValueError, IndexError, TypeError, AttributeError) as error:
        raise UserError(f"--set {override}: the job has no place called {path}.") from error


def explain(error: ValidationError, model: type[Settings], options: Mapping[str, str] | None = None) -> str:
    """The first mistake of a validation error as one sentence, with what would do at its place.

    options: what keys are called where they do not come from a file.
    """
    mistakes = [(_place(model, _path(mistake)), mistake) for mistake in error.errors()]
    begins = mistakes[0][0].keys
    # A union says of each of its members why that does not fit; the one that fits furthest was meant.
    place, mistake = max(
        (candidate for candidate in mistakes if candidate[0].keys[: len(begins)] == begins),
        key=lambda candidate: len(candidate[0].keys),
    )
    where = ".".join(place.keys)
    if options:
        where = options.get(where.rstrip(".0123456789"), where)
    sentence = f"{where}: {_what_is_wrong(place, mistake)}" if where else mistake["msg"]
    sentence = sentence.removeprefix("Value error, ")
    if not sentence.endswith((".", "?")):
        sentence += "."
    # What is wrong inside a list makes the list itself one mistake more for pydantic.
    places = {tuple(other.keys) for other, _ in mistakes if other.keys[: len(begins)] != begins}
    others = len([one for one in places if not any(one == place[: len(one)] for place in places - {one})])
    return sentence + (f" ({others} more mistake{'s' if others > 1 else ''}.)" if others else "")


@dataclass(frozen=True)
class _Place:
    """Where in a tree of settings a mistake is.

    keys: as the file has them. block: where the last of them was looked for. instead: the blocks that may stand in the
    place of that one. inside: what may stand at the place itself.
    """

    keys: list[str]
    block: type[Settings] | None
    instead: tuple[type[Settings], ...]
    inside: tuple[Any, ...]


def _path(mistake: ErrorDetails) -> tuple[int | str, ...]:
    """Where pydantic finds a mistake; of a setting without use it knows only the block."""
    return (*mistake["loc"], mistake.get("ctx", {})["name"]) if mistake["type"] == "without_use" else mistake["loc"]


def _place(model: type[Settings], path: tuple[int | str, ...]) -> _Place:
    """The place at pydantic's path, in which members of unions stand beside keys."""
    keys: list[str] = []
    block: type[Settings] | None = None
    instead: tuple[type[Settings], ...] = ()
    inside = chosen = (model,)
    for part in path:
        if len(chosen) > 1:
            chosen = _tried(chosen, str(part))
        elif part != "[key]":
            keys.append(str(part))
            only = chosen[0] if chosen else None
            block, instead = (only, tuple(filter(_is_block, inside))) if _is_block(only) else (None, ())
            inside = chosen = _within(only, part)
    return _Place(keys, block, instead, inside)


def _within(annotation: Any, key: int | str) -> tuple[Any, ...]:
    """What may stand under a key of a block, a tuple or a dictionary."""
    if _is_block(annotation):
        field = annotation.model_fields.get(str(key))
        return _members(field.annotation) if field else ()
    arguments = get_args(annotation)
    return _members(arguments[-1 if get_origin(annotation) is dict else 0]) if arguments else ()


def _members(annotation: Any) -> tuple[Any, ...]:
    """What an annotation allows, None left out."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _members(arguments[0])
    if origin in (Union, UnionType):
        return tuple(inner for member in arguments if member is not NoneType for inner in _members(member))
    return (annotation,)


def _is_block(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Settings)


def _kind(block: type[Settings]) -> str | None:
    """What `kind` has to be for this block of several; None where there is no choice of blocks."""
    values = get_args(block.model_fields["kind"].annotation) if "kind" in block.model_fields else ()
    return values[0] if len(values) == 1 else None


def _tried(members: tuple[Any, ...], label: str) -> tuple[Any, ...]:
    """The member of a union that pydantic's label names: `lstm`, `tuple[str, ...]`, `function-after[f(), Schedule]`."""

    def at(member: Any) -> int:
        name = (_kind(member) if _is_block(member) else None) or (get_origin(member) or member).__name__
        found = re.search(rf"(?<!\w){name}(?!\w)", label)
        return found.start() if found else len(label)

    return (min(members, key=at),)


def _what_is_wrong(place: _Place, mistake: ErrorDetails) -> str:
    message, given = mistake["msg"].removeprefix("Value error, "), mistake["input"]
    match mistake["type"]:
        case "extra_forbidden" if place.block:
            return _no_such_key(place, place.block)
        case "missing":
            return "this key is required"
        case "union_tag_invalid":
            return f"kind {given['kind']} is not known: choose {_kinds(place.inside)}"
        case "union_tag_not_found":
            return f"kind is missing: choose {_kinds(place.inside)}"
        case "value_error" | "without_use":
            return message
    return message if isinstance(given, dict | list) else f"{given!r} will not do: {message[0].lower()}{message[1:]}"


def _no_such_key(place: _Place, block: type[Settings]) -> str:
    key = place.keys[-1]
    having = [_kind(other) for other in place.instead if other is not block and key in other.model_fields]
    if having:
        named = next(name for name in reversed(place.keys[:-1]) if not name.isdecimal())
        others = " or ".join(f"{_article(kind)} {kind}" for kind in having if kind)
        kind = _kind(block) or ""
        return f"{_article(kind)} {kind} {named.removesuffix('s')} has no {key} ({others} one has)"
    near = difflib.get_close_matches(key, block.model_fields, n=1)
    return f"there is no such key: {f'did you mean {near[0]}?' if near else 'choose ' + _either(block.model_fields)}"


def _kinds(blocks: tuple[Any, ...]) -> str:
    return _either(kind for block in blocks if _is_block(block) and (kind := _kind(block)))


def _either(words: Iterable[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} or {last}" if others else last


def _article(word: str) -> str:
    """A word without vowels is spelt out: an LSTM."""
    return "an" if word[0] in ("aeiou" if set(word) & set("aeiou") else "fhlmnrsx") else "a"


def dump_job(job: Job) -> str:
    """The job as resolved, in YAML that `parse_job` reads back to an equal job; without settings that have no use."""
    return yaml.safe_dump(job.model_dump(), sort_keys=False, allow_unicode=True, width=120)


def differences(old: Job, new: Job) -> list[str]:
    """What differs between the results of two jobs, one line a key: `batch.size: 64 -> 32`.

    How a storage is reached changes no result.
    """
    before, after = (leaves(job.model_dump(exclude={"storage"})) for job in (old, new))
    return [
        f"{key}: {before.get(key, 'absent')} -> {after.get(key, 'absent')}"
        for key in (*before, *(key for key in after if key not in before))
        if before.get(key, "absent") != after.get(key, "absent")
    ]
