"""The commands by topic: parse, call, print. Heavy imports wait until a command needs them."""
