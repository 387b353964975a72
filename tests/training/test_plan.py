"""What is told of a job before anything of it is built."""

import pytest

from lstmgan_dist.errors import UserError
from lstmgan_dist.training.game import Vocabulary
from lstmgan_dist.training.plan import memory_warning
from tests.training.tiny_jobs import SENTENCES, job_of


def test_a_job_that_needs_more_memory_than_there_is_gets_a_sentence():
    job = job_of(SENTENCES, "text.txt", "batch={size: 4000, lanes: 4, units: 1}")
    assert memory_warning(job, Vocabulary(100), 2**30) is None
    assert (
        memory_warning(job, Vocabulary(100), 2**23)
        == "This may need 92 MiB, and there are 8: lower batch.size, or raise batch.units."
    )
    in_small_units = job_of(SENTENCES, "text.txt", "batch={size: 4000, lanes: 40, units: 40}")
    assert memory_warning(in_small_units, Vocabulary(100), 2**23) is None


def test_networks_that_never_fit_are_refused_without_being_built():
    """Ten thousand billion parameters."""
    job = job_of(SENTENCES, "text.txt", "generator={kind: relational_memory, slots: 8, head_size: 1000000}")
    with pytest.raises(UserError, match=r"of the generator and .* of the discriminator.*make the networks smaller"):
        memory_warning(job, Vocabulary(100), 2**40)
