"""LSTM text generators, trained by maximum likelihood and adversarially, on a laptop or on a Ray cluster."""

__version__ = "0.1.0"
