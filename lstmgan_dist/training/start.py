"""Starting from another run: its vocabulary, and the weights of one of its checkpoints, which the new run keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lstmgan_dist.config import Job, differences
from lstmgan_dist.corpus.manifest import PreparedCorpus
from lstmgan_dist.corpus.tokenizer import Tokenizer
from lstmgan_dist.errors import UserError
from lstmgan_dist.storage import Folder
from lstmgan_dist.training.checkpoint import Checkpoint
from lstmgan_dist.training.game import networks_without_numbers
from lstmgan_dist.training.run import JOB, START, Run


@dataclass(frozen=True)
class Start:
    """What a new run starts from: a checkpoint of another one, with the job and the vocabulary of that."""

    name: str
    job: Job
    tokenizer: Tokenizer
    checkpoint: Checkpoint

    def copy_to(self, folder: Folder) -> None:
        """Keep the weights in the new run: whatever becomes of the other one, this one starts from them."""
        for section in ("discriminator", "generator"):
            if section in self.checkpoint:
                name = f"{section}.safetensors"
                folder.write(f"{START}/{name}", self.checkpoint.folder.read(name))

    def check(self, job: Job, corpus: PreparedCorpus) -> None:
        """See that the weights fit the networks of a job.

        Raises:
            UserError: if the vocabulary or a network is another one, with the settings that differ.
        """
        if corpus.tokenizer.to_json() != self.tokenizer.to_json():
            raise UserError(
                f"{corpus.folder} was prepared with another vocabulary than that of {self.name}: give the text itself "
                "as corpus.source, and it is prepared with the right one."
            )
        for name, network in networks_without_numbers(job, corpus.tokenizer).items():
            if name not in self.checkpoint:
                continue
            wanted = {key: tensor.shape for key, tensor in network.state_dict().items()}
            if wanted != {key: tensor.shape for key, tensor in self.checkpoint.load(name).items()}:
                differing = [line for line in differences(self.job, job) if line.startswith(f"{name}.")]
                raise UserError(f"The {name} of {self.name} is another one than the job's: {'; '.join(differing)}.")


def start_from(job: Job, url: str, *, say: Callable[[str], None]) -> Start | None:
    """What the job of a new run at an address starts from; None if it starts anew, or the run has its weights already.

    Raises:
        UserError: if there is no such run or checkpoint.
    """
    if job.start_from is None or _has_start(job, url):
        return None
    address, _, step = job.start_from.partition("@")
    run = Run.open(address, job.storage)
    checkpoint = run.checkpoint(step or "best", say=say)
    return Start(job.start_from, run.job, run.tokenizer(), checkpoint)


def tokenizer_of(job: Job, url: str, start: Start | None) -> Tokenizer | None:
    """The vocabulary that the text of a run at an address is prepared with; None: that of the text itself."""
    if start:
        return start.tokenizer
    return Run.open(url, job.storage).tokenizer() if job.start_from and _has_start(job, url) else None


def _has_start(job: Job, url: str) -> bool:
    folder = Folder(url, job.storage)
    return folder.exists(JOB) and bool((folder / START).list())
