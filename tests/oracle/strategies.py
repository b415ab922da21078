"""Whole logs for hypothesis: accounts of two agencies living through periods, with everything that goes wrong.

One log is drawn from a seed and a size by a `LogWriter`, step by step, so that a shorter log of the same seed is the
beginning of the longer one. That keeps a case cheap, and shrinks by length; `compare.smallest` takes single lines out.
"""

import json
from datetime import datetime, timedelta
from random import Random
from typing import Any

from hypothesis import strategies as st

from tests.oracle.clients import Client, Signup, request_fields, stamp
from tests.oracle.plans import ANCHORS, LENGTHS, some_cap, some_caps, some_terms
from tests.oracle.rate_cards import CARDS, UNKNOWN
from tests.oracle.spoiling import spoiled

Fact = dict[str, Any]
MICROSECOND = timedelta(microseconds=1)
OUTCOMES = ("answered",) * 8 + ("voicemail", "voicemail", "no_answer", "busy", "failed", "canceled")
NUMBERS = (
    *("+4930123456", "+4930123456", "+4930", "493", "+49", "+49171234567", "+14155550100", "+1415", "14", "+1", "1"),
    *("+442079460000", "", "+", "++49", "anonymous", "+49 30", "sip:49", "\u0664\u0669", None),
)
# What happens next, and how often.
STEPS = {
    "call": 46,
    "late_call": 8,
    "tick": 17,
    "subscription": 5,
    "pack": 6,
    "wallet": 3,
    "cap": 3,
    "caps": 5,
    "cancel": 5,
    "change": 6,
    "pause": 4,
    "resume": 5,
    "rent": 6,
    "release": 5,
    "top_up": 3,
    "correct": 7,
    "void": 3,
    "request": 5,
    "settle": 7,
    "send": 2,
    "correct_request": 4,
    "dispute": 3,
    "number_request": 3,
    "one_time": 2,
    "rules": 2,
    "agency_access": 1,
    "agency_caps": 3,
    "wholesale": 4,
    "again": 4,
    "same_call_other_time": 3,
    "spoiled": 7,
}


