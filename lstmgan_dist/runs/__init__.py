"""What acts on a run from outside: starts it, writes with it, judges it, says what it holds."""
