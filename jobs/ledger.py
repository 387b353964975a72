"""The ledger of the recipes: what a paper claims and by which protocol, what came out here, and why they differ.

    python jobs/ledger.py                            write LEDGER.md anew
    python jobs/ledger.py runs/seqgan runs/another   first take up what these runs of recipes have measured

results/<recipe>.yaml is written by people: paper, claim, protocol, and why figures differ as far as that was found out.
results/<recipe>.json is written here from finished runs, one for each seed, with the judges' figures where
`lstmgan evaluate` was called.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from lstmgan_dist.config import Job, parse_job
from lstmgan_dist.config.reading import differences
from lstmgan_dist.phases.kind import HELDOUT_NLL
from lstmgan_dist.training.environment import ENVIRONMENT
from lstmgan_dist.training.run import Run
from lstmgan_dist.training.run_log import TIMES, read_lines, read_metrics

JOBS = Path(__file__).parent
RESULTS, LEDGER = JOBS / "results", JOBS / "LEDGER.md"
# Where a text lies is no change of a recipe, and runs differ by their seeds.
_NOT_A_CHANGE = ("name", "seed", "corpus.source", "corpus.heldout_source", "evaluate", "checkpoint", "log")


# --- what runs have measured -----------------------------------------------------------------------------------------


def recipes() -> dict[str, Job]:
    """The recipes by the names of their files."""
    return {path.stem: parse_job(path.read_text(), name=path.name) for path in sorted(JOBS.glob("*.yaml"))}


def take_up(url: str, results: Path = RESULTS) -> str:
    """Keep what a run of a recipe has measured, in place of an earlier run with its seed and changes.

    Returns:
        The recipe's name.
    """
    run = Run.open(url)
    name = _recipe_of(run.job)
    path = results / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    measured = measurements(run, recipes()[name])
    others = [one for one in kept if (one["seed"], one["changes"]) != (measured["seed"], measured["changes"])]
    runs = sorted([*others, measured], key=lambda one: (one["changes"], one["seed"]))
    path.write_text(json.dumps(runs, indent=1) + "\n")
    return name


def _recipe_of(job: Job) -> str:
    named = {recipe.name: name for name, recipe in recipes().items()}
    if job.name not in named:
        sys.exit(f"{job.name} is the name of no recipe: choose a run of {', '.join(named)}.")
    return named[job.name]


def measurements(run: Run, recipe: Job) -> dict[str, Any]:
    """What a finished run says of itself, in plain data."""
    rows = [row for row in read_metrics(run.folder) if HELDOUT_NLL in row]
    times = [datetime.fromisoformat(line["time"]) for line in read_lines(run.folder, TIMES)]
    (*_, environment) = json.loads(run.folder.read(ENVIRONMENT))
    likelihood, last = _ends(rows, run.job)
    return {
        "seed": run.job.seed,
        "changes": [*_changes(recipe, run.job)],
        "date": times[-1].date().isoformat(),
        "machine": f"{environment['processor']}, torch {environment['torch']}",
        "minutes": round((times[-1] - times[0]).total_seconds() / 60, 1),
        "likelihood": likelihood,
        "game": last,
        "steps": rows[-1]["step"],
        **_judged(run),
    }


def _changes(recipe: Job, job: Job) -> Iterator[str]:
    """What `--set` was told."""
    for line in differences(recipe, job):
        if not line.startswith(_NOT_A_CHANGE):
            yield f"{line.partition(':')[0]}={line.rpartition(' -> ')[2]}"


def _ends(rows: Sequence[Mapping[str, Any]], job: Job) -> tuple[dict[str, float] | None, dict[str, float] | None]:
    """Figures of the generator at the end of likelihood, and at the end of the game; None of what there was not."""
    ends: list[dict[str, float] | None] = [None, None]
    for number, phase in enumerate(job.phases):
        own = [row for row in rows if row["phase"] == number]
        if own and phase.moves_generator:
            row = min(own, key=lambda row: row[HELDOUT_NLL]) if phase.finish_with == "best" else own[-1]
            ends[phase.plays] = {
                "nll": round(row[HELDOUT_NLL], 4),
                **{name: round(row[f"samples/{name}"], 4) for name in _OF_SAMPLES if f"samples/{name}" in row},
            }
    return ends[0], ends[1]


_OF_SAMPLES = ("distinct_2", "mean_length")


def _judged(run: Run) -> dict[str, Any]:
    """The judges' verdict over the likelihood start, and figures of the oracle by temperature, where there are any."""
    folder = run.folder / "evaluation"
    if not folder.exists("frontier.json"):
        return {}
    found = json.loads(folder.read("frontier.json"))
    kinds = {sampler["name"]: sampler["kind"] for sampler in found["samplers"]}
    judged: dict[str, Any] = {}
    for verdict in found["verdicts"]:
        if kinds[verdict["sampler"]] == "run" and kinds[verdict["reference"]] == "likelihood start":
            judged["verdict"] = {"word": verdict["word"], "margin": verdict["margin"]}
    oracle = [
        {"sampler": kinds[place["sampler"]], "temperature": place["temperature"]}
        | {name: round(place["figures"][name]["value"], 3) for name in _OF_ORACLE if name in place["figures"]}
        for place in found["places"]
        if "oracle_nll" in place["figures"]
    ]
    return judged | ({"oracle": oracle} if oracle else {})


