"""Corrections: what is corrected back is as it was, and what is voided was never used."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from random import Random

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rating.fold import Fold
from rating.outputs import RATED_CALLS, DeadLetter
from rating.seen import SeenInMemory
from tests.oracle.strategies import written_log
from tests.rating.builders import call, encode, fact, outputs, pack, refused, subscription, tick

COUNTERS = (
    "calls", "late_calls", "billed_s", "allowance_s", "allowance_left_s", "wallet_s", "credit_micros", "overage_s",
    "written_off_s", "overage_micros", "fee_micros",
)  # fmt: skip
NOT_CALL = ("call_id", "type")
CONTENT = (
    "agency_id", "campaign_id", "agent_id", "direction", "from_number", "to_number", "started_at", "answered_at",
    "ended_at", "outcome", "test", "tier", "cost_micros", "cost_currency",
)  # fmt: skip


class Log:
    """A fold, and how its calls stand rated."""

    def __init__(self, lines):
        self.fold = Fold(0, None, SeenInMemory())
        self.rated = {}
        self.standing = set()
        # Beyond the retention of duplicates a call may be rated twice, and is two then.
        self.twice = set()
        self.refusals = []
        for line in lines:
            self.take(line)

    def take(self, line):
        value = line if isinstance(line, bytes) else json.dumps(line).encode()
        call_id, account_id = self.fold.corrected_call(value), None
        if call_id is not None:
            account_id = json.loads(value)["account_id"]
        rated = self.rated.get((account_id, call_id))
        done = False
        while not done:
            done = self.fold.fold(value, self.fold.position, rated=rated and rated[0])
            for topic, _, output in self.fold.outputs:
                if topic == RATED_CALLS:
                    told = json.loads(output)
                    first = self.rated.get((told["account_id"], told["call_id"]))
                    name = told["account_id"], told["call_id"]
                    if told.get("correction") == "refund":
                        self.standing.discard(name)
                    else:
                        if "correction" not in told and name in self.rated:
                            self.twice.add(name[0])
                        self.standing.add(name)
                        kept = output if "correction" not in told or first is None else first[0]
                        self.rated[told["account_id"], told["call_id"]] = kept, told
                elif isinstance(output, DeadLetter):
                    self.refusals.append(output.reason)
            self.fold.outputs.clear()

    def balances(self, account_id):
        account = self.fold.books.account(account_id)
        last = account.last_closed
        return {
            "wallet_s": account.wallet_s,
            "credit_micros": account.credit_micros,
            "waiting": sum(line.amount_micros for line in account.lines),
            "periods": {period.start: [getattr(period, name) for name in COUNTERS] for period in account.periods},
            "last_closed": last and (last.start, last.allowance_left_s),
        }


def corrected(told, number, at="2027-01-01T00:00:00Z", **fields):
    content = {name: told[name] for name in CONTENT}
    own = {"account_id": told["account_id"], "fact_id": f"correction_{number}", "at": at}
    return {"type": "call.corrected", **own, "corrects": told["call_id"], **content, **fields}


def voided(told, number, at="2027-01-01T00:00:00Z"):
    own = {"account_id": told["account_id"], "agency_id": told["agency_id"], "fact_id": f"void_{number}", "at": at}
    return {"type": "call.voided", **own, "call_id": told["call_id"]}


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**40), st.integers(10, 70), st.data())
def test_correcting_a_call_and_correcting_it_back_restores_every_balance(seed, size, data):
    log = Log(written_log(seed, size))
    if not log.standing:
        return
    account_id, call_id = data.draw(st.sampled_from(sorted(log.standing)))
    told = log.rated[account_id, call_id][1]
    random = Random(data.draw(st.integers(0, 2**20)))
    ended = datetime.fromisoformat(told["ended_at"])
    seconds = random.choice((0, 1, 59, 60, 61, 600, 3_000))
    begun = (ended - timedelta(seconds=seconds)).isoformat()
    change = random.choice(
        (
            {"started_at": begun, "answered_at": begun},
            {"outcome": random.choice(("answered", "voicemail", "failed", "busy"))},
            {"cost_micros": random.choice((None, 1, 10**6)), "test": True},
        )
    )
    before, refusals = log.balances(account_id), len(log.refusals)
    if random.random() < 0.3:
        log.take(voided(told, 1))
    else:
        log.take(corrected(told, 1, **change))
    if random.random() < 0.3:
        # There and back again in between.
        log.take(corrected(told, 2, outcome="no_answer", answered_at=None))
        log.take(corrected(told, 3, **change))
        log.take(corrected(told, 4, outcome="no_answer", answered_at=None))
        log.take(corrected(told, 5, **change))
        log.take(voided(told, 6))
        log.take(corrected(told, 8, **change))
    log.take(corrected(told, 7))
    if len(log.refusals) == refusals:
        assert log.balances(account_id) == before


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**40), st.integers(10, 70))
def test_voiding_all_calls_makes_the_usage_of_every_period_0(seed, size):
    log = Log(written_log(seed, size))
    for number, name in enumerate(sorted(log.standing)):
        log.take(voided(log.rated[name][1], number))
    refused = log.refusals.count("out_of_range")
    for account_id in log.fold.books.accounts.keys() - log.twice:
        account = log.fold.books.account(account_id)
        for period in account.periods:
            used = [getattr(period, name) for name in COUNTERS if name != "allowance_left_s"]
            assert refused or used == [0] * len(used)
            assert refused or period.allowance_left_s == period.included_s


def test_voiding_all_calls_of_a_period_makes_its_usage_0_and_gives_its_pools_back():
    facts = [
        subscription(included_minutes=10, connection_fee_micros=5_000),
        pack(1, minutes=5),
        call("a"),
        call("b"),
        call("c"),
        *(fact("call.voided", n, call_id=f"call_{n}") for n in "bac"),
        tick("2026-12-01T00:00:00Z"),
    ]
    given = outputs(*facts)
    assert not given["dead-letters"]
    closed = next(event for event in given["billing-events"] if event["type"] == "cycle.closed")
    assert [closed[name] for name in ("calls", "billed_s", "allowance_s", "wallet_s", "usage_micros")] == [0] * 5
    last = given["rated-calls"][-1]
    assert (last["allowance_left_s"], last["wallet_left_s"]) == (600, 300)
    for name in ("billed_s", "amount_micros", "duration_s", "fee_micros"):
        assert sum(one[name] for one in given["rated-calls"]) == 0


def test_a_call_that_was_never_rated_cannot_be_corrected():
    facts = [subscription(), call("a", account="acct_1")]
    assert refused(*facts, fact("call.voided", 1, call_id="call_x")) == ["unknown_call"]
    twice = [fact("call.voided", number, call_id="call_a") for number in (1, 2)]
    assert refused(*facts, *twice) == ["illegal_change"]
    assert refused(*facts, twice[0], twice[0]) == []


def test_a_correction_of_a_closed_period_is_lines_of_the_next_request():
    changed = {
        name: value for name, value in call("a", "2026-11-03T10:30:00Z").items() if name not in ("call_id", "type")
    }
    facts = [
        subscription(included_minutes=0),
        call("a"),
        tick("2026-12-01T00:00:00Z"),
        {**changed, **fact("call.corrected", 1, at="2026-12-02T00:00:00Z"), "corrects": "call_a"},
        tick("2027-01-01T00:00:00Z"),
    ]
    given = outputs(*facts)
    opened = [event for event in given["billing-events"] if event["type"] in ("cycle.opened", "cycle.closed")][-2:]
    lines = [line for event in opened for line in event["lines"] if line["kind"] == "adjustment"]
    assert [line["amount_micros"] for line in lines] == [-1_200_000, 3_600_000]
    assert [one.get("correction") for one in given["rated-calls"]] == [None, "refund", "rerated"]
    assert sum(one["amount_micros"] for one in given["rated-calls"]) == 3_600_000


def test_corrections_survive_a_restore():
    lines = encode([subscription(), call("a"), fact("call.voided", 1, call_id="call_a")])
    log = Log(lines)
    fold = Fold(0, None, SeenInMemory())
    for key, value in log.fold.drain_ledger():
        fold.restore(key, value)
    fold.restored()
    again = {name: value for name, value in call("a").items() if name not in NOT_CALL}
    line = json.dumps({**again, **fact("call.corrected", 2), "corrects": "call_a"}).encode()
    assert fold.corrected_call(line) is None
    fold.fold(line, fold.position)
    assert [json.loads(value)["correction"] for topic, _, value in fold.outputs if topic == RATED_CALLS] == ["rerated"]
