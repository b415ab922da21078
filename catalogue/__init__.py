"""What an agency sells: plans, packs and accounts, as YAML and as a compacted topic."""
