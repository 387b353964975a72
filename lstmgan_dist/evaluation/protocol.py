"""How what a contest finds is come by, in words for its report."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.evaluation import frontier
from lstmgan_dist.evaluation.bench import SHARES, Bench
from lstmgan_dist.evaluation.heldout import HeldOut


@dataclass(frozen=True)
class Explanation:
    """How a figure, or several of a kind, are come by: a heading and some sentences."""

    heading: str
    of: Callable[[Bench], str]


def _lm_score(bench: Bench) -> str:
    recipe, (first, second) = bench.recipe, bench.judges
    return (
        "Nats per token of the samples, end marks included, under a judge: an LSTM language model (embedding "
        f"{recipe.embedding}, {recipe.hidden} units, dropout {recipe.dropout}, at most {recipe.epochs} epochs); the "
        f"mean of two, each learnt from half of the held-out text, {first.sentences:,} and {second.sentences:,} "
        f"sentences. Of the other half their perplexity is {first.perplexity:.1f} and {second.perplexity:.1f}, where "
        f"word frequencies alone have {first.by_frequency:.1f} and {second.by_frequency:.1f}."
    )


def _reverse_lm_score(bench: Bench) -> str:
    return (
        f"Nats per token of the {sum(map(len, bench.test)):,} held-out sentences of both halves, end marks "
        "included, under a fresh model of the same kind learnt from samples until the loss on the validation "
        f"sentences rises: the mean of {SHARES} for each seed, each of its own {bench.samples // SHARES:,} samples."
    )


def _bleu(bench: Bench) -> str:
    return (
        f"Mean sentence BLEU with equal weights, NLTK's smoothing method1, against {bench.reference_count:,} "
        "held-out sentences, all of them references of every sample. self-BLEU: the same of each sample against "
        "all others. Corpus BLEU: that of sacrebleu (BLEU-4, smoothing exp), each of these references for every "
        "sample."
    )


def _embeddings(bench: Bench) -> str:
    encoder = bench.encoder.name if bench.encoder else "the judge (the mean of what it predicts a text's tokens from)"
    return (
        f"On embeddings from {encoder}, against the {len(bench.test[0]):,} held-out sentences of the test half. The "
        "divergence frontier is MAUVE's on other embeddings than in the paper, so its values compare within this "
        "report only."
    )


def _copies(bench: Bench) -> str:
    return (
        f"Against {len(bench.training):,} training sentences: the share of samples that are one of them, and the "
        "longest stretch of words of each sample that one of them holds."
    )


def _always(sentences: str) -> Callable[[Bench], str]:
    return lambda bench: sentences


LM_SCORE = Explanation("LM score", _lm_score)
REVERSE_LM_SCORE = Explanation("Reverse LM score", _reverse_lm_score)
BLEU = Explanation("BLEU", _bleu)
EMBEDDINGS = Explanation("Fréchet distance and MAUVE", _embeddings)
DISTINCT = Explanation(
    "Distinct-n and repetition",
    _always(
        "Different n-grams over all n-grams of all samples together, which falls with their number; and the share of "
        "bigrams that occurred earlier in the same sample."
    ),
)
COPIES = Explanation("Copies", _copies)
LENGTH = Explanation("Mean length", _always("Tokens of a sample, the end mark not counted."))
ORACLE = Explanation(
    "Oracle",
    _always(
        "The corpus was made by a known source of text, so likelihood, grammaticality and covered probability "
        "mass are exact. NLL under the oracle alone is lowered by sampling colder: read it beside that of "
        "held-out text."
    ),
)
HELDOUT_NLL = Explanation(
    "NLL of held-out text",
    _always(
        "Nats per token under the generator at the temperature, end marks included, unpadded: of the judges' and the "
        "test text, which training has not looked at, so that its own figure, of other sentences, differs."
    ),
)


def protocol(
    corpus: PreparedCorpus, held_out: HeldOut, bench: Bench, seeds: int, explanations: Iterable[Explanation]
) -> dict[str, str]:
    """Headings and sentences: what all figures have in common, and each of the explanations."""
    return {
        "Corpus": f"{corpus.folder}, fingerprint {corpus.fingerprint[:16]}, vocabulary {bench.vocabulary_size:,}.",
        "Samples": (
            f"{bench.samples:,} texts of each sampler at each temperature, for each of {seeds} "
            f"seed{'s' if seeds > 1 else ''}, at most {corpus.max_length} tokens long, <unk> included as a "
            "word. Real text: as many training sentences, without repetition."
        ),
        "Who has seen what": (
            f"Training looked at {len(held_out.validation):,} held-out sentences. "
            + (f"{held_out.added:,} were given besides those of the corpus. " if held_out.added else "")
            + "The others were halved by a hash of "
            f"the sentence, and {held_out.excluded:,} that are training or validation text as well were left out of "
            "what the judges learn. Sentence by sentence, no judge has learnt any training, validation or test "
            "sentence: checked."
        ),
        "Intervals and verdicts": (
            "95 % intervals. What samples and reverse models can do is told by leaving out one share of the samples "
            f"at a time, with its reverse model, everywhere at once (jackknife, {SHARES * seeds} shares, and "
            "Student's t with one degree of freedom fewer): shares of one number are drawn with the same random "
            "numbers at all temperatures and from all samplers. What the choice of test sentences can do is told by "
            f"{frontier.DRAWS} draws of them, the same for all samplers. What training with other seeds can do is in "
            "no interval: verdicts hold for these training seeds. The margin is the mean distance in LM score of two "
            "curves over the reverse LM scores that both reach, or where there are none the mean distance in reverse "
            "LM score at equal LM score; curves follow the logarithm of the temperature. Better or worse means that "
            "the interval leaves out 0; not distinguishable, that it does not, though a margin of "
            f"{frontier.MATTERS:g}, a tenth of the perplexity, would have made it do so in four cases of five; and too "
            "little evidence, that such a margin might have gone unseen, or that reverse models of as much real text "
            f"know less than {frontier.LEAST_KNOWLEDGE:g} nats a token more than the frequencies of words."
        ),
        **{one.heading: one.of(bench) for one in explanations},
        "N-gram coverage": "Each n-gram counted once, over as many samples as held-out sentences of both halves.",
    }
