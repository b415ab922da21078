"""The second fold: totals of agencies are the sums of the rated calls, and their caps turn all accounts off and on."""

import json
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rating.agencies import TOTALS, AgencyFold, totals_row
from rating.fold import Fold
from rating.partitioner import partition_of
from rating.seen import SeenInMemory
from tests.oracle.strategies import written_log
from tests.rating.builders import call, encode, outputs, pack, subscription, tick
from tests.rating.test_payments import asked

SUMS = ("calls", "billed_s", "amount_micros", "cost_micros", "margin_micros")


def caps_set(number, *caps, agency="ag_1", at="2026-11-02T00:00:00Z"):
    return {"type": "agency.caps_set", "fact_id": f"caps_{number}", "agency_id": agency, "at": at, "caps": list(caps)}


def cap(on, limit, name="one", **fields):
    return {"name": name, "on": on, "limit": limit, **fields}


def minute(number, account="acct_1", at="2026-11-03T10:01:00Z", **fields):
    return call(number, ended=at, answered=at.replace(":01:", ":00:"), account=account, **fields)


class World:
    """Partitions of accounts, and partitions of agencies behind them: nothing is told but by records."""

    def __init__(self, partitions, agency_partitions=None):
        self.count = partitions
        self.folds = [Fold(n, partitions, SeenInMemory()) for n in range(partitions)]
        self.agencies = [AgencyFold(n, partitions) for n in range(partitions)]
        self.offsets = [0] * partitions
        self.agency_offsets = [0] * partitions
        self.rated = []
        self.rows = {}
        self.letters = []

    def send(self, partition, value):
        fold = self.folds[partition]
        while not fold.fold(value, self.offsets[partition]):
            self.commit(partition)
        self.offsets[partition] += 1

    def commit(self, partition):
        fold = self.folds[partition]
        self.rated += [msgspec.json.decode(value) for topic, _, value in fold.outputs if topic == "rated-calls"]
        fold.outputs.clear()
        for agency_id, value in fold.drain_agencies():
            homes = range(self.count) if agency_id is None else [partition_of(agency_id.encode(), self.count)]
            for home in homes:
                self.agencies[home].fold(value, self.agency_offsets[home])
                self.agency_offsets[home] += 1
        fold.drain_ledger()

    def settle(self):
        for agencies in self.agencies:
            self.letters += [output for output in agencies.outputs if output[0] == "dead-letters"]
            agencies.outputs.clear()
            for key, value in agencies.drain_ledger():
                if key.startswith(TOTALS):
                    self.rows[key] = totals_row(key, value)

    def totals(self):
        found = defaultdict(Counter)
        for row in self.rows.values():
            found[row["agency_id"], row["currency"]].update({name: row[name] for name in SUMS})
        return dict(found)

    def expected(self):
        found = defaultdict(Counter)
        for one in self.rated:
            sums = found[one["agency_id"], one["currency"]]
            sums.update(calls=1, billed_s=one["billed_s"], amount_micros=one["amount_micros"])
            known = one["margin_micros"] is not None
            margin = one["margin_micros"] if known else 0
            sums.update(margin_micros=margin, cost_micros=one["amount_micros"] - margin if known else 0)
        return dict(found)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9))
def test_totals_are_the_sums_of_rated_calls_whatever_the_partitions_and_transactions(seed, partitions, batch):
    world = World(partitions)
    for number, line in enumerate(written_log(seed, 80)):
        try:
            account = json.loads(line)["account_id"]
            partition = partition_of(account.encode(), partitions)
        except (ValueError, KeyError, TypeError, RecursionError, AttributeError):
            partition = None
        for one in range(partitions) if partition is None else [partition]:
            world.send(one, line)
        if number % batch == 0:
            world.commit(number % partitions)
        if number % 17 == 0:
            world.settle()
            world.agencies = [restored(agencies, partitions) for agencies in world.agencies]
    for partition in range(partitions):
        world.commit(partition)
    world.settle()
    assert world.letters == []
    assert world.totals() == world.expected()
    wallets = Counter()
    for fold in world.folds:
        for account_id in fold.books.accounts:
            account = fold.books.account(account_id)
            wallets[account.agency_id] += account.wallet_s
    told = {key: one.wallet_s for agencies in world.agencies for key, one in agencies.agencies.items()}
    assert {key: value for key, value in told.items() if value} == {k: v for k, v in wallets.items() if v}


