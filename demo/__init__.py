"""The demo: a simulated voice platform, the story of one account, and the proof that every price and sum is right."""