class LogWriter:
    """Writes the next record of a log; `now` is about where the clock stands."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = self.random.choice(ANCHORS)
        names = ("acct_1", "acct_2", "acct_3", "å" * 64)
        self.clients = [
            Client(name, self.random.choice(("ag_1", "ag_2")), self.random.choice(("USD", "EUR")))
            for name in self.random.sample(names, self.random.choice((1, 2, 2, 3)))
        ]
        self.made: list[Fact] = []
        self.count = 0

    def next(self) -> bytes:
        self.count += 1
        client = self.random.choice(self.clients)
        due_a_subscription = 0.9 if not client.signups else 0.25 if client.signups[-1].ends else 0
        if self.random.random() < due_a_subscription:
            step = "subscription"
        else:
            step = self.random.choices(tuple(STEPS), tuple(STEPS.values()))[0]
        if step == "spoiled":
            return spoiled(self.random, json.loads(json.dumps(self._fact(self._sound_step(), client))))
        fact = self._fact(step, client)
        self.made.append(fact)
        return json.dumps(fact).encode()

    def _sound_step(self) -> str:
        payments = ("send", "correct_request", "dispute", "number_request", "one_time")
        also = ("top_up", "correct", "void", "change", "pause", "resume", "rent", "release")
        return self.random.choice(
            ("call", "call", "pack", "wallet", "cap", "caps", "request", "settle", "rules", "doomed", *also, *payments)
        )

    def _fact(self, step: str, client: Client) -> Fact:
        fact: Fact = getattr(self, f"_{step}")(client)
        return fact

    # Time

    def _moment(self, client: Client) -> datetime:
        """At a place where a rule turns over, or a microsecond beside it."""
        random = self.random
        if not client.signups:
            return self.now
        line = random.choice(client.signups[-2:])
        n = line.period_around(self.now)
        places = [line.boundary(n), line.boundary(n + 1), line.boundary(n + 1), line.boundary(n) + line.window, line.at]
        places.extend([line.ends, line.ends + line.window] if line.ends else [line.boundary(n + 1) + line.window])
        jitter = random.choice((0, 0, 0, 1, -1, 10**6, -(10**6), random.randint(-(10**9), 10**9)))
        return random.choice(places) + jitter * MICROSECOND

    def _length(self, client: Client) -> timedelta:
        if not client.signups:
            return LENGTHS["day"]
        terms = client.signups[-1].terms
        return LENGTHS[terms["interval"]] * int(terms["interval_count"])

    def _tick(self, client: Client) -> Fact:
        random, draw = self.random, self.random.random()
        length = min(self._length(each) for each in self.clients)
        jump = random.random() < 0.1
        if draw < 0.35:
            at = self.now + length * random.random() * random.choice((0.01, 0.3, 1))
        elif draw < 0.7:
            at = self._moment(client)
            if at <= self.now and random.random() < 0.8:
                at = self.now + length / 4
        elif draw < 0.88:
            at, jump = self.now + length * (1 + 3 * random.random()), True
        elif draw < 0.91:
            at = self.now - length * random.random() * random.choice((0, 0.1, 1))
        elif draw < 0.95:
            at = self.now + timedelta(days=random.choice((0, 0, 1, 3)))
        else:
            at = self.now + timedelta(days=35) + random.choice((-1, 0, 1, 10**12)) * MICROSECOND
        if random.random() < 0.6 and not 0.91 < draw < 0.95:
            at = max(at.replace(microsecond=0), ANCHORS[2])
        if at > self.now and (jump or at - self.now <= timedelta(days=35)):
            self.now = at
        return {"type": "tick", "at": stamp(random, at), **({"jump": jump} if jump or random.random() < 0.1 else {})}

    def _rules(self, client: Client) -> Fact:
        return {
            "type": "rules.set",
            "at": stamp(self.random, self.now),
            "max_future_s": self.random.choice((86_400, 86_400, 60, 10**6)),
            "max_call_s": self.random.choice((86_400, 86_400, 60, 3_600)),
            "duplicate_retention_days": self.random.choice((90, 1, 1, 3)),
        }

    def _agency_caps(self, client: Client) -> Fact:
        caps = some_caps(self.random)
        for cap in caps:
            if cap["on"] in ("spend", "cost", "margin") or self.random.random() < 0.03:
                cap["currency"] = self.random.choice(("USD", "EUR"))
        return {
            "type": "agency.caps_set",
            "fact_id": f"caps_{self.count if self.random.random() > 0.1 else 1}",
            "agency_id": client.agency_id if self.random.random() > 0.05 else "ag_3",
            "at": stamp(self.random, self.now),
            "caps": caps,
        }

    def _wholesale(self, client: Client) -> Fact:
        random = self.random
        currency = client.currency if random.random() > 0.05 else "GBP"
        cards = [card.card_id for card in CARDS if card.currency == currency]
        card = random.choice([None, *cards * 3, CARDS[0].card_id, UNKNOWN])
        terms: Fact = {
            "currency": currency,
            "rate_card": card,
            "rate_micros_per_minute": random.choice((0, 7, 30_000, 30_000, 2**53)),
            "increments": random.choice(("1/1", "6/6", "60/60")),
            "minimum_s": random.choice((0, 0, 30)),
            "connection_fee_micros": random.choice((0, 0, 1_000)),
            "outcomes": random.choice(({}, {}, {"voicemail": False}, {"no_answer": True, "test": True})),
            "cost_policy": random.choice(("card", "card", "reported")),
            "included_minutes": random.choice((0, 1, 10)),
            "interval": random.choice(("day", "week", "month", "month", "year")),
            "interval_count": random.choice((1, 1, 1, 2)),
            "price_micros": random.choice((0, 10_000_000, 1_000_001)),
            "number_price_micros": random.choice((0, 0, 1_000_000, 999_999)),
            "due_days": random.choice((0, 14)),
            "anchor": random.choice((None, stamp(random, self.now + random.choice((0, 1, -1)) * timedelta(days=9)))),
        }
        if card is not None and random.random() < 0.3:
            terms["rate_micros_per_minute"] = None
        for name in random.sample(sorted(set(terms) - {"currency", "rate_card", "rate_micros_per_minute"}), 2):
            del terms[name]
        return {
            "type": "wholesale.set",
            "fact_id": f"wholesale_{self.count if random.random() > 0.1 else 1}",
            "agency_id": client.agency_id,
            "at": stamp(random, self._moment(client) if random.random() < 0.6 else self.now - timedelta(days=40)),
            "terms": terms,
        }

    def _agency_access(self, client: Client) -> Fact:
        number = self.random.randint(1, max(2, self.count // 4))
        return {
            "type": "agency.access",
            "fact_id": f"agency.access:{number}",
            "agency_id": client.agency_id,
            "at": stamp(self.random, self.now),
            "sequence": number,
            "allowed": self.random.random() < 0.5,
        }

    # Calls

    def _call(self, client: Client) -> Fact:
        draw = self.random.random()
        if draw < 0.6:
            ended = self.now - timedelta(microseconds=self.random.randint(-(10**9), 10**10))
        elif draw < 0.95:
            ended = self._moment(client)
            if abs(ended - self.now) > timedelta(days=1) and self.random.random() < 0.8:
                ended = self.now - self._length(client) * self.random.random() / 4
        else:
            seconds = self.random.choice((60, 86_400, 10**6))
            ended = self.now + timedelta(seconds=seconds) + self.random.choice((-1, 0, 1)) * MICROSECOND
        return self._call_ending(client, ended)

    def _late_call(self, client: Client) -> Fact:
        ended = self.now - self._length(client) * 2.5 * self.random.random()
        if client.signups and self.random.random() < 0.9:
            ended = max(ended, client.signups[0].at)
        return self._call_ending(client, ended)

    def _call_ending(self, client: Client, ended: datetime) -> Fact:
        random = self.random
        micros = random.choice(
            (
                0,
                random.choice((1, 999_999, 10**6, 10**6 + 1)),
                random.randint(1, 10) * 6_000_000 + random.choice((-1, 0, 1)),
                random.randint(1, 3) * 60_000_000 + random.choice((-1, 0, 1)),
                random.randint(0, 40) * 1_000_000,
                random.randint(0, 400) * 500_000,
                random.randint(0, 10**9),
            )
        )
        if random.random() < 0.01:
            micros = 86_400_000_000 + random.choice((-1, 0, 1))
        answered = ended - micros * MICROSECOND
        started = answered - random.choice((0, 0, 1, 6_500_000)) * MICROSECOND
        if random.random() < 0.015:
            answered, ended = ended + MICROSECOND, answered
        if random.random() < 0.01:
            started = ended + MICROSECOND
        fact: Fact = {
            "type": "call.completed",
            "call_id": f"call_{self.count}",
            "account_id": client.account_id if random.random() > 0.01 else "acct_unknown",
            "agency_id": client.agency_id if random.random() > 0.015 else "ag_3",
            "direction": random.choice(("inbound", "outbound", "web")),
            "started_at": stamp(random, started),
            "answered_at": stamp(random, answered),
            "ended_at": stamp(random, ended),
            "outcome": random.choice(OUTCOMES),
        }
        if random.random() < 0.1:
            fact["answered_at"] = None
        if random.random() < 0.1:
            del fact["answered_at"]
        if random.random() < 0.6:
            fact["to_number"] = random.choice(NUMBERS)
            fact["tier"] = random.choice((None, None, "gold", "silver", ""))
        if random.random() < 0.3:
            fact |= {"campaign_id": "camp_1", "agent_id": None, "from_number": "+14155550100"}
            fact |= {"cost_micros": random.choice((None, 0, *(40_000,) * 8, 2**53)), "test": random.random() < 0.5}
            fact |= {"cost_currency": random.choice((None, "USD", "EUR"))}
            fact["unheard_of"] = {"a": [1.5, None]}
        return fact

    def _same_call_other_time(self, client: Client) -> Fact:
        calls = [fact for fact in self.made if fact["type"] == "call.completed"]
        if not calls:
            return self._call(client)
        return self._call(client) | {"call_id": self.random.choice(calls)["call_id"]}

    def _again(self, client: Client) -> Fact:
        latest = self.made if self.random.random() < 0.4 else self.made[-8:]
        return self.random.choice(latest) if latest else self._call(client)

    # Facts with an id of their own

    def _own(self, kind: str, client: Client, at: datetime) -> Fact:
        random = self.random
        fact_id = f"fact_{self.count}" if random.random() > 0.04 else f"fact_{random.randint(1, self.count)}"
        return {
            "type": kind,
            "fact_id": fact_id,
            "account_id": client.account_id,
            "agency_id": client.agency_id if random.random() > 0.02 else "ag_3",
            "at": stamp(random, at),
        }

    def _currency(self, client: Client) -> str:
        return client.currency if self.random.random() > 0.04 else "GBP"

    def _subscription(self, client: Client) -> Fact:
        random, draw = self.random, self.random.random()
        at = self.now
        if client.signups and client.signups[-1].ends and draw < 0.6:
            at = max(self.now, client.signups[-1].ends)
        elif client.signups and draw < 0.75:
            at = self._moment(client)
        elif draw > 0.8:
            at = self.now - timedelta(days=1) * random.randint(0, 3) + timedelta(seconds=random.randint(-9_000, 9_000))
        return self._starting(client, at)

    def _starting(self, client: Client, at: datetime, *, doomed: bool = False) -> Fact:
        terms = some_terms(self.random, self._currency(client))
        name = f"sub_{self.count}"
        if not doomed and (not client.signups or client.signups[-1].ends):
            client.signups.append(Signup(name, at, terms))
        return self._own("subscription.started", client, at) | {"subscription_id": name, "terms": terms}

    def _doomed(self, client: Client) -> Fact:
        return self._starting(client, self.now, doomed=True)

    def _cancel(self, client: Client) -> Fact:
        line = client.signups[-1] if client.signups else Signup("sub_0", self.now, {})
        at = self._moment(client) if self.random.random() < 0.6 else self.now
        when = self.random.choice(("now", "period_end"))
        if line.ends and self.random.random() < 0.6:
            at = line.ends + self.random.choice((0, 0, 0, 1, -1)) * MICROSECOND
            when = "now"
        if client.signups and line.ends is None:
            line.ends = at if when == "now" else line.boundary(line.period_around(self.now) + 1)
        name = line.subscription_id if self.random.random() > 0.08 else "sub_other"
        return self._own("subscription.canceled", client, at) | {"subscription_id": name, "when": when}

    def _named(self, client: Client) -> str:
        known = client.signups[-1].subscription_id if client.signups else "sub_0"
        return known if self.random.random() > 0.05 else "sub_other"

    def _change(self, client: Client) -> Fact:
        """Mostly to terms of the same rhythm, for others may not be changed to at once."""
        random = self.random
        terms = some_terms(random, self._currency(client))
        if client.signups and random.random() < 0.8:
            rhythm = ("interval", "interval_count", "timezone")
            terms |= {name: old for name, old in client.signups[-1].terms.items() if name in rhythm}
        when = random.choice(("now", "now", "next_period"))
        at = self._moment(client) if random.random() < 0.3 else self.now + timedelta(seconds=random.randint(0, 90_000))
        own = self._own("subscription.changed", client, at)
        return own | {"subscription_id": self._named(client), "when": when, "terms": terms}

    def _pause(self, client: Client) -> Fact:
        return self._own("subscription.paused", client, self._soon(client)) | {"subscription_id": self._named(client)}

    def _resume(self, client: Client) -> Fact:
        return self._own("subscription.resumed", client, self._soon(client)) | {"subscription_id": self._named(client)}

    def _soon(self, client: Client) -> datetime:
        if self.random.random() < 0.4:
            return self._moment(client)
        return self.now + timedelta(seconds=self.random.randint(0, 10**6) * self.random.choice((0, 1)))

    def _rent(self, client: Client) -> Fact:
        random = self.random
        price = random.choice((0, 1, 2_000_000, 2_000_000, 1_234_567)) if random.random() > 0.02 else 2**53
        number = f"+1415555010{random.randint(0, 5)}"
        client.numbers.append(number)
        return self._own("number.rented", client, self._soon(client)) | {
            "number": number,
            "price_micros": price,
            "currency": self._currency(client) if random.random() < 0.7 else None,
            "label": random.choice((None, "front desk")),
        }

    def _release(self, client: Client) -> Fact:
        number = self.random.choice(client.numbers[-3:] or ["+14155550100"])
        return self._own("number.released", client, self._soon(client)) | {"number": number}

    def _pack(self, client: Client) -> Fact:
        random = self.random
        return self._own("pack.applied", client, self._moment(client)) | {
            "pack": random.choice(("boost-60", "boost-60", "boost-9")),
            "minutes": random.choice((0, 1, 1, 2, 60)) if random.random() > 0.01 else 2**53 // 60,
            "credit_micros": random.choice((0, 0, 1, 29, 30, 2_000, 119_999, 300_000, 2**53)),
            "price_micros": random.choice((0, 9_000_000)),
            "currency": self._currency(client),
        }

    def _wallet(self, client: Client) -> Fact:
        random = self.random
        return self._own("wallet.adjusted", client, self.now) | {
            "minutes": random.choice((-2, -1, 0, 1, 2)),
            "credit_micros": random.choice((-1_000, -1, 0, 0, 1, 100_000)),
            "reason": "goodwill reversed",
        }

    def _cap(self, client: Client) -> Fact:
        return self._own("cap.set", client, self.now) | {"cap": some_cap(self.random)}

    def _caps(self, client: Client) -> Fact:
        return self._own("caps.set", client, self.now) | {"caps": some_caps(self.random)}

    def _some_call(self, client: Client) -> Fact:
        """Mostly one of the client's, and one that is corrected again and again."""
        made = [fact for fact in self.made if fact["type"] in ("call.completed", "call.corrected")]
        own = [fact for fact in made if fact["account_id"] == client.account_id]
        if not own:
            return self._call(client)
        return self.random.choice((own[-1], self.random.choice(own), self.random.choice(own[-4:])))

    def _correct(self, client: Client) -> Fact:
        random = self.random
        old = self._some_call(client)
        name = old.get("corrects", old.get("call_id"))
        draw = random.random()
        if draw < 0.45:
            # Back to what it was at some time, in other zones perhaps.
            same = [fact for fact in self.made if name in (fact.get("corrects"), fact.get("call_id"))]
            new = random.choice([fact for fact in same if "ended_at" in fact] or [old])
        else:
            new = self._late_call(client) if draw < 0.6 else self._call(client)
            if draw > 0.75:
                new = old | {"answered_at": old["started_at"], "outcome": random.choice(OUTCOMES)}
        own = {each: value for each, value in new.items() if each not in ("call_id", "type", "fact_id", "at")}
        fact = self._own("call.corrected", client, self.now)
        if random.random() < 0.02:
            name = "never"
        return own | fact | {"corrects": name}

    def _void(self, client: Client) -> Fact:
        old = self._some_call(client)
        name = old.get("corrects", old.get("call_id"))
        return self._own("call.voided", client, self.now) | {"call_id": name}

    def _top_up(self, client: Client) -> Fact:
        random = self.random
        level = random.choice(({"below_s": 60}, {"below_s": 1}, {"below_s": 600}, {"below_micros": 120_000}))
        pool = "minutes" if "below_s" in level else "credit_micros"
        top_up = {
            "pack": random.choice(("boost-60", "boost-60", "boost-9")),
            pool: random.choice((1, 1, 2, 60, 120_000)) if random.random() > 0.03 else 2**53 // 60,
            "price_micros": random.choice((0, 9_000_000)),
            "currency": self._currency(client),
            "most_per_month": random.choice((1, 1, 2, 100)),
            **level,
        }
        return self._own("top_up.set", client, self.now) | {"top_up": top_up if random.random() > 0.15 else None}

    def _request(self, client: Client) -> Fact:
        kind = self.random.choice(("cycle", "cycle", "cycle", "usage", "pack", "one_time"))
        name = f"sub_{self.count}:20260101T000000Z:{kind}"
        client.requests.append(name)
        return (
            self._own("payment_request.created", client, self.now)
            | request_fields(self.random, self.now, kind, self._length(client))
            | {
                "payment_request_id": name,
                "subscription_id": f"sub_{self.count}",
                "currency": self._currency(client),
            }
        )

    def _send(self, client: Client) -> Fact:
        random = self.random
        tax = {"tax_micros": random.choice((0, 4_900_000, 2**53)), "tax_included": random.choice((True, False))}
        return self._own("payment_request.sent", client, self.now) | {
            "payment_request_id": random.choice(client.requests[-3:]),
            "gateway": "stripe",
            "external_id": random.choice(("in_1", "in_2")),
            "actor": "billing",
            **(tax if random.random() < 0.7 else {}),
        }

    def _correct_request(self, client: Client) -> Fact:
        random = self.random
        name = f"document_{self.count}" if random.random() < 0.9 else random.choice(client.requests)
        about = random.choice(client.requests[-3:])
        client.requests.append(name)
        return self._own("payment_request.corrected", client, self.now) | {
            "payment_request_id": name,
            "corrects": about,
            "kind": random.choice(("credit_note", "refund")),
            "amount_micros": random.choice((1, 9_000_000, 24_500_000, 40_000_000, 49_000_000, 49_000_001)),
            "tax_micros": random.choice((0, 0, 1, 500_000)),
            "currency": self._currency(client),
            "actor": random.choice(("jane", None)),
            "note": random.choice(("by phone", None)),
        }

    def _dispute(self, client: Client) -> Fact:
        random = self.random
        dispute = random.choice(("dp_1", "dp_2", "dp_3", f"dp_{self.count}"))
        about = random.choice(client.requests[-3:])
        if random.random() < 0.1:
            client.requests.append(f"dispute:{dispute}")
        return self._own("payment_request.disputed", client, self.now) | {
            "payment_request_id": about,
            "dispute_id": dispute,
            "status": random.choice(("opened", "opened", "won", "lost")),
            "amount_micros": random.choice((1, 9_000_000, 49_000_000, 49_000_001)),
            "currency": self._currency(client),
            "actor": random.choice(("stripe", None)),
            "note": random.choice(("Disputed: fraudulent", None)),
        }

    def _number_request(self, client: Client) -> Fact:
        return self._own("payment_request.numbered", client, self.now) | {
            "payment_request_id": self.random.choice(client.requests[-3:]),
            "number": f"{self.now.year}-{self.count:06d}",
        }

    def _one_time(self, client: Client) -> Fact:
        amount = {"amount_micros": self.random.choice((1, 25_000_000, 2**53)), "currency": self._currency(client)}
        return self._own("one_time.charged", client, self.now) | {"description": "Set-up", **amount}

    def _settle(self, client: Client) -> Fact:
        extra = {"reference": "wire 4711"} if self.random.random() < 0.5 else {"note": "by phone", "reference": None}
        return self._own("payment_request.settled", client, self.now) | {
            "payment_request_id": self.random.choice(client.requests[-3:]),
            "status": self.random.choice(("paid", "paid", "failed", "canceled")),
            "actor": self.random.choice(("jane", "jane", None)),
            **extra,
        }


def written_log(seed: int, size: int) -> list[bytes]:
    """The first `size` records of the log of a seed."""
    writer = LogWriter(seed)
    return [writer.next() for _ in range(size)]


def logs(longest: int = 60) -> st.SearchStrategy[list[bytes]]:
    return st.builds(written_log, st.integers(0, 2**48), st.integers(1, longest))
