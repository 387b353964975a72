"""What a contest found, to look at: figures, and a page that holds all of it."""