def restored(agencies, partitions):
    """The same fold, out of a ledger that has its state."""
    agencies._touched = dict(agencies.agencies)
    agencies._touched_histories = set(agencies.histories)
    again = AgencyFold(agencies.partition, partitions)
    for key, value in agencies.drain_ledger():
        again.restore(key, value)
    again.restored()
    assert (again.position, again.clock) == (agencies.position, agencies.clock)
    assert again.agencies == agencies.agencies
    return again


def test_the_clock_is_the_slowest_partitions_and_nothing_closes_before_it():
    fold = AgencyFold(0, 2)

    def told(partition, at):
        fold.fold(json.dumps({"type": "agency.tick", "at": at, "source_partition": partition}).encode(), 0)

    def delta(month, partition=0, **fields):
        start, end = datetime(2026, month, 1, tzinfo=UTC), datetime(2026, month + 1, 1, tzinfo=UTC)
        fact = {
            "type": "agency.delta", "agency_id": "ag", "at": start.isoformat(), "period_start": start.isoformat(),
            "period_end": end.isoformat(), "currency": "USD", "calls": 1, "billed_s": 60,
            "source_partition": partition, "source_offset": 0, **fields,
        }  # fmt: skip
        fold.fold(json.dumps(fact).encode(), 0)

    delta(10)
    told(0, "2026-11-01T02:00:00Z")
    assert fold.clock is None
    told(1, "2026-10-31T23:00:00Z")
    agency = fold.agencies["ag"]
    assert [period.start.month for period in agency.periods] == [10]
    told(1, "2026-11-01T00:30:00Z")
    assert [period.start.month for period in agency.periods] == [10, 11]
    delta(10, 1)
    told(1, "2026-11-01T01:00:00Z")
    assert [period.start.month for period in agency.periods] == [11]
    delta(10, 1)
    rows = [totals_row(key, value) for key, value in fold.drain_ledger() if key.startswith(TOTALS)]
    assert [(row["period_start"].month, row["calls"], row["late_calls"], row["closed"]) for row in rows] == [
        (10, 2, 0, True),
        (11, 1, 1, False),
    ]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(1, 9))
def test_payment_requests_are_numbered_without_gaps_in_each_agency_and_year(seed, partitions, batch):
    """Whatever the partitions and transactions; a second fold that is lost before its commit does it again."""
    rnd, world = random.Random(seed), Numbering(partitions)
    for number in range(12):
        account, agency = f"acct_{number}", f"ag_{number % 2}"
        world.send_fact(subscription(account=account, agency=agency))
        for n in range(rnd.randrange(4)):
            one = {**asked(f"r{n}", account=account), "agency_id": agency}
            world.send_fact({**one, "at": rnd.choice(("2026-12-31T23:00:00Z", "2027-01-01T00:00:00Z"))})
        if number % batch == 0:
            world.commit(number % partitions)
        if rnd.random() < 0.3:
            world.lose()
        if rnd.random() < 0.3:
            world.settle()
    for partition in range(partitions):
        world.commit(partition)
    world.settle()
    for partition in range(partitions):
        world.commit(partition)
    found = defaultdict(list)
    for request in world.requests.values():
        year, _, place = request["number"].partition("-")
        found[request["agency_id"], year].append(int(place))
        assert year == request["created_at"][:4]
    assert all(sorted(places) == list(range(1, len(places) + 1)) for places in found.values())
    assert sum(map(len, found.values())) == world.asked


class Numbering(World):
    """The second fold gives numbers to the first one: both through records, each step of it a transaction."""

    def __init__(self, partitions):
        super().__init__(partitions)
        self.asked = 0
        self.requests = {}
        # What the second fold has read, by partition, since it was stored last.
        self.stored = [{} for _ in range(partitions)]
        self.told = [[] for _ in range(partitions)]

    def send_fact(self, one):
        self.asked += one["type"] == "payment_request.created"
        self.send(partition_of(one["account_id"].encode(), self.count), json.dumps(one).encode())

    def commit(self, partition):
        fold = self.folds[partition]
        for topic, _, value in fold.outputs:
            assert topic != "dead-letters", value
            if topic == "payment-requests":
                request = json.loads(value)
                self.requests[request["account_id"], request["payment_request_id"]] = request
        fold.outputs.clear()
        for agency_id, value in fold.drain_agencies():
            for home in range(self.count) if agency_id is None else [partition_of(agency_id.encode(), self.count)]:
                self.told[home].append(value)
                self.agencies[home].fold(value, self.agency_offsets[home] + len(self.told[home]) - 1)
        fold.drain_ledger()

    def lose(self):
        """Killed before it stored anything: it begins anew where its ledger stands."""
        for home, told in enumerate(self.told):
            self.agencies[home] = AgencyFold(home, self.count)
            for record in self.stored[home].items():
                self.agencies[home].restore(*record)
            self.agencies[home].restored()
            for offset, value in enumerate(told, self.agency_offsets[home]):
                self.agencies[home].fold(value, offset)

    def settle(self):
        for home, agencies in enumerate(self.agencies):
            self.stored[home].update(agencies.drain_ledger())
            self.agency_offsets[home] += len(self.told[home])
            self.told[home].clear()
            numbered, agencies.numbered = agencies.numbered, []
            for partition, key, value in numbered:
                assert partition_of(key, self.count) == partition
                self.send(partition, value)


