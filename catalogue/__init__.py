"""What an agency sells and to whom: agencies, plans, packs and accounts, written in YAML, kept in a compacted topic."""
