"""Ids of the tokens that mean the same in every vocabulary."""

END_ID = 0  # ends a sentence, starts the next and pads
UNKNOWN_ID = 1  # where the vocabulary is one of characters or words