_OF_ORACLE = ("oracle_nll", "test_nll")


# --- the page --------------------------------------------------------------------------------------------------------

_HEAD = """\
# The ledger

What papers claim, and what came out here. Written by `python jobs/ledger.py` from `results/`: every figure is of a run
that was made, on 2 cores unless it says otherwise. Losses are held-out nats a token, end marks included, unpadded; the
arrow goes from the end of likelihood training to the end of the game. The verdict is that of judges over the run's own
likelihood start at equal diversity (`lstmgan evaluate`), in nats a token with its 95 % interval.

| recipe | paper | loss | minutes | seeds | verdict |
|---|---|---|---:|---:|---|
"""


def page(results: Path = RESULTS) -> str:
    """LEDGER.md."""
    entries = {name: _entry(name, results) for name in recipes()}
    rows = [_row(name, about, runs) for name, (about, runs) in entries.items()]
    sections = ["\n".join(_section(name, about, runs)) for name, (about, runs) in entries.items()]
    without = yaml.safe_load((results / "left_out.yaml").read_text())
    left_out = ["## Left out", "", *(f"- **{name}**: {why}" for name, why in without.items())]
    return _HEAD + "\n".join(rows) + "\n\n" + "\n\n".join([*sections, "\n".join(left_out)]) + "\n"


def _entry(name: str, results: Path) -> tuple[dict[str, str], list[dict[str, Any]]]:
    about = yaml.safe_load((results / f"{name}.yaml").read_text())
    path = results / f"{name}.json"
    return about, json.loads(path.read_text()) if path.exists() else []


def _row(name: str, about: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> str:
    verdicts = "; ".join(_margin(run["verdict"]) for run in runs if "verdict" in run)
    cells = [f"[`{name}`](#{name})", about["paper"], _loss(runs), _minutes(runs), str(len(runs) or ""), verdicts]
    return f"| {' | '.join(cells)} |"


def _mean(runs: Sequence[Mapping[str, Any]], end: str) -> str | None:
    values = [run[end]["nll"] for run in runs if run[end]]
    if not values:
        return None
    mean = f"{statistics.mean(values):.3f}"
    return f"{mean} ± {statistics.stdev(values):.3f}" if len(values) > 1 else mean


def _loss(runs: Sequence[Mapping[str, Any]]) -> str:
    plain = [run for run in runs if not run["changes"]] or runs
    return " → ".join(filter(None, (_mean(plain, "likelihood"), _mean(plain, "game")))) or "not measured"


def _minutes(runs: Sequence[Mapping[str, Any]]) -> str:
    return f"{statistics.median(run['minutes'] for run in runs):.1f}" if runs else ""


def _margin(verdict: Mapping[str, Any]) -> str:
    margin = verdict["margin"]
    if margin is None:
        return verdict["word"]
    return f"{verdict['word']}: {margin['value']:+.3f} [{margin['low']:+.3f}, {margin['high']:+.3f}]"


def _section(name: str, about: Mapping[str, str], runs: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield f"## {name}"
    yield ""
    yield f"{about['paper']}. Claim: {about['claim']} Protocol: {about['protocol']}"
    yield ""
    for run in runs:
        yield f"- {_sentence(name, run)}"
    if not runs:
        yield "- Not measured here."
    yield ""
    yield about["why"].strip()
    for run in runs:
        if "oracle" in run:
            yield ""
            yield from _oracle_table(run["oracle"])


def _sentence(name: str, run: Mapping[str, Any]) -> str:
    settings = "".join(f" --set {change}" for change in run["changes"])
    ends = (("likelihood", "after likelihood"), ("game", "after the game"))
    told = ", ".join(f"{_end(run[end])} {when}" for end, when in ends if run[end])
    return (
        f"`lstmgan train jobs/{name}.yaml{settings}`, seed {run['seed']}, {run['steps']:,} steps in {run['minutes']} "
        f"minutes ({run['machine']}; {run['date']}): {told}."
    )


def _end(figures: Mapping[str, float]) -> str:
    if "distinct_2" not in figures:
        return f"{figures['nll']:.4f}"
    return f"{figures['nll']:.4f} (distinct-2 {figures['distinct_2']:.3f}, {figures['mean_length']:.1f} tokens)"


def _oracle_table(places: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "| sampler | temperature | NLL under the oracle | NLL of the oracle's text |"
    yield "|---|---:|---:|---:|"
    for place in places:
        temperature = "" if place["temperature"] is None else f"{place['temperature']:g}"
        test = f"{place['test_nll']:.3f}" if "test_nll" in place else ""
        yield f"| {place['sampler']} | {temperature} | {place['oracle_nll']:.3f} | {test} |"


if __name__ == "__main__":
    for address in sys.argv[1:]:
        print(f"{address}: {take_up(address)}")
    LEDGER.write_text(page())
