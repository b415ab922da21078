"""The fold: same log, same outputs, however it is cut; nothing half-done; bad input is a dead letter."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from rating.fold import Fold
from rating.partitioner import partition_of
from rating.seen import SeenInMemory
from rating.versions import StateError
from tests.oracle.strategies import written_log
from tests.rating.builders import call, encode, fact, outputs, pack, refused, subscription, tick
from tests.rating.logs import ACCOUNTS, a_log, by_topic_and_account


def fold_all(lines, partitions=1, restart_every=None, slice_accounts=2_000, go_on=lambda: False):
    """Fold into some partitions, by account; ticks and unreadable lines go to all, those lines to the first only.

    ``go_on`` decides whether the next line comes before a tick is done.
    """
    given = []
    for partition in range(partitions):
        seen = SeenInMemory()
        fold, ledger, offset = Fold(partition, partitions, seen, slice_accounts), {}, 0
        for line in lines:
            account = line.partition(b'"account_id": "')[2].partition(b'"')[0]
            if account and partition_of(account, partitions) != partition:
                continue
            if not account and b'"tick"' not in line and partition:
                continue
            done = False
            while not done:
                done = fold.fold(line, offset) or (fold.position > offset and go_on())
                ledger.update(fold.drain_ledger())
                given.extend(fold.outputs)
                fold.outputs.clear()
                if restart_every and (fold.tick_at_work or (done and offset % restart_every == 0)):
                    fold = Fold(partition, partitions, seen, slice_accounts)
                    for key, value in ledger.items():
                        fold.restore(key, value)
                    fold.restored()
                    assert fold.position in (offset + done, offset + 1)
            offset += 1
        while fold.tick_at_work:
            fold.work()
        given.extend(fold.outputs)
        assert not fold.forwards
    return by_topic_and_account(given)


@pytest.mark.parametrize("seed", range(5))
def test_a_restart_after_any_record_changes_nothing(seed):
    lines = encode(a_log(seed))
    assert fold_all(lines, restart_every=1) == fold_all(lines)


@pytest.mark.parametrize("seed", range(40))
def test_a_restart_changes_nothing_whatever_the_accounts_live_through(seed):
    """Trials, changes of plan, pauses, numbers, credits that wait: all of it is in the ledger, and nowhere else."""
    lines = written_log(seed, 60)
    assert fold_all(lines, restart_every=1) == fold_all(lines)


@pytest.mark.parametrize("partitions", [2, 7, 12])
def test_many_partitions_give_the_same_as_one(partitions):
    lines = encode(a_log(partitions))
    assert fold_all(lines, partitions) == fold_all(lines)


@pytest.mark.parametrize("seed", range(60))
def test_what_comes_after_a_large_tick_need_not_wait_for_it(seed):
    """Whatever is folded before the tick is done, and wherever a restart comes in between."""
    lines = written_log(seed, 80)
    now_and_then = random.Random(seed)
    go_on = lambda: now_and_then.random() < 0.9  # noqa: E731
    for restart_every in (None, 1):
        assert fold_all(lines, 1, restart_every, 1, go_on) == fold_all(lines)


def test_a_large_tick_is_told_to_agencies_when_it_is_done():
    """Nothing of an agency may close before every account has delivered; not after a restart in between either."""
    ledger, told = {}, []
    fold = Fold(0, 1, SeenInMemory(), slice_accounts=1)
    for offset, line in enumerate(encode(subscription(account=f"acct_{n}") for n in range(3))):
        assert fold.fold(line, offset)
    done = fold.fold(encode([tick("2026-12-01T00:00:00Z")])[0], 3)
    while True:
        told.append([b'"agency.tick"' in value for _, value in fold.drain_agencies()])
        ledger.update(fold.drain_ledger())
        if done:
            break
        fold = Fold(0, 1, SeenInMemory(), slice_accounts=1)
        for key, value in ledger.items():
            fold.restore(key, value)
        fold.restored()
        fold.work()
        done = not fold.tick_at_work
    assert len(told) == 3
    assert [sum(ticks) for ticks in told] == [0, 0, 1]
    assert told[-1][-1]


def test_a_tick_in_slices_with_restarts_gives_the_same_as_in_one_piece():
    lines = encode(a_log(3))
    assert fold_all(lines, slice_accounts=2, restart_every=10_000) == fold_all(lines)


def test_a_record_of_another_partition_is_forwarded_and_leaves_no_output():
    account = next(name for name in ACCOUNTS if partition_of(name.encode(), 4) == 2)
    fold = Fold(0, 4, SeenInMemory())
    (line,) = encode([subscription(account=account)])
    assert fold.fold(line, 0, key=b"hint")
    assert fold.forwards == [(2, account.encode(), line, 0)]
    assert not fold.outputs


def test_a_forwarded_record_in_a_wrong_partition_again_is_misrouted():
    account = next(name for name in ACCOUNTS if partition_of(name.encode(), 4) == 2)
    fold = Fold(0, 4, SeenInMemory())
    fold.fold(encode([subscription(account=account)])[0], 0, forwarded=True)
    assert fold.outputs[0][2].reason == "misrouted"


def test_state_of_another_version_is_refused():
    with pytest.raises(StateError, match="version 9"):
        Fold(0, None, SeenInMemory()).restore(b"position", b"\x09abc")


SUBSCRIBED = subscription()
BAD = {
    "not JSON": (b"{nope", "malformed"),
    "invalid UTF-8": (b'{"type":"tick","at":"\xff"}', "malformed"),
    "invalid UTF-8 where nobody looks": (b'{"type":"tick","at":"2026-01-01T00:00:00Z","x":"\xff"}', "malformed"),
    "a long fraction beside nesting nobody reads": (
        b'{"type":"tick","at":"2026-01-01T00:00:00.1234567Z","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", "malformed",
    ),
    "empty": (b"", "malformed"),
    "not an object": (b"[1,2]", "malformed"),
    "deeply nested": (b"[" * 100_000, "malformed"),
    "no type": ({"account_id": "acct_1"}, "malformed"),
    "unknown type": ({"type": "call.began", "account_id": "acct_1"}, "unknown_type"),
    "missing field": ({k: v for k, v in call(1).items() if k != "call_id"}, "malformed"),
    "wrong type": (call(1, cost_micros="12"), "malformed"),
    "a number with a fraction": (call(1, cost_micros=1.5), "malformed"),
    "a number beyond 2^53": (call(1, cost_micros=2**53 + 1), "malformed"),
    "a negative number": (pack(1, minutes=-1), "malformed"),
    "an id of 129 bytes": (call(1, campaign_id="x" * 129), "malformed"),
    "an id of 129 bytes in fewer characters": (call(1, campaign_id="é" * 65), "malformed"),
    "an empty id": (call(1, campaign_id=""), "malformed"),
    "a time without a zone": (call(1, ended="2026-11-03T10:10:00"), "malformed"),
    "seven fractional digits": (call(1, ended="2026-11-03T10:10:00.1234567Z"), "malformed"),
    "seven fractional digits, one spelled as an escape": (
        encode([call(1, ended="@")])[0].replace(b"@", rb"2026-11-03T10:10:00.123456\u0037Z"), "malformed",
    ),
    "more minutes than there are seconds": (subscription(fact="x", included_minutes=2**53 // 60 + 1), "malformed"),
    "a time before 2000": (call(1, answered="1999-12-31T23:59:59Z"), "malformed"),
    "a time after 2100": (tick("2100-01-01T00:00:00Z"), "malformed"),
    "too large": (b'{"type":"tick","x":"' + b"x" * 300_000 + b'"}', "too_large"),
    "ends before it is answered": (call(1, ended="2026-11-03T09:00:00Z"), "impossible_times"),
    "lasts longer than a day": (call(1, ended="2026-11-05T09:00:00Z"), "impossible_times"),
    "unknown account": (call(1, account="acct_2"), "no_subscription"),
    "another agency": (call(1, agency_id="ag_2"), "wrong_agency"),
    "before the subscription": (call(1, "2026-10-03T10:10:00Z", "2026-10-03T10:00:00Z"), "no_subscription"),
    "unknown zone": (subscription(fact="x", timezone="Mars/Olympus"), "malformed"),
    "second subscription": (subscription(fact="x", sub="sub_2"), "already_subscribed"),
    "pack in another currency": ({**pack(1), "currency": "EUR"}, "wrong_currency"),
    "unknown request": (
        fact("payment_request.settled", 1, payment_request_id="nope", status="paid"), "unknown_request",
    ),
    "wallet below zero": (fact("wallet.adjusted", 1, minutes=-5), "illegal_change"),
    "wallet without bounds": (pack(1, minutes=2**53), "out_of_range"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_a_dead_letter_and_the_next_record_is_rated(name):
    bad, reason = BAD[name]
    found = outputs(SUBSCRIBED, bad, call(2))
    assert [letter["reason"] for letter in found["dead-letters"]] == [reason]
    assert [rated["call_id"] for rated in found["rated-calls"]] == ["call_2"]


def test_a_fraction_of_seven_digits_elsewhere_than_in_a_time_is_no_matter():
    assert refused(SUBSCRIBED, call(1, from_number="sip:x@10.12345678")) == []


def test_a_dead_lettered_call_is_rated_when_it_comes_again():
    found = outputs(call(1), SUBSCRIBED, call(1), call(1))
    assert [letter["reason"] for letter in found["dead-letters"]] == ["no_subscription"]
    assert len(found["rated-calls"]) == len(found["duplicates"]) == 1


def test_a_late_call_draws_on_no_other_subscriptions_allowance():
    first = subscription(at="2026-10-31T05:36:17Z", sub="s3", included_minutes=1, late_window_s=86_400)
    second = subscription(
        at="2026-10-31T05:36:17Z", fact="again", sub="s5", interval="week", included_minutes=100,
        overage_micros_per_minute=119_999, minimum_s=61, connection_fee_micros=5_000,
    )  # fmt: skip
    cancel = {"subscription_id": "s3", "when": "now"}
    found = outputs(
        first,
        fact("subscription.canceled", 1, "2026-10-31T05:36:17Z", **cancel),
        second,
        fact("subscription.canceled", 2, "2026-10-31T11:36:17Z", subscription_id="s5", when="now"),
        tick("2026-11-01T11:36:17Z"),
        call(1, ended="2026-10-31T05:36:17Z", answered="2026-10-31T05:35:17Z"),
    )
    (rated,) = found["rated-calls"]
    assert (rated["allowance_s"], rated["overage_s"], rated["amount_micros"]) == (0, 61, 126_999)


def test_a_tick_far_ahead_needs_a_jump():
    far = "2027-06-01T00:00:00Z"
    assert refused(tick("2026-11-01T00:00:00Z"), tick(far)) == ["impossible_times"]
    assert refused(tick("2026-11-01T00:00:00Z"), tick(far, jump=True)) == []


def test_a_fact_told_twice_counts_once():
    found = outputs(SUBSCRIBED, pack(1), pack(1))
    assert [event["wallet_left_s"] for event in found["billing-events"] if event["type"] == "pack.credited"] == [3_600]


@pytest.mark.parametrize("retention_days", [90, 1, 0])
@pytest.mark.parametrize(
    ("days", "sent_again", "becomes"),
    [
        (89, False, "rated-calls"),
        (89, True, "duplicates"),
        # The index of rated calls has forgotten by now; rating it could be the second time.
        (91, True, "expired"),
        (91, False, "expired"),
    ],
)
def test_a_redriven_call_is_rated_only_while_it_is_known_whether_it_was_rated_since(
    days, sent_again, becomes, retention_days
):
    refused_at = datetime(2026, 11, 3, 12, tzinfo=UTC)
    log = [
        {"type": "rules.set", "at": refused_at.isoformat(), "duplicate_retention_days": retention_days},
        tick(refused_at.isoformat()),
        call(1),
        subscription(),
        tick("2026-11-03T12:00:01Z"),
        *([call(1)] if sent_again else []),
        tick((refused_at + timedelta(days=days)).isoformat(), jump=True),
    ]
    assert redriven(log, refused_at) == becomes


@pytest.mark.parametrize(("refused_days", "becomes"), [(1, "duplicates"), (2, "rated-calls")])
def test_a_redriven_call_is_a_duplicate_of_one_before_it_as_it_was_when_it_first_came(refused_days, becomes):
    """The id was used again: within the retention of a day, or not."""
    rated_at = datetime(2026, 11, 3, 12, tzinfo=UTC)
    refused_at = rated_at + timedelta(days=refused_days)
    log = [
        {"type": "rules.set", "at": rated_at.isoformat(), "duplicate_retention_days": 1, "max_call_s": 86_400},
        subscription(),
        tick(rated_at.isoformat()),
        call(1),
        tick(refused_at.isoformat()),
        {"type": "rules.set", "at": refused_at.isoformat(), "max_call_s": 1},
        call(1),
        {"type": "rules.set", "at": refused_at.isoformat(), "max_call_s": 86_400},
        tick((refused_at + timedelta(days=9)).isoformat()),
    ]
    assert redriven(log, refused_at) == becomes


def redriven(log, refused_at):
    """What becomes of the only letter of a log, when it is re-driven: topic, or reason of another letter."""
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(encode(log)):
        assert fold.fold(line, offset)
    (letter,) = [value for topic, _, value in fold.outputs if topic == "dead-letters"]
    assert letter.clock == refused_at
    fold.outputs.clear()
    assert fold.fold(letter.value, len(log), refused_s=int(letter.clock.timestamp()))
    (topic, _, value), *_ = fold.outputs
    return value.reason if topic == "dead-letters" else topic


def test_a_jump_over_years_is_folded_in_slices_by_what_it_gives_out(monkeypatch):
    monkeypatch.setattr("rating.ticks.SLICE_OUTPUTS", 100)
    fold = Fold(0, None, SeenInMemory())
    facts = [subscription(account=f"acct_{n}", interval="day") for n in range(8)]
    *first, jump = encode([*facts, tick("2026-11-01T00:00:00Z"), tick("2027-02-01T00:00:00Z", jump=True)])
    for offset, line in enumerate(first):
        assert fold.fold(line, offset)
    slices = []
    while True:
        fold.outputs.clear()
        done = fold.fold(jump, len(first))
        slices.append(len(fold.outputs))
        if done:
            break
    # Each account opens and closes a period a day.
    assert slices == [2 * 92] * 8 or slices == [2 * 92] * 7 + [2 * 92, 0]
    assert fold.position == len(first) + 1


def test_periods_that_close_out_of_order_close_when_they_are_due():
    long, short = {"late_window_s": 10 * 86_400}, {"interval": "day", "late_window_s": 0}
    found = outputs(
        subscription(**long),
        fact("subscription.canceled", 1, at="2026-11-05T00:00:00Z", subscription_id="sub_1", when="now"),
        subscription("2026-11-05T00:00:00Z", fact="again", sub="sub_2", **short),
        tick("2026-11-07T00:00:00Z"),
        tick("2026-11-16T00:00:00Z"),
    )
    closed = [event for event in found["billing-events"] if event["type"] == "cycle.closed"]
    ids = [event["subscription_id"] for event in closed]
    assert ids == ["sub_2"] * 9 + ["sub_1"] + ["sub_2"] * 2


def test_what_is_due_after_2100_is_asked_for():
    request = {
        "payment_request_id": "r", "kind": "pack", "currency": "USD", "lines": [], "subtotal_micros": 0,
        "rounding_micros": 0, "total_micros": 0, "due_at": "2130-01-01T00:00:00Z",
        "grace_ends_at": "2230-01-01T00:00:00Z",
    }  # fmt: skip
    assert refused(SUBSCRIBED, {**fact("payment_request.created", 1), **request}) == []


def test_an_amount_at_its_bound_is_asked_for_though_it_is_rounded_up():
    line = {
        "line_id": "pack", "kind": "pack", "description": "", "quantity": 1, "unit": "pack", "unit_price_micros": 2**53,
        "amount_micros": 2**53,
    }  # fmt: skip
    request = {
        "payment_request_id": "r", "kind": "pack", "currency": "USD", "lines": [line], "subtotal_micros": 2**53,
        "rounding_micros": 9_008, "total_micros": 2**53 + 9_008, "due_at": "2026-12-01T00:00:00Z",
        "grace_ends_at": "2026-12-01T00:00:00Z",
    }  # fmt: skip
    assert refused(SUBSCRIBED, {**fact("payment_request.created", 1), **request}) == []


@pytest.mark.parametrize(("days", "refusals"), [(90, []), (91, ["malformed"])])
def test_no_rule_asks_for_more_than_is_known_of_rated_calls(days, refusals):
    rules = {"type": "rules.set", "at": "2026-11-03T12:00:00Z", "duplicate_retention_days": days}
    assert refused(rules) == refusals


def test_the_same_id_in_two_accounts_is_rated_twice():
    start = [subscription(), subscription(account="acct_2", fact="other", sub="sub_2")]
    later = call(1, "2026-11-04T10:10:00Z", "2026-11-04T10:00:00Z", account="acct_2")
    given = outputs(*start, call(1), call(1, account="acct_2"), call(1), later)
    assert [(value["account_id"], value["call_id"]) for value in given["rated-calls"]] == [
        ("acct_1", "call_1"),
        ("acct_2", "call_1"),
    ]
    assert [(value["account_id"], value["source_first_offset"]) for value in given["duplicates"]] == [
        ("acct_1", 2),
        ("acct_2", 3),
    ]


def test_what_restored_accounts_have_in_common_is_kept_once():
    log = encode([tick("2026-11-01T00:00:00Z")] + [subscription(account=f"acct_{n}", sub=f"sub_{n}") for n in range(3)])
    fold, again = Fold(0, None, SeenInMemory()), Fold(0, None, SeenInMemory())
    for offset, value in enumerate(log):
        fold.fold(value, offset)
    for key, value in fold.drain_ledger():
        again.restore(key, value)
    again.restored()
    first, *others = [again.books.account(f"acct_{n}") for n in range(3)]
    assert len(others) == 2
    for other in others:
        for name in ("agency_id", "currency"):
            assert getattr(other, name) is getattr(first, name)
        for name in ("plan", "status", "anchor", "terms_id"):
            assert getattr(other.subscription, name) is getattr(first.subscription, name)
        for name in ("start", "end", "terms_id", "included_s"):
            assert getattr(other.periods[0], name) is getattr(first.periods[0], name)
        assert other.periods[0].subscription_id is other.subscription.subscription_id
        assert other.subscription.subscription_id != first.subscription.subscription_id
