"""Where a job runs: one process here, or workers of a cluster. Nothing above this floor knows which."""
