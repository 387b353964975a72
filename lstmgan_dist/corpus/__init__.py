"""From text to ordered batches of tokens."""