def test_what_is_to_be_numbered_for_a_partition_that_is_not_there_is_refused():
    fold = AgencyFold(0, 2)
    content = {"type": "agency.request", "agency_id": "ag", "account_id": "a", "payment_request_id": "r", "year": 2026}
    more = {"at": "2026-11-01T00:00:00Z", "source_partition": 2, "source_offset": 0}
    fold.fold(json.dumps({**content, **more}).encode(), 0)
    assert (fold.numbered, fold.agencies, fold.outputs[0][2].reason) == ([], {}, "malformed")


PAYG = [
    subscription(account=f"acct_{n}", fact=f"start_{n}", sub=f"sub_{n}", included_minutes=0) for n in (1, 2)
]  # fmt: skip


def access(*facts):
    return [(event["account_id"], event["reasons"]) for event in outputs(*facts)["access-events"]]


def test_a_hard_cap_turns_all_accounts_off_and_a_raised_one_on_again():
    facts = (
        *PAYG, caps_set(1, cap("minutes", 2)), minute(1), minute(2, "acct_2"), minute(3, "acct_2"),
        caps_set(2, cap("minutes", 5)),
    )  # fmt: skip
    off = ["agency_cap_reached"]
    assert access(*facts) == [("acct_1", off), ("acct_2", off), ("acct_1", []), ("acct_2", [])]
    found = outputs(*facts)
    assert len(found["rated-calls"]) == 3
    alerts = [(one["agency_id"], one["alert_id"], one["level"], one["used"], one["limit"]) for one in found["alerts"]]
    assert alerts == [("ag_1", "ag_1:20261101T000000Z:period:one:100", 100, 120, 120)][:0] + [
        ("ag_1", f"ag_1:20261101T000000Z:period:one:{level}", level, 120, 120) for level in (80, 100)
    ]
    assert found["dead-letters"] == []


def test_the_next_period_and_the_next_day_turn_them_on_again():
    daily = caps_set(1, cap("minutes", 1, per="day"), at="2026-11-03T00:00:00Z")
    first = *PAYG, tick("2026-11-03T00:00:00Z"), daily, minute(1)
    assert [reasons for _, reasons in access(*first, tick("2026-11-03T23:59:00Z"))] == [["agency_cap_reached"]] * 2
    assert [reasons for _, reasons in access(*first, tick("2026-11-04T00:00:00Z"))][2:] == [[], []]
    period = *PAYG, tick("2026-11-03T00:00:00Z"), caps_set(1, cap("spend", 1, currency="USD")), minute(1)
    assert [reasons for _, reasons in access(*period, tick("2026-12-01T00:00:00Z", jump=True))][2:] == [[], []]


def test_who_comes_later_is_off_too_and_other_agencies_are_not():
    other = subscription(account="acct_9", agency="ag_2", fact="nine", sub="sub_9")
    third = subscription(account="acct_3", fact="three", sub="sub_3")
    facts = *PAYG, other, caps_set(1, cap("minutes", 0)), third
    assert access(*facts) == [(f"acct_{n}", ["agency_cap_reached"]) for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("on", "limit", "off"),
    [("spend", 120_000, True), ("spend", 120_001, False), ("cost", 50_000, True), ("margin", 70_000, True)],
)
def test_money_is_held_against_accounts_of_the_currency(on, limit, off):
    capped = caps_set(1, cap(on, limit, currency="USD"))
    assert bool(access(*PAYG, capped, minute(1, cost_micros=50_000))) == off
    foreign = caps_set(1, cap(on, max(limit, 1), currency="EUR"))
    assert access(*PAYG, foreign, minute(1, cost_micros=50_000)) == []


def test_a_wallet_of_all_accounts():
    facts = *PAYG, pack(1, minutes=2), caps_set(1, cap("wallet", 1, alerts_percent=[100])), minute(1)
    assert access(*facts) == [("acct_1", ["agency_cap_reached"]), ("acct_2", ["agency_cap_reached"])]
    assert access(*facts, pack(2, minutes=2))[2:] == [("acct_1", []), ("acct_2", [])]


