"""Kafka side: topics, transport, the ledger of one partition, the meter."""
