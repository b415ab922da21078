"""The core against the independent oracle: 10,000 whole logs, every output compared."""

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rating.cards import Card, Row
from rating.simulate import simulate
from tests.oracle import rate_cards
from tests.oracle.compare import first_difference, smallest
from tests.oracle.oracle import run
from tests.oracle.strategies import logs

CASES = 10_000
CARDS = {card.card_id: Card(card.name, card.currency, [Row(**row) for row in card.rows]) for card in rate_cards.CARDS}


def outputs_of_core(lines: list[bytes]) -> list[dict[str, Any]]:
    """What `callmeter simulate` prints, as {"topic", "key", "value"}."""
    return list(simulate(lines, CARDS))


def difference(lines: list[bytes]) -> str | None:
    return first_difference(run(lines), outputs_of_core(lines))


def report(lines: list[bytes]) -> str:
    """The difference on the smallest log that still shows one, and that log."""
    few = smallest(lines, lambda candidate: difference(candidate) is not None)
    return "\n".join([str(difference(few)), *(line.decode(errors="replace") for line in few)])


# The same cases in every run; ORACLE_RANDOM=1 draws others each time.
@pytest.mark.slow
@pytest.mark.timeout(900)
@settings(
    max_examples=CASES,
    deadline=None,
    database=None,
    derandomize="ORACLE_RANDOM" not in os.environ,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=list(HealthCheck),
)
@given(logs())
def test_simulate_agrees_with_the_oracle(lines: list[bytes]) -> None:
    assert difference(lines) is None, report(lines)