def test_many_accounts_are_turned_off_slice_by_slice_and_a_restart_does_the_rest():
    folds = [Fold(0, None, SeenInMemory(), slice_accounts=3) for _ in range(2)]
    ledger = {}
    starts = [subscription(account=f"acct_{n}", fact=f"f{n}", sub=f"s{n}") for n in range(8)]
    for offset, line in enumerate(encode(starts)):
        assert folds[0].fold(line, offset)
    off = {"type": "agency.access", "fact_id": "x", "agency_id": "ag_1", "at": "2026-11-02T00:00:00Z", "sequence": 1}
    line = json.dumps({**off, "allowed": False}).encode()
    folds[0].outputs.clear()
    assert not folds[0].fold(line, 8)
    ledger.update(folds[0].drain_ledger())
    for key, value in ledger.items():
        folds[1].restore(key, value)
    folds[1].restored()
    slices = 1
    while not folds[1].fold(line, 8):
        slices += 1
    assert slices == 3
    keys = [key for fold in folds for topic, key, _ in fold.outputs if topic == "access-events"]
    assert sorted(keys) == sorted(f"acct_{n}".encode() for n in range(8))


def test_two_facts_at_one_offset_are_both_carried_out():
    """As in a simulation, where what the second fold says is of the offset of the call that made it say so."""
    fold = Fold(0, None, SeenInMemory(), slice_accounts=3)
    for offset, line in enumerate(encode([subscription(account=f"acct_{n}", fact=f"f{n}") for n in range(4)])):
        assert fold.fold(line, offset)
    fact = {"type": "agency.access", "fact_id": "x", "agency_id": "ag_1", "at": "2026-11-02T00:00:00Z"}
    for sequence, allowed in ((1, False), (2, True)):
        fold.outputs.clear()
        line = json.dumps({**fact, "sequence": sequence, "allowed": allowed}).encode()
        while not fold.fold(line, 9):
            pass
        said = [json.loads(value)["allowed"] for topic, _, value in fold.outputs if topic == "access-events"]
        assert said == [allowed] * 4


def test_an_older_fact_changes_nothing():
    def fact(number, allowed):
        return {
            "type": "agency.access", "fact_id": f"x{number}", "agency_id": "ag_1", "at": "2026-11-02T00:00:00Z",
            "sequence": number, "allowed": allowed,
        }  # fmt: skip

    assert access(*PAYG, fact(2, True), fact(1, False)) == []


@pytest.mark.parametrize(
    "caps",
    [
        [cap("spend", 1)],
        [cap("minutes", 1, currency="USD")],
        [cap("cost", -1, currency="USD")],
        [cap("minutes", 1)] * 2,
    ],
)
def test_caps_that_make_no_sense_are_no_fact(caps):
    assert [letter["reason"] for letter in outputs(caps_set(1, *caps))["dead-letters"]] == ["malformed"]


WHOLESALE = {
    "currency": "USD", "rate_micros_per_minute": 30_001, "increments": "6/6", "interval": "week", "price_micros": 7,
    "included_minutes": 3, "number_price_micros": 1_000_000,
}  # fmt: skip


def wholesale_set(number, at="2026-11-02T00:00:00Z", agency="ag_1", **terms):
    terms = {**WHOLESALE, **terms}
    return {"type": "wholesale.set", "fact_id": f"w{number}", "agency_id": agency, "at": at, "terms": terms}


def told_of_billing(world):
    outputs = [output for agencies in world.agencies for output in agencies.outputs if output[0] == "billing-events"]
    return [msgspec.json.decode(value) for _, _, value in outputs]


