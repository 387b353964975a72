"""The game: losses, gradient estimators, credit, and the objectives made of them."""
