"""Tests of lstmgan_dist.adversarial."""
