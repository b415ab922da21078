"""The oracle: what Callmeter must say to a log, worked out a second time from domain.md and facts.md alone.

It shares no code with `rating/`, knows nothing of partitions, batches or snapshots, and prefers the obvious to the
fast: it keeps each account's whole history and asks it again after every fact.

Compared with the core are the topics rated-calls, billing-events, alerts, access-events, duplicates, payment-requests,
and of dead-letters the reason, the account and the bytes.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta

from tests.oracle.agencies import Agencies
from tests.oracle.book import Account
from tests.oracle.calls import rate
from tests.oracle.checks import Fact
from tests.oracle.cycles import advance, open_next
from tests.oracle.journal import Journal, Output
from tests.oracle.orders import HANDLERS, currency_named
from tests.oracle.pricing import MICROSECOND, microseconds_answered
from tests.oracle.reading import Refused, read
from tests.oracle.wholesale import Wholesale

LONGEST_STEP = timedelta(days=35)
ABOUT_REQUESTS = [f"payment_request.{what}" for what in ("sent", "settled", "corrected", "disputed", "numbered")]


def run(lines: Iterable[bytes]) -> list[Output]:
    """Folds a log of JSON lines; every output as {"topic", "key", "value"}, in order."""
    oracle = Oracle()
    for line in lines:
        oracle.fold(line.rstrip(b"\r\n"))
    return oracle.journal.outputs


class Oracle:
    """Accounts by id, the clock, the rules, and every call that was ever rated with the clock of that moment."""

    def __init__(self, with_agencies: bool = True) -> None:
        """`with_agencies`: this is all of the log, so what agencies reach is known."""
        self.with_agencies = with_agencies
        self.journal = Journal()
        self.accounts: dict[str, Account] = {}
        self.clock: datetime | None = None
        self.rules = {"max_future_s": 86_400, "max_call_s": 86_400, "duplicate_retention_days": 90}
        self.rated: dict[tuple[str, str], datetime | None] = {}
        # By agency: the number of the latest fact about its access, and whether its accounts are off.
        self.agencies: dict[str, tuple[int, bool]] = {}
        self.wholesale: dict[str, Wholesale] = defaultdict(Wholesale)
        self.of_agencies = Agencies(self.journal, self.wholesale)

    def fold(self, line: bytes) -> None:
        clock, said = self.clock, len(self.journal.outputs)
        self._fold(line)
        if not self.with_agencies:
            return
        if self.clock != clock and self.clock is not None:
            self.of_agencies.tick(clock, self.clock)
        self.of_agencies.numbers(self.journal.outputs[said:])
        self.of_agencies.rated(self.journal.outputs[said:], clock)
        wallets: Counter[str] = Counter()
        for account in self.accounts.values():
            wallets[account.agency_id] += account.wallet_s
        self.of_agencies.wallets_are(wallets, self.clock)
        facts, self.of_agencies.facts = self.of_agencies.facts, []
        for fact in facts:
            self._agency_access(fact)

    def _fold(self, line: bytes) -> None:
        self.journal.position += 1
        try:
            fact = read(line)
            if fact["type"] == "tick":
                self._tick(fact)
            elif fact["type"] == "agency.caps_set":
                self.of_agencies.caps_set(fact)
            elif fact["type"] == "wholesale.set":
                if self.wholesale[fact["agency_id"]].set(fact) and self.with_agencies:
                    self.of_agencies.wholesale_set(fact["agency_id"], fact["at"])
            elif fact["type"] == "agency.access":
                self._agency_access(fact)
            elif fact["type"] == "rules.set":
                self.rules = {name: fact[name] for name in self.rules}
            elif fact["type"] == "call.completed":
                self._call(fact)
            else:
                self._once(fact)
        except Refused as refused:
            value = {"reason": refused.reason, "value": line.decode(errors="replace")}
            self.journal.write("dead-letters", refused.account, value)

    def _tick(self, fact: Fact) -> None:
        at: datetime = fact["at"]
        if self.clock is not None:
            if at <= self.clock:
                return
            if at - self.clock > LONGEST_STEP and not fact["jump"]:
                raise Refused("impossible_times")
        self.clock = at
        for name in sorted(self.accounts):
            advance(self.journal, self.accounts[name], at)
            self.journal.access(self.accounts[name], at)

    def _agency_access(self, fact: Fact) -> None:
        """All accounts of the agency, unless something newer was said of them."""
        agency, number = fact["agency_id"], fact["sequence"]
        if number < self.agencies.get(agency, (-1, False))[0]:
            return
        self.agencies[agency] = number, not fact["allowed"]
        for account in self.accounts.values():
            if account.agency_id == agency:
                account.agency_off = not fact["allowed"]
                self.journal.access(account, fact["at"])

    def _once(self, fact: Fact) -> None:
        """Every fact of an account but a call; its id counts as seen only when it was not refused."""
        name, kind = fact["account_id"], fact["type"]
        account = self.accounts.get(name)
        if account is None and kind != "subscription.started":
            about_requests = kind in ABOUT_REQUESTS
            raise Refused("unknown_request" if about_requests else "no_subscription", name)
        if account is None:
            account = Account(name, fact["agency_id"], fact["terms"]["currency"])
            account.time = self.clock
            account.wholesale = self.wholesale[fact["agency_id"]]
            account.agency_off = self.agencies.get(fact["agency_id"], (0, False))[1]
        if fact["agency_id"] != account.agency_id:
            raise Refused("wrong_agency", name)
        if fact["fact_id"] in account.fact_ids:
            return
        if currency_named(fact) not in (None, account.currency):
            raise Refused("wrong_currency", name)
        HANDLERS[kind](self.journal, account, fact | {"clock": self.clock, "rules": self.rules})
        account.fact_ids.add(fact["fact_id"])
        self.accounts[name] = account
        self.journal.access(account, fact["at"])

    def _call(self, call: Fact) -> None:
        name, ended = call["account_id"], call["ended_at"]
        answered = call["answered_at"] or call["started_at"]
        if not call["started_at"] <= answered <= ended:
            raise Refused("impossible_times", name)
        if microseconds_answered(call) > self.rules["max_call_s"] * 10**6:
            raise Refused("impossible_times", name)
        account = self.accounts.get(name)
        if account is None:
            raise Refused("no_subscription", name)
        if call["agency_id"] != account.agency_id:
            raise Refused("wrong_agency", name)
        if self._is_duplicate(name, call["call_id"]):
            value = {"account_id": name, "agency_id": account.agency_id, "call_id": call["call_id"]}
            self.journal.write("duplicates", name, value)
            return
        if self.clock is not None and (ended - self.clock) // MICROSECOND > self.rules["max_future_s"] * 10**6:
            raise Refused("impossible_times", name)
        subscription = account.subscription_at(ended)
        while subscription is not None and subscription.end is None and subscription.periods[-1].end <= ended:
            open_next(self.journal, account, ended)
            subscription = account.subscription_at(ended)
        if subscription is None:
            raise Refused("no_subscription", name)
        period = next(each for each in subscription.periods if each.start <= ended < each.end)
        try:
            rate(self.journal, account, call, period, self.clock)
        except Refused:
            self.journal.access(account, ended)  # periods were opened, perhaps
            raise
        self.rated[name, call["call_id"]] = self.clock
        self.journal.access(account, ended)

    def _is_duplicate(self, account: str, call_id: str) -> bool:
        """Rated before, within the retention; what was rated before the first tick is never forgotten."""
        if (account, call_id) not in self.rated:
            return False
        then = self.rated[account, call_id]
        retention = timedelta(days=self.rules["duplicate_retention_days"])
        return then is None or self.clock is None or self.clock - then <= retention
