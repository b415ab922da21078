"""What else one would use: the same fold, over the same calls, on other frameworks. See `bench.side_by_side`."""
