"""What people get wrong, and the line that they are told; exit code 2, and nothing half-made.

To add one: a row of what is typed, and of what the line has to say. In a row, {job} is a job that would train for a
second, {run} a run of it, {corpus} a prepared corpus; the other names are files of `FILES`. Also for
commands/prepare.py, generate.py, score.py, evaluate.py, export.py, inspect.py and monitor.py.
"""

import shlex
from pathlib import Path

import pytest

from lstmgan_dist.phases import PHASES
from lstmgan_dist.settings import either
from lstmgan_dist.training.lease import LEASE
from tests.cases import cases
from tests.command_line import in_process
from tests.training.tiny_jobs import SENTENCES

FILES = {
    "text.txt": "one two three\nfour five six\n" * 20,
    "chinese.txt": ("床前明月光，疑是地上霜。\n举头望明月，低头思故乡。\n" * 20).encode("gbk"),
    "french.txt": ("Où est le café ?\nÇa dépend du garçon.\n" * 20).encode("latin-1"),
    "utf16.txt": "Straße\nund mehr\n".encode("utf-16-le") * 20,
    "one_bad_line.txt": "où est le café\n".encode() * 9 + b"b\xff\n",
    "nul.txt": b"good\nb\0d\n",
    "binary.txt": bytes(range(256)) * 20,
    "empty.txt": "",
    "blank.txt": "\n \n\n",
    "one_line.txt": "only one line",
    "long.txt": "short\n" + "word " * 100 + "\n",
    "data.csv": 'id,review\n1,"fine, really"\n2,bad\n' + "".join(f"{n},text {n}\n" for n in range(40)),
    "torn.csv": "id,text\n1,one\n2,two, three\n",
    "open_quote.csv": 'id,text\n1,one\n2,"two\n',
    "data.tsv": "id\tbody\n1\tone\n",
    "data.jsonl": '{"id": 1, "body": "one"}\n{"id": 2, "body": "two"}\n',
    "numbers.jsonl": '{"text": 3}\n',
    "array.json": '[{"text": "one"}]\n',
    "torn.jsonl": '{"text": "one"}\n{"text": "tw\n',
    "book.pdf": "%PDF-1.7",
    "essay.docx": "PK",
    "fake.parquet": "no table",
    "fake.gz": "not compressed",
    "docs/README.md": "# read me\n",
    "docs/LICENSE": "all rights\n",
    "pictures/a.png": "x",
    "twice.yaml": "name: a\nname: b\n",
    "broken.yaml": "name: [a\n",
    "list.yaml": "- a\n",
    "other/file.txt": "x",
}

# --- jobs: --set ----------------------------------------------------------------------------------------------------

