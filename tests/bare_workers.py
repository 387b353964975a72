"""Workers that train together without Ray: what a run on a cluster is compared with."""

import torch
import torch.distributed
from torch.multiprocessing.spawn import start_processes

from lstmgan_dist.config import dump_job, parse_job
from lstmgan_dist.runs.train import train_on_worker
from lstmgan_dist.runtime.distributed import DistributedRuntime
from lstmgan_dist.runtime.signals import StopRequest
from lstmgan_dist.training.run import Run, prepared_corpus
from tests.command_line import PROCESSES


def side_by_side(function, *arguments, workers):
    """Call function(rank, *arguments) in so many processes, forked as commands are, until all have ended."""
    start_processes(function, arguments, nprocs=workers, start_method=PROCESSES.get_start_method())


def train_undisturbed(job, run, *, workers):
    """Train a run from its beginning to its end, on so many processes of this machine.

    The job is taken as one that was written to a file and read again, in which 30 seconds have become 30.0.
    """
    job = parse_job(dump_job(job), name="the job")
    corpus = prepared_corpus(job.corpus, str(run), lambda progress: None)
    Run.create_or_resume(str(run), job, corpus)
    meeting = f"file://{run.parent}/.{run.name}.meeting"
    side_by_side(_work, workers, meeting, str(run), job, workers=workers)


def _work(rank, workers, meeting, url, job):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=workers)
    runtime = DistributedRuntime(torch.device("cpu"), lambda: StopRequest.NONE)
    assert train_on_worker(url, job, runtime, lambda message: None).finished
    torch.distributed.destroy_process_group()
