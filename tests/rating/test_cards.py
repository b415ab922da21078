"""Rate cards: which row prices a call, what a card is found by, and what it takes to look one up."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rating.cards import Card, NoCard, Row, card_of, decode_head
from rating.request import request_for
from rating.simulate import simulate
from streams.units import minor_digits
from tests.oracle.rate_cards import FIELDS, RateCard
from tests.rating.builders import call, encode, subscription

CARD = Card(
    "retail",
    "USD",
    [
        Row("", "web", None, 1),
        Row("49", None, None, 2),
        Row("49", None, "gold", 3),
        Row("49", "outbound", None, 4),
        Row("4930", "inbound", None, 5),
        Row("49301", None, "gold", 6),
        Row("1", None, None, 7),
        Row("14155550100", None, None, 8),
    ],
)


@pytest.mark.parametrize(
    ("number", "direction", "tier", "rate"),
    [
        ("+4989", "inbound", None, 2),
        ("+4989", "inbound", "gold", 3),
        ("+4989", "outbound", "silver", 4),
        # The direction goes before the tier.
        ("+4989", "outbound", "gold", 4),
        # The longest prefix of the rows for this call, not of all rows.
        ("+493012", "outbound", None, 4),
        ("+493012", "inbound", None, 5),
        ("+493012", "inbound", "gold", 6),
        ("4930", "inbound", "gold", 5),
        ("+14155550100", "outbound", None, 8),
        ("+1415555010", "outbound", None, 7),
        ("+141555501001", "outbound", None, 8),
        ("1", "outbound", None, 7),
        ("+33", "web", None, 1),
        ("+33", "outbound", None, None),
        # What is no number of digits matches rows for any number only.
        (None, "web", None, 1),
        ("", "web", None, 1),
        ("anonymous", "web", None, 1),
        ("+49 89", "web", None, 1),
        ("++49", "web", None, 1),
        ("\u0664\u0669", "web", None, 1),
        ("+49 89", "inbound", None, None),
    ],
)
def test_the_row_of_a_call(number, direction, tier, rate):
    found = CARD.find(number, direction, tier)
    assert (None if found is None else CARD.rows[found].rate_micros_per_minute) == rate


PREFIXES = st.text("0149", max_size=6)
DIRECTIONS = st.sampled_from((None, "inbound", "outbound", "web"))
TIERS = st.sampled_from((None, "gold", "silver"))
ROWS = st.lists(
    st.builds(Row, PREFIXES, DIRECTIONS, TIERS, st.integers(0, 10**6)), min_size=1, unique_by=lambda row: row.key
)


@given(ROWS, st.lists(st.tuples(st.text("+0149x", max_size=9) | st.none(), DIRECTIONS, TIERS)))
def test_a_look_up_finds_what_looking_at_every_row_finds(rows, calls):
    card = Card("any", "USD", rows)
    oracle = RateCard("any", "USD", tuple({field: getattr(row, field) for field in FIELDS} for row in rows))
    assert card.card_id == oracle.card_id
    for number, direction, tier in calls:
        direction = direction or "web"
        expected = oracle.row_for({"to_number": number, "direction": direction, "tier": tier})
        found = card.find(number, direction, tier)
        assert (found is None) == (expected is None)
        if found is not None:
            assert {field: getattr(card.rows[found], field) for field in FIELDS} == expected


@given(ROWS)
def test_a_card_comes_back_from_its_records(rows):
    card = Card("any", "USD", rows)
    *parts, (key, head) = card.records("2026-11-01T00:00:00Z")
    assert key.decode() == card.card_id
    assert card_of(decode_head(head), [value for _, value in parts], card.card_id).rows == card.rows


def test_what_is_kept_under_another_id_is_no_card():
    *parts, (_, head) = CARD.records()
    with pytest.raises(NoCard, match="what is kept under this id is card"):
        card_of(decode_head(head), [value for _, value in parts], "0" * 32)
    with pytest.raises(NoCard, match=r"regex|Expected"):
        card_of(decode_head(head), [b'[["+49",null,null,1,null,null,true]]'], CARD.card_id)


def test_a_card_needs_rows_and_no_two_for_the_same():
    with pytest.raises(NoCard):
        Card("empty", "USD", [])
    with pytest.raises(NoCard):
        Card("twice", "USD", [Row("49", None, None, 1), Row("49", None, None, 2)])


def test_a_refused_call_that_opens_a_period_leaves_access_as_it_then_is():
    """The cap of the period before kept the account off; the call that has no rate still opens the next one."""
    card = Card("narrow", "USD", [Row("49", None, None, 60_000)])
    cap = {"minutes": 1, "spend_micros": None, "mode": "hard", "alerts_percent": []}
    terms = {"rate_card": card.card_id, "overage_micros_per_minute": None, "cap": cap, "included_minutes": 0}
    later = {"ended": "2026-12-01T00:10:00Z", "answered": "2026-12-01T00:00:00Z"}
    facts = [subscription(**terms), call(1, to_number="+49"), call(2, to_number="+33", **later)]
    found = list(simulate(encode(facts), {card.card_id: card}))
    assert [one["value"]["reasons"] for one in found if one["topic"] == "access-events"] == [["cap_reached"], []]
    assert [one["value"]["reason"] for one in found if one["topic"] == "dead-letters"] == ["no_rate"]


def test_rates_beyond_what_a_request_has_room_for_are_counted_together():
    rows = [Row(f"49{n:03}", None, None, 60 * n, None, n) for n in range(1, 500)]
    card = Card("many", "USD", rows)
    facts = [subscription(rate_card=card.card_id, included_minutes=0)]
    facts += [call(n, to_number=f"+49{n:03}") for n in range(1, 500)]
    facts.append({"type": "tick", "at": "2026-12-01T00:00:00Z"})
    events = [one["value"] for one in simulate(encode(facts), {card.card_id: card}) if one["topic"] == "billing-events"]
    [closed] = [event for event in events if event["type"] == "cycle.closed"]
    rates, fees = closed["overage_rates"], closed["connection_fees"]
    assert (len(rates), len(fees)) == (301, 101)
    assert rates[-1] == {
        "rate_micros_per_minute": None,
        "overage_s": 199 * 600,
        "overage_micros": 600 * sum(range(301, 500)),
    }
    assert fees[-1] == {"connection_fee_micros": None, "calls": 399, "fee_micros": sum(range(101, 500))}
    assert sum(one["overage_micros"] for one in rates) == closed["overage_micros"]
    request = request_for(closed, minor_digits)
    assert request is not None
    assert len(encode([request])[0]) < 200_000
    assert request["subtotal_micros"] == closed["usage_micros"]


def test_a_look_up_in_100000_prefixes_takes_about_as_long_as_in_100():
    """The figure itself is `make bench NAME=rating`; this only keeps a look-up from becoming a search."""

    def seconds(prefixes: int) -> float:
        """CPU of the fastest of some rounds of look-ups."""
        first = 10**5 if prefixes > 100 else 100
        card = Card("large", "USD", [Row(str(prefix), None, None, 60) for prefix in range(first, first + prefixes)])
        numbers = [f"+{first + n * 7919 % prefixes}12345" for n in range(1_000)]
        rounds = []
        for _ in range(5):
            started = time.process_time()
            for number in numbers:
                card.find(number, "outbound", None)
            rounds.append(time.process_time() - started)
        return min(rounds)

    # A search would take a thousand times as long.
    assert seconds(100_000) < 50 * seconds(100)
