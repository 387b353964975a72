"""What a generator is worth: n-grams, likelihoods, judges and the quality-diversity frontier."""
