"""What a run promises on a GPU: the same bits every time, however it is stopped, and on several of them.

For runtime/units.py, runtime/distributed.py and models/drawing.py on CUDA; run where there is one.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from lstmgan_dist.config import Job
from lstmgan_dist.models import drawing
from lstmgan_dist.models.drawing import draw
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.randomness import Noise
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.run import Run, prepared_corpus
from lstmgan_dist.training.run_log import read_metrics
from tests.networks import lstm_generator
from tests.training.comparison import everything_in, final_state
from tests.training.test_exactness import BATCH, JOBS
from tests.training.tiny_jobs import job_of, run_in_pieces, run_job

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
GPU = torch.device("cuda")
PRECISIONS = ("fp32", "bf16")


def job(name: str, text: Path, *settings: str) -> Job:
    template, own = JOBS[name]
    return job_of(template, text, *BATCH, *own, "device=cuda", *settings)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("units", [1, 2, 4])
@pytest.mark.parametrize("name", JOBS)
def test_a_run_comes_out_the_same_again(name, units, precision, text, tmp_path):
    settings = (f"batch.units={units}", f"precision={precision}")
    with warnings.catch_warnings():
        # torch warns of every operation that it has no deterministic kernel for.
        warnings.filterwarnings("error", message=".*deterministic")
        for folder in ("one", "other"):
            run_job(job(name, text, *settings), tmp_path / folder, device="cuda")
    assert everything_in(tmp_path / "one") == everything_in(tmp_path / "other")


@pytest.mark.parametrize("name", JOBS)
def test_a_run_that_is_stopped_again_and_again_comes_out_the_same(name, text, tmp_path):
    of_cuda = job(name, text)
    run_job(of_cuda, tmp_path / "whole", device="cuda")
    run_in_pieces(of_cuda, tmp_path / "pieces", steps=4, device="cuda")
    assert final_state(tmp_path / "pieces") == final_state(tmp_path / "whole")


@pytest.mark.parametrize("name", JOBS)
def test_figures_are_those_of_a_cpu_but_for_rounding(name, text, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        run, _ = run_job(job(name, text, "precision=fp32", f"device={device}"), tmp_path / device, device=device)
        losses[device] = [row["likelihood/nll"] for row in read_metrics(run.folder) if "likelihood/nll" in row]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-3)


@pytest.mark.parametrize("settings", [{}, {"latent": {"size": 3}}, {"layers": 2}], ids=str)
def test_a_captured_draw_is_that_of_its_steps_also_after_the_weights_have_moved(settings):
    generator = lstm_generator(150, **{"embedding": 8, "hidden": 16, **settings}).to(GPU)
    rows = torch.arange(64, device=GPU)
    uniforms_BT = Noise(6, rows).uniform("tokens", 12)
    latent_BZ = Noise(2, rows).normal("z", 3) if "latent" in settings else None

    def in_steps(generator, uniforms_BT, latent_BZ, state, first_token, given, pick, settings):
        return drawing._draw_in_step(generator, uniforms_BT, latent_BZ, state, first_token, given, pick, torch.float32)

    for _ in range(3):
        captured = draw(generator, uniforms_BT, latent_BZ=latent_BZ)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(drawing, "_replay", in_steps)
            stepwise = draw(generator, uniforms_BT, latent_BZ=latent_BZ)
        assert torch.equal(captured.tokens_BT, stepwise.tokens_BT)
        assert torch.equal(captured.lengths_B, stepwise.lengths_B)
        with torch.no_grad():
            for parameter in generator.parameters():
                parameter += 0.1 * parameter.sign()


def test_nearly_all_texts_are_those_that_a_cpu_draws():
    generator, numbers = lstm_generator(150, embedding=8, hidden=16), torch.arange(1000)
    expected = draw(generator, Noise(6, numbers).uniform("tokens", 12)).tokens_BT
    found = draw(generator.to(GPU), Noise(6, numbers.to(GPU)).uniform("tokens", 12)).tokens_BT
    assert (found.cpu() == expected).all(1).float().mean() > 0.99


def _work(rank: int, workers: int, meeting: str, runs: list[tuple[str, Job]]) -> None:
    os.environ["NCCL_DEBUG"] = "WARN"
    torch.cuda.set_device(rank)
    dist.init_process_group("cpu:gloo,cuda:nccl", init_method=f"file://{meeting}", rank=rank, world_size=workers)
    for url, of_cuda in runs:
        runtime = DistributedRuntime(torch.device("cuda", rank), lambda: StopRequest.NONE)
        train_on_worker(url, of_cuda, runtime, lambda message: None)
    dist.destroy_process_group()


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_leave_the_files_of_one(text, tmp_path):
    jobs = {name: job(name, text) for name in JOBS}
    runs = []
    for name, of_cuda in jobs.items():
        run_job(of_cuda, tmp_path / "one" / name, device="cuda")
        folder = str(tmp_path / "two" / name)
        Run.create_or_resume(folder, of_cuda, prepared_corpus(of_cuda.corpus, folder, lambda progress: None))
        runs.append((folder, of_cuda))
    spawn(_work, (2, str(tmp_path / "meeting"), runs), nprocs=2)
    for name in jobs:
        assert everything_in(tmp_path / "two" / name) == everything_in(tmp_path / "one" / name), name