SETTINGS = [
    ("batch.size=9", "batch: size 9 must be divisible by 4 lanes: try size 8 or 12"),
    ("batch.size=0", "batch.size: 0 will not do: it must be 1 or more"),
    ("batch.size=-8", "it must be 1 or more"),
    ("batch.size=8.5", "8.5 will not do: it must be a whole number"),
    ("batch.size=many", "'many' will not do: it must be a whole number"),
    ("batch.batch_size=8", "there is no such key: did you mean size?"),
    ("batchsize=8", "there is no such key: choose"),
    ("batch=8", "batch: 8 will not do: it must be a block of settings: size, lanes or units"),
    ("batch.units=3", "3 units cannot share 4 lanes equally: try 1 or 2 or 4"),
    ("seed=-1", "seed: -1 will not do: it must be 0 or more"),
    ("seed=x", "seed: 'x' will not do: it must be a whole number"),
    ("name=a/b", "name: 'a/b' will not do"),
    ("name=", "name:"),
    ("device=gpu", "device: 'gpu' will not do: write cuda"),
    ("precision=float32", "write fp32"),
    ("precision=fp16", "write bf16"),
    ("corpus.source=absent.txt", "The source absent.txt matches no file: check the path"),
    ("corpus.source=", "corpus.source: "),
    ("corpus.source=[]", "corpus.source: it must be text"),
    ("corpus.source=builtin:poems", "there is no such built-in corpus: try builtin:python-docs"),
    ("corpus.source=oracle:depth=3", "depth"),
    ("corpus.source=s3x://bucket/a.txt", "no driver for s3x://"),
    ("corpus.source=other/.corpora", "holds corpora that runs were trained on, and no text"),
    ("corpus.lower=true", "there is no such key here: write it as corpus.tokenizer.lower"),
    ("corpus.labels=x", "corpus.labels: there is no such key: choose source"),
    ("corpus.label_column=x", "is plain text and has no column 'x': leave out corpus.label_column (--label-column)"),
    ("corpus.label_by=name", "'name' will not do: choose file or folder"),
    ("corpus.max_source_length=1", "it must be 2 or more"),
    ("corpus.column=x", "is plain text and has no column 'x': leave out corpus.column"),
    ("corpus.encoding=klingon", "there is no encoding klingon: write utf-8, utf-16, gbk, latin-1 or auto"),
    ("corpus.encoding=base64", "there is no encoding base64"),
    ("corpus.layout=lines", "corpus.layout: 'lines' will not do: choose sentences or continuous"),
    ("corpus.max_length=1", "it must be 2 or more"),
    ("corpus.max_length=1000000", "it must be 65536 or less"),
    ("corpus.heldout_fraction=1", "it must be below 1"),
    ("corpus.heldout_fraction=-0.1", "it must be 0 or more"),
    ("corpus.heldout_source=absent.txt", "held-out source (corpus.heldout_source) absent.txt matches no file"),
    ("corpus.on_long_text=cut", "'cut' will not do: choose error, skip or truncate"),
    ("corpus.on_bad_text=ignore", "choose error, skip or replace"),
    ("corpus.tokenizer.accents=true", "corpus.tokenizer.accents: there is no such key: choose kind, fold_width"),
    ("corpus.tokenizer.stem=true", "corpus.tokenizer.stem: True will not do: choose arabic"),
    ("corpus.tokenizer.stem=klingon", "corpus.tokenizer.stem: 'klingon' will not do: choose arabic"),
    ("corpus.tokenizer.unicode=utf-8", "'utf-8' will not do: choose nfc, nfd, nfkc or nfkd"),
    ("corpus.tokenizer={kind: bpe, segmenter: chinese}", "segmenter: kind bpe has no use for it"),
    ("corpus.tokenizer={segmenter: chinese, stem: english}", "leave it out, or leave out segmenter"),
    ("corpus.tokenizer.kind=char", "corpus.tokenizer.kind: 'char' will not do: write character"),
    ("corpus.tokenizer.kind=sentencepiece", "write bpe"),
    ("corpus.tokenizer.vocabulary_size=1", "it must be 3 or more"),
    ("corpus.tokenizer.vocab_size=100", "did you mean vocabulary_size?"),
    ("corpus.tokenizer={kind: byte, min_count: 2}", "min_count: kind byte has no use for it"),
    ("generator.hidden=0", "it must be 1 or more"),
    ("generator.hidden_size=5", "did you mean hidden?"),
    ("generator.hidden=400000", "make the networks smaller"),
    ("generator.kind=rnn", "generator: kind rnn is not known: write lstm"),
    (
        "generator.kind=transformer",
        "generator: kind transformer is not known: choose lstm, relational_memory, leak or mogrifier",
    ),
    ("generator.dropout=1", "generator.dropout"),
    ("generator.dropout=lots", "generator.dropout"),
    ("generator.bidirectional=true", "write it as discriminator.bidirectional"),
    ("generator.pretrained_vectors=absent.txt", "absent.txt matches no file: check the path"),
    ("generator.trainable_dimensions=2", "set generator.pretrained_vectors, or leave it out"),
    ("generator.trainable_dimensions=9000", "leave none for pretrained_vectors: try embedding"),
    ("generator=null", "generator:"),
    ("discriminator=null", "which needs a discriminator: add a discriminator block"),
    ("discriminator.kind=cnn", "discriminator: kind cnn is not known: write convolutional"),
    ("discriminator={embedding: 4}", "discriminator: kind is missing: choose"),
    (
        "discriminator.filters={2: 3}",
        "an lstm discriminator has no filters (a convolutional one has)",
    ),
    ("discriminator.trainable_dimensions=2", "set embedding_from_generator: true"),
    ("discriminator={kind: multi_class, scores: per_token}", "'per_token' will not do"),
    ("discriminator.scores=per_word", "choose per_token or per_sentence"),
    ("discriminator.scores=per_sentence", "credit discounted needs a reward for every token"),
    ("discriminator.bidirectional=true", "is biased when a bidirectional discriminator"),
    ("phases=[]", "phases: it must be a list of at least 1"),
    ("phases=likelihood", "phases: 'likelihood' will not do: it must be a list, in square brackets"),
    ("phases=[{steps: 3}]", f"phases.0: kind is missing: choose {either(PHASES)}"),
    ("phases=[{kind: mle, steps: 3}]", "phases.0: kind mle is not known: write likelihood"),
    ("phases=[{kind: likelihood}]", "steps"),
    ("phases=[{kind: likelihood, steps: 3, epochs: 1}]", "steps"),
    ("phases.9.steps=3", "the job has no place called phases.9.steps"),
    ("phases.0.steps=0", "phases.0.steps: 0 will not do: it must be 1 or more"),
    ("phases.0.step=3", "phases.0.step: there is no such key: did you mean steps?"),
    ("phases.0.lr=1", "there is no such key here: write it as phases.0.optimizer.learning_rate"),
    ("phases.0.loss=hinge", "a likelihood phase has no loss"),
    ("phases.0.finish_with=last", "did you mean latest?"),
    ("phases.0.early_stop=0", "it must be 1 or more"),
    ("phases.0.optimizer.learning_rate=0", "phases.0.optimizer.learning_rate"),
    ("phases.0.optimizer.learning_rate=.inf", "a finite number"),
    ("phases.0.optimizer.learning_rate=1000", "it must be 100 or less"),
    ("phases.0.optimizer.learning_rate=-1", "above 0"),
    ("phases.0.optimizer.learning_rate={start: 1}", "end: this key is required"),
    ("phases.0.optimizer.kind=rmsprop", "choose adam, adamw or sgd"),
    ("phases.0.optimizer={kind: sgd, betas: [0.9, 0.99]}", "kind sgd has no use for it"),
    ("phases.0.optimizer.betas=0.9", "a list, in square brackets"),
    ("phases.0.optimizer.betas=[0.9]", "betas"),
    ("phases.0.optimizer.clip=0", "above 0"),
    ("phases.2.loss=bce", "phases.2.loss: 'bce' will not do: write cross_entropy"),
    ("phases.2.loss=wgan", "write wasserstein"),
    ("phases.2.loss=wasserstein", "pairs whole texts, but the discriminator scores tokens: set discriminator"),
    ("phases.2.loss=hinged", "did you mean hinge?"),
    ("phases.2.loss=relativistic_average", "pairs whole texts, but the discriminator scores tokens: set discriminator"),
    ("phases.2.estimator=score_function", "phases.2.estimator: 'score_function' will not do"),
    ("phases.2.estimator={kind: reinforce}", "phases.2.estimator: kind reinforce is not known: write score_function"),
    ("phases.2.estimator={kind: gumbel}", "write gumbel_softmax"),
    ("phases.2.estimator={}", "kind is missing: choose"),
    ("phases.2.estimator.discount=2", "it must be 1 or less"),
    ("phases.2.estimator={kind: score_function, discount: 0.5}", "credit sentence has no use for it"),
    ("phases.2.estimator.baseline=none", "phases.2.estimator.baseline: 'none' will not do"),
    ("phases.2.estimator.baseline={kind: none, decay: 0.5}", "kind none has no use for it"),
    ("phases.2.discriminator_updates=0", "it must be 1 or more"),
    ("phases.2.likelihood_weight=-1", "it must be 0 or more"),
    ("phases.2.regulariser={kind: gp}", "write gradient_penalty"),
    ("evaluate.every=5", "is not an interval: write '50 steps' or '1 epoch'"),
    ("evaluate.every=0 steps", "is not an interval"),
    ("evaluate.every=5 minutes", "is not an interval: write '50 steps' or '1 epoch'"),
    ("evaluate.samples=1", "it must be 2 or more"),
    ("evaluate.prompt=unheard", "holds what the vocabulary of this text lacks: choose another"),
    ("evaluate.frontier={temperatures: [0]}", "evaluate.frontier.temperatures"),
    ("checkpoint.keep=0", "it must be 1 or more"),
    ("checkpoint.best_by=loss", "choose heldout_nll or frontier"),
    ("guard.on_failure=retry", "choose stop or roll_back"),
    ("guard.distinct_2_floor=1.5", "it must be below 1"),
    ("log.every=often", "is not an interval"),
    ("synchronisation={compression: bf16, every: 4}", "try compression: none"),
    ("start_from=nowhere", "nowhere is not a run"),
    ("start_from={run}@99", "has no checkpoint of step 99: there are"),
    ("batch.size", "--set batch.size: write it as key=value"),
    ("=3", "write it as key=value"),
    ("batch.size=[1", "is not valid YAML"),
    ("batch.size>=2", "there is no such key: did you mean size?"),
    ("seed.x=1", "the job has no place called seed.x"),
    ("corpus=text.txt", "corpus: 'text.txt' will not do: it must be a block of settings"),
    ("corpus.source=chinese.txt", "but gb18030 by its looks: set corpus.encoding"),
    ("corpus.source=data.csv", "has no column 'text': set corpus.column (--column) to one of id, review"),
]

