"""The topics: their names (without the prefix of the settings), how the broker keeps each, the headers we write.

All have the same number of partitions, so that an account's outputs are in the partition of its facts.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rating.agencies import AGENCY_EVENTS
from rating.facts import LONGEST_RETENTION_DAYS
from rating.outputs import (
    ACCESS_EVENTS,
    ALERTS,
    BILLING_EVENTS,
    DEAD_LETTERS,
    DUPLICATES,
    PAYMENT_REQUESTS,
    RATED_CALLS,
)

__all__ = [
    "ACCESS_EVENTS",
    "ACCOUNT_EVENTS",
    "AGENCY_EVENTS",
    "AGENCY_LEDGER",
    "ALERTS",
    "BILLING_EVENTS",
    "BILLING_LEDGER",
    "CATALOGUE",
    "DEAD_LETTERS",
    "DUPLICATES",
    "FORWARDED_HEADER",
    "LEDGER",
    "PAYMENT_REQUESTS",
    "RATED_CALLS",
    "RATE_CARDS",
    "REDRIVEN_HEADER",
    "REDRIVES",
    "SEEN_CALLS",
    "TOPICS",
    "Topic",
]

ACCOUNT_EVENTS = "account-events"
AGENCY_LEDGER = "agency-ledger"
CATALOGUE = "catalogue"
RATE_CARDS = "rate-cards"
SEEN_CALLS = "seen-calls"
LEDGER = "ledger"
# Where the billing job keeps its positions.
BILLING_LEDGER = "billing-ledger"

# Which dead letters were re-driven.
REDRIVES = "redrives"

# On a record that was written to a wrong partition and passed on: "<partition>:<offset>" it came from.
FORWARDED_HEADER = "callmeter-forwarded"
# On a dead letter's bytes that were written back to the log: which letter, see `streams.redriven`.
REDRIVEN_HEADER = "callmeter-redriven"

DAY_MS = 86_400_000
MIB = 1 << 20

# Compaction leaves the newest segment alone and waits for half of the rest to be outdated: with the defaults (1 GiB)
# a partition would hold gigabytes of outdated snapshots before the first one goes.
COMPACTED = {
    "cleanup.policy": "compact",
    "segment.bytes": str(64 * MIB),
    "min.cleanable.dirty.ratio": "0.1",
}
FOR_EVER = {"cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1"}


@dataclass(frozen=True)
class Topic:
    """A topic's name without prefix, and what it sets differently from the broker's defaults."""

    name: str
    config: dict[str, str] = field(default_factory=dict)


def _kept(days: int, **config: int) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(days * DAY_MS),
        **{name.replace("_", "."): str(value) for name, value in config.items()},
    }


TOPICS = (
    # The log of record is never deleted. It takes records far above the largest fact (256 KiB), so that those too
    # become dead letters rather than errors at somebody's producer.
    Topic(ACCOUNT_EVENTS, {**FOR_EVER, "max.message.bytes": str(8 * MIB)}),
    # What the meter tells about agencies, and what is decided about them: never deleted either.
    Topic(AGENCY_EVENTS, FOR_EVER),
    Topic(CATALOGUE, COMPACTED),
    # As many partitions as the rest, so that tools need not know of another count; a card is in one of them.
    Topic(RATE_CARDS, COMPACTED),
    Topic(RATED_CALLS, _kept(days=30)),
    # Never deleted either: they are few, and each must be asked for, however long the billing job was away.
    Topic(BILLING_EVENTS, FOR_EVER),
    Topic(PAYMENT_REQUESTS, COMPACTED),
    Topic(ALERTS, _kept(days=30)),
    Topic(ACCESS_EVENTS, COMPACTED),
    Topic(DUPLICATES, _kept(days=30)),
    # Long enough to mend the cause of a dead letter and re-drive it.
    Topic(DEAD_LETTERS, _kept(days=91, max_message_bytes=16 * MIB)),
    # For ever: a letter may stay longer than its retention, with younger ones in its segment.
    Topic(REDRIVES, COMPACTED),
    Topic(LEDGER, {**COMPACTED, "max.message.bytes": str(16 * MIB)}),
    Topic(AGENCY_LEDGER, {**COMPACTED, "max.message.bytes": str(16 * MIB)}),
    Topic(BILLING_LEDGER, COMPACTED),
    # A day more than the longest duplicate retention: the index rebuilds itself from it. However many bytes that is.
    Topic(
        SEEN_CALLS,
        {**_kept(days=LONGEST_RETENTION_DAYS + 1, max_message_bytes=16 * MIB), "retention.bytes": "-1"},
    ),
)
