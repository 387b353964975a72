"""Every setting of a job, composed from those of the rooms.

A job file is one YAML document that becomes one frozen `Job`. Unknown keys, wrong types, values out of range and
combinations that cannot work are all refused here, before a worker starts.
"""

from lstmgan_dist.config.explain import explain
from lstmgan_dist.config.extension import Changes, changes
from lstmgan_dist.config.job import Job
from lstmgan_dist.config.reading import (
    check_frontier,
    chosen,
    differences,
    dump_job,
    from_options,
    load_job,
    parse_job,
    read_job,
)
from lstmgan_dist.config.training import BatchSettings, Frontier

__all__ = [
    "BatchSettings",
    "Changes",
    "Frontier",
    "Job",
    "changes",
    "check_frontier",
    "chosen",
    "differences",
    "dump_job",
    "explain",
    "from_options",
    "load_job",
    "parse_job",
    "read_job",
]