# --- everything else ------------------------------------------------------------------------------------------------

COMMANDS = [
    ("train absent.yaml", "The job file absent.yaml cannot be read: No such file or directory"),
    ("train docs", "The job file docs cannot be read: Is a directory"),
    ("train twice.yaml", "twice.yaml, line 2: the key name stands twice in one block: leave one of them out"),
    ("train broken.yaml", "broken.yaml, line 2: this is not valid YAML"),
    ("train list.yaml", "list.yaml: a job file is a mapping of settings"),
    ("train chinese.txt", "The job file chinese.txt cannot be read: it is not UTF-8 text"),
    ("train empty.txt", "a job file is a mapping of settings"),
    ("train {job} --run other", "other is not empty and holds no run: choose another folder with --run"),
    ("train {job} --run s3x://bucket/run", "no driver for s3x://"),
    ("train {job} --run /proc/run", "/proc"),
    ("train {job} --workers two", "--workers two"),
    ("train {job} --workers 4..2", "--workers 4..2"),
    ("train {job} --workers 9", "units"),
    ("train {job} --run {run} --set batch.size=16", "is a run of a different job"),
    ("train {job} --run {run} --set phases.2.steps=1", "a run can only be extended"),
    ("prepare absent.txt --out made", "absent.txt matches no file"),
    ("prepare '*.nothing' --out made", "matches no file"),
    ("prepare empty.txt --out made", "gives no text to train on: it is empty"),
    ("prepare blank.txt --out made", "gives no text to train on: it is empty"),
    ("prepare one_line.txt --out made", "has only 1 texts"),
    ("prepare binary.txt --out made", "binary.txt, line 1: this is a binary file"),
    ("prepare book.pdf --out made", "holds no plain text (.pdf): save it as text first"),
    ("prepare essay.docx --out made", "holds no plain text (.docx)"),
    ("prepare pictures --out made", "holds no plain text (.png)"),
    ("prepare docs --out made", "holds only files about text, such as"),
    (
        "prepare french.txt --out made",
        "by its looks: set corpus.encoding (--encoding) to",
    ),
    ("prepare utf16.txt --out made", "but utf-16-le by its looks"),
    ("prepare one_bad_line.txt --out made", "line 10: this is not valid UTF-8 (byte 0xff): mend it, or set"),
    ("prepare nul.txt --out made", "Error: nul.txt, line 2: this line holds a NUL character"),
    ("prepare long.txt --out made", "long.txt, line 2: this sentence has 101 tokens"),
    ("prepare long.txt --out made --max-length 90", "or, without a game, corpus.layout (--layout) to continuous"),
    ("prepare data.csv --out made", "has no column 'text': set corpus.column (--column) to one of id, review"),
    ("prepare data.csv --out made --column nope", "has no column 'nope'"),
    (
        "prepare torn.csv --out made",
        "Error: torn.csv, row 3: this row has 3 fields, and the first line names 2",
    ),
    ("prepare open_quote.csv --out made", "row 3: this row is not valid CSV"),
    ("prepare data.tsv --out made", "to one of id, body"),
    ("prepare text.txt --out made --column text", "text.txt is plain text and has no column 'text'"),
    ("prepare data.jsonl --out made", "there is no 'text' among 'id', 'body': set corpus.column (--column) to body"),
    ("prepare numbers.jsonl --out made", "'text' is not text but int"),
    ("prepare array.json --out made", "write one object in braces a line (JSON Lines)"),
    ("prepare torn.jsonl --out made", "torn.jsonl, line 2: this is not valid JSON"),
    ("prepare fake.parquet --out made --column text", "this is not a whole Parquet file"),
    ("prepare fake.gz --out made", "the gzip data is damaged"),
    ("prepare text.txt --out other", "other holds other files: choose another folder with --out"),
    ("prepare text.txt --out {corpus}", "holds a corpus already"),
    ("prepare {corpus} --out made", "is a corpus that prepare made already"),
    ("prepare text.txt --out made --encoding klingon", "--encoding: there is no encoding klingon"),
    ("prepare text.txt --out made --language german", "set split_sentences (--split-sentences), or leave it out"),
    ("prepare text.txt --out made --segmenter thai", "--segmenter: 'thai' will not do: choose chinese."),
    (
        "prepare text.txt --out made --tokenizer byte --stem english",
        "--stem: kind byte has no use for it: leave it out",
    ),
    ("prepare text.txt --out made --unicode nfkd --fold-width", "--fold-width: unicode nfkd has no use for it"),
    ("prepare text.txt --out made --max-length 1", "--max-length: 1 will not do: it must be 2 or more"),
    ("prepare text.txt --out made --tokenizer words", "words"),
    ("prepare text.txt --out made --heldout absent.txt", "absent.txt matches no file"),
    ("prepare ftp://127.0.0.1:9/text.txt --out made", "ftp"),
    ("prepare http://127.0.0.1:9/text.txt --out made", "http://127.0.0.1:9/text.txt"),
    ("generate absent", "absent is not a run"),
    ("generate {corpus}", "is not a run"),
    (
        "generate {run} --checkpoint newest",
        "newest: write best, latest, likelihood or the number of a step",
    ),
    ("generate {run} --checkpoint 99", "has no checkpoint of step 99"),
    ("generate {run} --temperature -1", "temperature"),
    ("generate {run} --temperature hot", "Invalid value for '--temperature'"),
    ("generate {run} --max-length 1000000000", "1000000"),
    ("generate {run} --prompt unheard", "unheard"),
    ("generate {run} --out texts.docx", "texts are written as .txt"),
    ("score absent text.txt", "absent is not a run"),
    ("score {run}", "There is nothing to score: name a file of texts, or give one with --text"),
    ("score {run} text.txt --checkpoint newest", "write best, latest, likelihood or the number of a step"),
    ("score {run} --text ''", "an empty text is nothing to score: leave it out"),
    ("score {run} absent.txt", "The text file absent.txt matches no file: check the path"),
    ("score {run} blank.txt", "blank.txt holds no text: every line of it is empty"),
    ("score {run} chinese.txt", "but gb18030 by its looks: set corpus.encoding (--encoding)"),
    ("score {run} text.txt --encoding klingon", "--encoding: there is no encoding klingon"),
    ("score {run} data.csv", "has no column 'text': set corpus.column (--column) to one of id, review"),
    ("score {run} text.txt --out scores.docx", "texts are written as .txt"),
    ("score {run} text.txt --out /proc/scores.jsonl", "/proc"),
    ("export absent --to onnx --out made", "absent is not a run"),
    ("export {corpus} --to onnx --out made", "is not a run"),
    ("export {run} --out made", "Missing option '--to'"),
    ("export {run} --to onnx", "Missing option '--out'"),
    ("export {run} --to pickle --out made", "Error: --to: 'pickle' will not do: choose safetensors, torch or onnx.\n"),
    (
        "export {run} --to onnx --quantise int4 --out made",
        "Error: --quantise: 'int4' will not do: choose int8 or half.\n",
    ),
    ("export {run} --to torch --quantise int8 --out made", "--to torch --quantise int8 is refused: PyTorch"),
    ("export {run} --to onnx --out other", "other holds other files: choose another folder with --out"),
    ("export {run} --to onnx --out text.txt", "text.txt holds other files: choose another folder with --out"),
    ("export {run} --to onnx --out text.txt/made", "text.txt/made cannot be written to, for"),
    ("export {run} --to onnx --out {run}", "run holds other files"),
    ("export {run} --to onnx --out s3x://bucket/made", "no driver for s3x://"),
    ("export {run} --to onnx --out made --checkpoint 99", "has no checkpoint of step 99"),
    ("export {run} --to onnx --out made --distil", "--distil needs to know how small: say --hidden"),
    ("export {run} --to onnx --out made --hidden 4", "--hidden is for a smaller generator, which has to learn: add"),
    ("export {run} --to onnx --out made --steps 4", "--steps is for a smaller generator"),
    ("export {run} --to onnx --out made --distil --hidden 0", "Invalid value for '--hidden'"),
    ("export {run} --to onnx --out made --distil --hidden 12", "--hidden 12 is not smaller than the run's generator"),
    ("evaluate absent", "absent is not a run"),
    ("evaluate {run} absent", "absent is not a run"),
    ("evaluate {run} {run}", "A run is named twice"),
    ("evaluate {run}", "leaves"),
    ("evaluate {run} --temperatures hot", "write a range such as 0.6..1.3, or a list"),
    ("evaluate {run} --temperatures 1.2..0.8", "a range begins with its lower end: 0.8..1.2"),
    ("evaluate {run} --temperatures 0,1", "--temperatures"),
    ("evaluate {run} --samples 50", "--samples: 50 will not do"),
    ("evaluate {run} --encoder word2vec", "write sentence-transformers:"),
    ("evaluate {run} --heldout absent.txt", "absent.txt matches no file"),
    ("evaluate {run} --brief --heldout text.txt", "leave out --heldout"),
    ("evaluate {run} {run}2 --brief", "--brief takes one run"),
    ("inspect absent", "absent is neither a run, nor a corpus, nor a checkpoint"),
    ("inspect text.txt", "neither a run, nor a corpus, nor a checkpoint"),
    ("monitor absent", "absent is empty or absent"),
    ("monitor {corpus}", "holds a corpus"),
    ("monitor {run} --port 99999999", "port"),
    ("tarin {job}", "tarin"),
    ("train {job} --epochs 3", "--epochs"),
]


