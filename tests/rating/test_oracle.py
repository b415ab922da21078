"""The core against the independent oracle: 10,000 whole logs, every output compared."""

import os
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rating.cards import Card, Row
from rating.request import request_for
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


def asked_twice(outputs: list[dict[str, Any]]) -> list[str]:
    """Ids of payment requests that more than one event of an account calls for: the second would not be asked for."""
    ids: Counter[tuple[str, str]] = Counter()
    for output in outputs:
        if output["topic"] == "billing-events":
            request = request_for(output["value"], lambda currency: 6)
            if request is not None:
                ids[output["key"], request["payment_request_id"]] += 1
                assert len({line["line_id"] for line in request["lines"]}) == len(request["lines"])
    return [f"{account_id}: {request_id}" for (account_id, request_id), count in ids.items() if count > 1]


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
    outputs = outputs_of_core(lines)
    assert first_difference(run(lines), outputs) is None, report(lines)
    assert not asked_twice(outputs)
