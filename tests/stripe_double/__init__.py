"""A double of Stripe's API, ours: not Stripe's software, and no proof of how Stripe behaves.

It keeps state and speaks HTTP, so that the official SDK can be used on it. What it takes and what it answers is held
against Stripe's published OpenAPI description (`cut`, `description`); how objects change follows Stripe's documents
(`invoices`, `state`); and it fails in the ways that networks and Stripe do (`server`). `make test-stripe` runs the
gateway's tests on Stripe's own sandbox.
"""
