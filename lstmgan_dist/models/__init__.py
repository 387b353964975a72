"""The networks: the LSTM generator and its discriminators."""
