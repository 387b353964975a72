"""What a person should know before a job is trained."""

from lstmgan_dist.config import parse_job
from lstmgan_dist.training.doubts import doubts_about
from lstmgan_dist.training.run import prepared_corpus
from tests.training.tiny_jobs import CONTINUOUS, SENTENCES, job_of


def test_a_game_on_little_text_is_told_that_it_cannot_be_judged(text, tmp_path):
    game = job_of(SENTENCES, text)
    corpus = prepared_corpus(game.corpus, str(tmp_path / "run"), lambda progress: None)
    (doubt,) = doubts_about(game, corpus)
    assert "too few to learn from, so that this run can never be judged" in doubt
    again = job_of(SENTENCES, corpus.folder.url)
    (doubt,) = (doubt for doubt in doubts_about(again, corpus) if "judged" in doubt)
    assert f"prepare {corpus.folder} again, with --heldout-fraction 0.3 and give more text" in doubt
    assert "corpus.heldout" not in doubt
    likelihood = parse_job(
        f"name: a\ncorpus: {{source: {text}, heldout_fraction: 0.2}}\nphases: [{{kind: likelihood, steps: 1}}]",
        name="job",
    )
    assert not list(doubts_about(likelihood, corpus))


def test_what_is_doubtful_about_the_text_is_told_too(text, tmp_path):
    job = job_of(CONTINUOUS, text, "corpus.tokenizer.vocabulary_size=4")
    corpus = prepared_corpus(job.corpus, str(tmp_path / "run"), lambda progress: None)
    assert any("<unk>" in doubt for doubt in doubts_about(job, corpus))


def test_settings_that_a_prepared_corpus_overrides_are_told(text, tmp_path):
    job = job_of(CONTINUOUS, text)
    corpus = prepared_corpus(job.corpus, str(tmp_path / "run"), lambda progress: None)
    for overrides, told in (
        (
            ["corpus.tokenizer.kind=byte", "corpus.heldout_fraction=0.1"],
            ["tokenizer.kind: byte (it was character)", "0.1"],
        ),
        ([], []),
    ):
        same = job_of(CONTINUOUS, corpus.folder.url, *overrides)
        sentences = [doubt for doubt in doubts_about(same, corpus) if "have no effect" in doubt]
        assert len(sentences) == bool(told)
        assert not list(doubts_about(job_of(CONTINUOUS, "grammar:count=200", *overrides), corpus))
        assert all(one in sentences[0] for one in told)