@settings(max_examples=15, deadline=None)
@given(st.randoms(use_true_random=True), st.integers(1, 4), st.booleans())
def test_an_agency_is_asked_for_what_its_calls_cost_in_whatever_order_partitions_deliver(random, partitions, restores):
    world, accounts = World(partitions), [f"acct_{number}" for number in range(6)]
    home = {account: partition_of(account.encode(), partitions) for account in accounts}
    asked = []

    def everywhere(fact):
        for partition in random.sample(range(partitions), partitions):
            world.send(partition, encode([fact])[0])
            if random.random() < 0.7:
                world.commit(partition)

    everywhere({"type": "rules.set", "at": "2026-11-01T00:00:00Z", "max_future_s": 3_000_000})
    everywhere(tick("2026-11-01T00:00:00Z"))
    for account in accounts:
        world.send(home[account], encode([subscription("2026-11-01T00:00:00Z", account, sub=f"sub_{account}")])[0])
    everywhere(wholesale_set(1))
    for day in range(2, 30):
        if day == 11:
            everywhere(wholesale_set(2, "2026-11-11T12:00:00Z", rate_micros_per_minute=70_000, interval="day"))
        for number in range(random.randrange(6)):
            account, ended = random.choice(accounts), random.randint(max(2, day - 9), day)
            minute = f"{random.randrange(60):02}"
            fact = call(
                f"{day}-{number}", account=account, answered=f"2026-11-{ended:02}T10:00:00Z",
                ended=f"2026-11-{ended:02}T10:{minute}:01Z", cost_micros=random.choice((None, 5_000)),
            )  # fmt: skip
            world.send(home[account], encode([fact])[0])
        everywhere(tick(f"2026-11-{day:02}T23:00:00Z"))
        asked += told_of_billing(world)
        world.settle()
        if restores:
            world.agencies = [restored(agencies, partitions) for agencies in world.agencies]
    for partition in range(partitions):
        world.commit(partition)
    everywhere(tick("2026-12-20T00:00:00Z"))
    for partition in range(partitions):
        world.commit(partition)
    asked += told_of_billing(world)
    closed = [event for event in asked if event["type"] == "agency.cycle_closed"]
    costs = [one for one in world.rated if one.get("cost_source")]
    assert sum(event["usage_micros"] for event in closed) == sum(one["cost_micros"] for one in costs)
    assert sum(event["calls"] + event["reported_calls"] for event in closed) == len(costs)
    opened = [event["period_start"] for event in asked if event["type"] == "agency.cycle_opened"]
    assert len(opened) == len(set(opened))
    # Weeks until the one is over that the other terms were set in, then days.
    assert [event["period_start"][:10] for event in closed[:4]] == [
        "2026-11-02", "2026-11-09", "2026-11-16", "2026-11-17",
    ]  # fmt: skip


def test_an_agency_that_was_written_before_there_were_wholesale_periods_is_read():
    start, end = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    totals = {"USD": [3, 0, 180, 5, 0, 0]}
    old = ["ag", [[start, end, totals, {}]], [], None, 60, [], False, 0, 0, ["caps_1"], None]
    fold = AgencyFold(0, 1)
    fold.restore(b"agency\0ag", b"\1" + msgspec.msgpack.encode(old))
    fold.restored()
    agency = fold.agencies["ag"]
    assert (agency.periods[0].totals["USD"].calls, agency.periods[0].terms, agency.wallet_s) == (3, None, 60)
    # It is billed from the start of the period that is open, by terms that began before it.
    told = {**wholesale_set(1, "2026-10-15T00:00:00Z", "ag", interval="month"), "type": "agency.wholesale_set"}
    fold.fold(json.dumps({**told, "source_partition": 0, "source_offset": 0}).encode(), 0)
    [(topic, _, value)] = fold.outputs
    event = msgspec.json.decode(value)
    assert (topic, event["period_start"], event["period_end"]) == (
        "billing-events", "2026-11-01T00:00:00Z", "2026-11-15T00:00:00Z",
    )  # fmt: skip
    # 14 of 31 days of 7 micros, and of 3 minutes.
    assert (event["price_micros"], event["included_s"]) == (7 * 14 // 31, 180 * 14 // 31)
    # Every partition tells it.
    fold.fold(json.dumps({**told, "source_partition": 0, "source_offset": 0}).encode(), 1)
    assert len(fold.outputs) == 1
    # A rented number is settled with its last period, and taken out of the ledger.
    own = {"agency_id": "ag", "account_id": "a\0b", "number": "+1", "source_partition": 0, "source_offset": 0}
    for kind, at in (("rented", "2026-11-02T00:00:00Z"), ("released", "2026-11-03T00:00:00Z")):
        fold.fold(json.dumps({"type": f"agency.number_{kind}", "at": at, **own}).encode(), 2)
    assert [key for key, value in fold.drain_ledger() if key.startswith(b"number\0") and value]
    fold.fold(b'{"type":"agency.tick","at":"2026-11-15T01:00:00Z","source_partition":0}', 3)
    closed = [msgspec.json.decode(value) for _, _, value in fold.outputs[1:]]
    assert [event["type"] for event in closed] == ["agency.cycle_opened", "agency.cycle_closed"]
    # The 15th of October to the 15th of November are 31 days, though half of them are billed.
    assert [(line["quantity"], line["amount_micros"]) for line in closed[1]["lines"]] == [(1, 1_000_000 // 31)]
    gone = [(key, value) for key, value in fold.drain_ledger() if key.startswith(b"number\0")]
    assert [value for _, value in gone] == [None]
    fold.restore(*gone[0])
