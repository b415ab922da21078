"""Requests of the platform to agencies live as those to accounts do: numbered, overdue by ticks, settled, corrected."""

import json

import msgspec
import pytest

from rating.agencies import AGENCY_HISTORY, AgencyFold
from tests.rating.test_payments import DUE, GRACE, START, TOTAL, asked, corrected, settled

WHOLESALE = {
    "type": "agency.wholesale_set", "fact_id": "w1", "agency_id": "ag_1", "at": "2026-11-01T00:00:00Z",
    "terms": {"currency": "USD", "rate_micros_per_minute": 30_000, "timezone": "America/New_York"},
    "source_partition": 0, "source_offset": 0,
}  # fmt: skip


def of_agency(fact):
    """A fact about a request to an account, as one about a request to its agency."""
    return {**fact, "type": f"agency.{fact['type'].replace('.', '_')}", "account_id": ""}


def tick(at):
    return {"type": "agency.tick", "at": at, "source_partition": 0}


def told(*facts, again_at=None):
    """What the facts give out: requests in all their states, and reasons of dead letters.

    Before the fact of number `again_at` the fold is lost, and another one restored from its ledger.
    """
    fold, outputs = AgencyFold(0, 1), []
    for offset, fact in enumerate((WHOLESALE, *facts)):
        if offset == again_at:
            records = fold.drain_ledger()
            fold = AgencyFold(0, 1)
            for record in records:
                fold.restore(*record)
            fold.restored()
        fold.fold(json.dumps(fact).encode(), offset)
        outputs += fold.outputs
        fold.outputs.clear()
    requests = [json.loads(value) for topic, _, value in outputs if topic == "payment-requests"]
    return requests, [value.reason for topic, _, value in outputs if topic == "dead-letters"]


def ask(name="r", **fields):
    return of_agency(asked(name, account="", **fields))


def test_a_request_is_numbered_as_it_is_made_in_the_year_of_the_terms_zone():
    # Still the old year in New York.
    facts = ask("a"), {**ask("b"), "at": "2027-01-01T04:59:59Z"}, {**ask("c"), "at": "2027-01-01T05:00:00Z"}
    numbers = [(one["payment_request_id"], one["number"], one["account_id"]) for one in told(*facts)[0]]
    assert numbers == [("a", "2026-000001", ""), ("b", "2026-000002", ""), ("c", "2027-000001", "")]


@pytest.mark.parametrize("again_at", range(1, 6))
def test_it_is_overdue_from_the_first_tick_at_its_due_date_on_once_and_can_be_paid(again_at):
    paid = of_agency(settled("paid", actor="jane", reference="wire 1"))
    facts = ask(), tick("2026-11-07T23:59:00Z"), tick(DUE), tick(GRACE), paid
    requests, letters = told(*facts, again_at=again_at)
    assert letters == []
    assert [(one["status"], one["left_micros"], one["paid_micros"]) for one in requests] == [
        ("pending", TOTAL, 0),
        ("overdue", TOTAL, 0),
        ("paid", 0, TOTAL),
    ]
    assert (requests[1]["overdue_at"], requests[1]["actor"]) == (DUE, "clock")
    assert [change["status"] for change in requests[2]["changes"]] == ["overdue", "paid"]


def test_what_failed_keeps_its_status_when_it_falls_due_and_what_is_settled_does_not_fall_due():
    facts = ask("a"), ask("b"), of_agency(settled("failed", "a", START)), of_agency(settled("paid", "b", START))
    requests, _ = told(*facts, tick(DUE), tick(GRACE))
    (late,) = requests[4:]
    assert (late["payment_request_id"], late["status"], late["overdue_at"]) == ("a", "failed", DUE)


def test_credit_notes_and_refunds_are_numbered_documents_and_no_more_than_there_is():
    note, rest = of_agency(corrected("credit_note", 9_000_000)), of_agency(corrected("credit_note", 40_000_000))
    back = of_agency(corrected("refund", 40_000_000))
    paid, more = of_agency(settled("paid")), of_agency(corrected("refund", 1))
    requests, letters = told(ask(), note, paid, back, more, again_at=4)
    assert [(one["payment_request_id"], one["number"], one["paid_micros"]) for one in requests] == [
        ("r", "2026-000001", 0),
        ("credit_note_9000000", "2026-000002", 0),
        ("r", "2026-000001", 0),
        ("r", "2026-000001", 40_000_000),
        ("refund_40000000", "2026-000003", -40_000_000),
    ]
    assert letters == ["illegal_change"]
    # All of it: canceled.
    assert [one["status"] for one in told(ask(), note, rest)[0]][-1] == "canceled"


@pytest.mark.parametrize(
    ("fact", "reason"),
    [
        (ask(), "illegal_change"),
        (settled("paid", "nothing"), "unknown_request"),
        (corrected("refund", 1), "illegal_change"),
        (corrected("credit_note", TOTAL + 1), "illegal_change"),
        (corrected("credit_note", 1, currency="EUR"), "wrong_currency"),
        (corrected("credit_note", 1, about="note"), "illegal_change"),
        (corrected("credit_note", 1, name="r"), "illegal_change"),
    ],
)
def test_what_does_not_fit_is_refused(fact, reason):
    wrong = fact if fact["type"].startswith("agency.") else of_agency(fact)
    first = ask(), of_agency(corrected("credit_note", 1, name="note"))
    assert told(*first, {**wrong, "fact_id": "wrong"}) == (told(*first)[0], [reason])


def test_a_fact_of_the_same_id_changes_nothing():
    note = of_agency(corrected("credit_note", 1))
    assert told(ask(), note, note, ask()) == told(ask(), note)


def test_requests_of_an_older_callmeter_live_on():
    """They were kept as maps without the fields of today, and as a status once they were settled."""
    fold = AgencyFold(0, 1)
    for offset, fact in enumerate((WHOLESALE, ask())):
        fold.fold(json.dumps(fact).encode(), offset)
    older = json.loads(fold.outputs[-1][2])
    for name in ("source_partition", "source_offset", "number", "left_micros", "paid_micros", "disputed_micros"):
        del older[name]
    records = dict(fold.drain_ledger())
    key = AGENCY_HISTORY + b"ag_1"
    history = msgspec.msgpack.decode(records[key][1:])
    history[3] = {"r": older, "old": "paid"}
    records[key] = b"\x01" + msgspec.msgpack.encode(history[:4])
    again = AgencyFold(0, 1)
    for record in records.items():
        again.restore(*record)
    again.restored()
    facts = tick(DUE), of_agency(settled("paid")), of_agency(corrected("refund", 1, about="old"))
    for offset, fact in enumerate(facts, again.position):
        again.fold(json.dumps(fact).encode(), offset)
    requests = [json.loads(value) for topic, _, value in again.outputs if topic == "payment-requests"]
    assert [(one["status"], one["paid_micros"]) for one in requests] == [("overdue", 0), ("paid", TOTAL)]
    assert again.outputs[-1][2].reason == "illegal_change"
