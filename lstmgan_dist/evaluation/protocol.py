"""How the figures of a contest are come by, in words for its report."""

from __future__ import annotations

from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.evaluation import frontier
from lstmgan_dist.evaluation.bench import Bench, Thoroughness
from lstmgan_dist.evaluation.heldout import HeldOut
from lstmgan_dist.evaluation.sweep import SHARES


def protocol(
    corpus: PreparedCorpus, held_out: HeldOut, bench: Bench, samples: int, settings: Thoroughness
) -> dict[str, str]:
    """How each figure of a contest is come by: a heading and some sentences."""
    recipe = settings.recipe
    model = (
        f"an LSTM language model (embedding {recipe.embedding}, {recipe.hidden} units, dropout {recipe.dropout}, at "
        f"most {recipe.epochs} epochs)"
    )
    encoder = bench.encoder.name if bench.encoder else "the judge (the mean of what it predicts a text's tokens from)"
    of_oracle = {}
    if bench.oracle is not None:
        of_oracle["Oracle"] = (
            "The corpus was made by a known source of text, so likelihood, grammaticality and covered probability "
            "mass are exact. NLL under the oracle alone is lowered by sampling colder: read it beside that of "
            "held-out text."
        )
    return {
        "Corpus": f"{corpus.folder}, fingerprint {corpus.fingerprint[:16]}, vocabulary {bench.vocabulary_size:,}.",
        "Samples": (
            f"{samples:,} texts of each sampler at each temperature, for each of {settings.seeds} "
            f"seed{'s' if settings.seeds > 1 else ''}, at most {corpus.max_length} tokens long, <unk> included as a "
            "word. Real text: as many training sentences, without repetition."
        ),
        "LM score": (
            f"Nats per token of the samples, end marks included, under a judge: {model}; the mean of two, each learnt "
            f"from half of the held-out text, {bench.judges[0].sentences:,} and {bench.judges[1].sentences:,} "
            f"sentences. Of the other half their perplexity is {bench.judges[0].perplexity:.1f} and "
            f"{bench.judges[1].perplexity:.1f}, where word frequencies alone have {bench.judges[0].by_frequency:.1f} "
            f"and {bench.judges[1].by_frequency:.1f}."
        ),
        "Reverse LM score": (
            f"Nats per token of the {sum(map(len, bench.test)):,} held-out sentences of both halves, end marks "
            "included, under a fresh model of the same kind learnt from samples until the loss on the validation "
            f"sentences rises: the mean of {SHARES} for each seed, each of its own {samples // SHARES:,} samples."
        ),
        "Who has seen what": (
            f"Training looked at {len(held_out.validation):,} held-out sentences. The others were halved by a hash of "
            f"the sentence, and {held_out.excluded:,} that are training or validation text as well were left out of "
            "what the judges learn. Sentence by sentence, no judge has learnt any training, validation or test "
            "sentence: checked."
        ),
        "Intervals and verdicts": (
            "95 % intervals. What samples and reverse models can do is told by leaving out one share of the samples "
            f"at a time, with its reverse model, everywhere at once (jackknife, {SHARES * settings.seeds} shares, and "
            "Student's t with one degree of freedom fewer): shares of one number are drawn with the same random "
            "numbers at all temperatures and from all samplers. What the choice of test sentences can do is told by "
            f"{frontier.DRAWS} draws of them, the same for all samplers. What training with other seeds can do is in "
            "no interval: verdicts hold for these training seeds. The margin is the mean distance in LM score of two "
            "curves over the reverse LM scores that both reach, or where there are none the mean distance in reverse "
            "LM score at equal LM score; curves follow the logarithm of the temperature. Better or worse means that "
            "the interval leaves out 0."
        ),
        "BLEU": (
            f"Mean sentence BLEU with equal weights, NLTK's smoothing method1, against {bench.reference_count:,} "
            "held-out sentences, all of them references of every sample. self-BLEU: the same of each sample against "
            "all others. Corpus BLEU: that of sacrebleu (BLEU-4, smoothing exp), each of these references for every "
            "sample."
        ),
        "Fréchet distance and MAUVE": (
            "On embeddings from "
            f"{encoder}, "
            f"against the {len(bench.test[0]):,} held-out sentences of the test half. The divergence frontier is "
            "MAUVE's on other embeddings than in the paper, so its values compare within this report only."
        ),
        "Copies": (
            f"Against {len(bench.training):,} training sentences: the share of samples that are one of them, and the "
            "longest stretch of words of each sample that one of them holds."
        ),
        "N-gram coverage": "Each n-gram counted once, over as many samples as held-out sentences of both halves.",
        "NLL of held-out text": "Nats per token under the generator at the temperature, end marks included, unpadded.",
        **of_oracle,
    }
