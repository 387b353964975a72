"""The loop, its phases, the two players, their checkpoints and the run log."""
