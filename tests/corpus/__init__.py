"""Tests of lstmgan_dist.corpus."""