@pytest.fixture(scope="module")
def place(text, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mistakes")
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    (folder / "job.yaml").write_text(SENTENCES.replace("SOURCE", str(text)))
    assert in_process("train", folder / "job.yaml", "--run", folder / "run")[0] == 0
    assert in_process("prepare", text, "--out", folder / "corpus", "--max-length", 12)[0] == 0
    return folder


def told(typed):
    """What somebody is told who types this, in one line with exit code 2."""
    for name, path in {"{job}": "job.yaml", "{run}": "run", "{corpus}": "corpus"}.items():
        typed = typed.replace(name, path)
    before = set(Path().rglob("*"))
    code, output = in_process(*shlex.split(typed))
    assert code == 2, output
    made = {path for path in set(Path().rglob("*")) - before if not {".corpora", LEASE} & {*path.parts}}
    assert not made
    return output


@pytest.mark.parametrize("row", cases(SETTINGS, quick=SETTINGS[::4]), ids=lambda row: row[0])
def test_a_setting_that_will_not_do(place, monkeypatch, row):
    setting, line = row
    monkeypatch.chdir(place)
    output = told(f"train {{job}} --run new --set {shlex.quote(setting)}")
    assert line in output
    assert all(one.startswith(("Note: ", "Error: ", "job.yaml: ")) for one in output.splitlines())


@pytest.mark.parametrize("row", cases(COMMANDS, quick=COMMANDS[::4]), ids=lambda row: row[0])
def test_a_command_that_will_not_do(place, monkeypatch, row):
    typed, line = row
    monkeypatch.chdir(place)
    assert line in told(typed)


def test_there_are_mistakes_enough():
    assert len(SETTINGS) + len(COMMANDS) >= 120
    assert len(set(SETTINGS) | set(COMMANDS)) == len(SETTINGS) + len(COMMANDS)
