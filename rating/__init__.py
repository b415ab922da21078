"""The pure core: facts in, outputs out, to the micro. No clock, no I/O, no randomness."""
