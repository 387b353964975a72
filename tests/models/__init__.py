"""Tests of lstmgan_dist.models."""
