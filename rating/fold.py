"""The fold of one partition: each record of the log changes the books and gives out what follows from it.

Deterministic: the same records give the same outputs, byte for byte, in one batch or thousands, before and after a
restore. Nothing here raises for bad input; an exception is a defect, and the worker must exit on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

import msgspec

from rating import ledger
from rating.access import review_access
from rating.agency_sums import Told
from rating.books import AccessOfAgency, Books, Refusal, Rules, TickAtWork
from rating.calls import check_call, rate_call
from rating.cards import NO_CARDS, Cards
from rating.changes import adjust_wallet, apply_pack, charge_one_time, set_cap, set_caps
from rating.corrections import correct_call
from rating.disputes import dispute_request
from rating.facts import (
    END_OF_TIME,
    LONGEST_RETENTION_DAYS,
    AgencyAccess,
    AnyAccountFact,
    CallCompleted,
    CallCorrected,
    CallVoided,
    CapSet,
    CapsSet,
    NumberReleased,
    NumberRented,
    OneTimeCharged,
    PackApplied,
    PaymentRequestCorrected,
    PaymentRequestCreated,
    PaymentRequestDisputed,
    PaymentRequestNumbered,
    PaymentRequestSent,
    PaymentRequestSettled,
    RulesSet,
    SubscriptionCanceled,
    SubscriptionChanged,
    SubscriptionPaused,
    SubscriptionResumed,
    SubscriptionStarted,
    Tick,
    TopUpSet,
    Undecodable,
    WalletAdjusted,
    WholesaleSet,
    account_of,
    decode,
)
from rating.life import (
    cancel_subscription,
    change_subscription,
    pause_subscription,
    resume_subscription,
    start_subscription,
)
from rating.numbers import release_number, rent_number
from rating.outputs import DEAD_LETTERS, DUPLICATES, DeadLetter, Output
from rating.partitioner import partition_of
from rating.payments import ABOUT_REQUESTS, create_request, request_fact
from rating.period import EPOCH, unix_micros
from rating.schedules import schedules_of
from rating.seen import SeenCalls, call_hash
from rating.terms import Tariff, decode_terms, encode_terms
from rating.ticks import begin_tick, bring_to_tick, work_on_tick
from rating.topups import set_top_up
from rating.versions import StateError
from rating.wholesale import set_wholesale

ACCOUNT_EVENTS = "account-events"
LONGEST_STEP = timedelta(days=35)
# These are for all accounts alike, so they wait until a tick before them is done.
ABOUT_MANY = (RulesSet, WholesaleSet, AgencyAccess)
DAY = 86_400
LONGEST_RETENTION_S = LONGEST_RETENTION_DAYS * DAY
SECONDS_IN_ALL_TIME = 100 * 366 * DAY


class PositionRecord(msgspec.Struct, array_like=True):
    """Where the ledger stands: offset of the next record, latest tick, rules, the tick that is at work."""

    offset: int
    clock_micros: int | None
    rules: Rules
    tick: TickAtWork | None = None

    @property
    def done_offset(self) -> int:
        """Offset of the first record that is not done altogether: of a tick at work, its own."""
        return self.offset if self.tick is None else self.tick.offset

    @property
    def done_clock_micros(self) -> int | None:
        """Latest tick that is done altogether, in unix microseconds."""
        return self.clock_micros if self.tick is None else self.tick.before_micros


_encode_position = msgspec.msgpack.Encoder(order="deterministic").encode
_encode_access = msgspec.msgpack.Encoder().encode
_decode_access = msgspec.msgpack.Decoder(AccessOfAgency).decode
_decode_position = msgspec.msgpack.Decoder(PositionRecord).decode


def decode_position(value: bytes) -> PositionRecord:
    """Where a ledger stands, from its position record's value.

    Raises:
        StateError, msgspec.MsgspecError: it cannot be read.
    """
    return _decode_position(memoryview(ledger.POSITION_STATE.upgraded(value))[1:])


def cards_named(value: bytes | None) -> set[str]:
    """Ids of the rate cards that a record of the log names: to be loaded before it is folded."""
    if value is None or (b"rate_card" not in value and b"\\" not in value):
        return set()
    try:
        fact = decode(value)
    except Undecodable:
        return set()
    terms = fact.terms if isinstance(fact, SubscriptionStarted | SubscriptionChanged | WholesaleSet) else None
    return set() if terms is None or terms.rate_card is None else {terms.rate_card}


class LogRecord(Protocol):
    """A record of the log as the consumer gives it."""

    @property
    def value(self) -> bytes | None:
        """Its bytes, None for a tombstone."""

    @property
    def offset(self) -> int:
        """Its offset."""

    @property
    def key(self) -> bytes | None:
        """Its key."""

    @property
    def headers(self) -> Sequence[tuple[str, bytes]]:
        """Its headers."""


class Forward(NamedTuple):
    """A record that belongs elsewhere: the right partition, its key there, its bytes, its offset here."""

    partition: int
    key: bytes
    value: bytes
    offset: int


class Fold:
    """The fold of one partition.

    Attributes:
        position: offset of the next record to fold.
        forwards: records that belong elsewhere, to be written there in the same transaction.
    """

    def __init__(
        self,
        partition: int,
        partitions: int | None,
        seen: SeenCalls,
        slice_accounts: int = 500,
        cards: Cards = NO_CARDS,
    ) -> None:
        """Start with empty books.

        Args:
            partition: number of this partition.
            partitions: how many there are, to find records that belong elsewhere; None for no such check.
            seen: the calls rated before.
            slice_accounts: most accounts that a tick changes before it asks for a commit.
            cards: rate cards by id; a fact that names one must find it here (`cards_named`).
        """
        self.partition = partition
        self.partitions = partitions
        self.seen = seen
        self.slice_accounts = slice_accounts
        self.position = 0
        self.forwards: list[Forward] = []
        self.books = Books(partition, cards)
        self._clock_s = -1
        self._latest_end = END_OF_TIME
        # Rated, and not yet told to `seen`; no tick comes in between.
        self._rated: dict[bytes, int] = {}
        # How far the accounts of an agency are looked through, for the fact at an offset.
        self._looking_at = -1
        self._looked_at = 0

    @property
    def outputs(self) -> list[Output]:
        """What the facts gave out so far; whoever takes it clears it."""
        return self.books.outputs

    @property
    def clock(self) -> datetime | None:
        """Latest tick of the partition, which may still be at work; None before the first."""
        return self.books.clock

    @property
    def done_clock(self) -> datetime | None:
        """Latest tick that is done altogether, None before the first."""
        return self.books.clock if self.books.tick is None else self.books.tick.before

    @property
    def tick_at_work(self) -> bool:
        """Whether a tick has more to do: call `work` between transactions."""
        return self.books.tick is not None

    @property
    def accounts_count(self) -> int:
        """How many accounts the partition has."""
        return len(self.books.accounts)

    # -- folding

    def fold_calls(self, records: Sequence[LogRecord]) -> int:
        """Fold the calls that a run of records begins with: the same as `fold` one by one, but cheaper.

        Returns:
            How many records are done. The next one, if any, is for `fold`: it is no call, or has headers.
        """
        calls: list[CallCompleted] = []
        hashes: list[bytes] = []
        for record in records:
            try:
                call = decode(record.value)
            except Undecodable:
                break
            if type(call) is not CallCompleted or record.headers:
                break
            calls.append(call)
            hashes.append(call_hash(call.account_id, call.call_id))
        if not calls:
            return 0
        books, fold_call, rated = self.books, self._call, self._rated
        for record, call, digest, first in zip(records, calls, hashes, self.seen.find(hashes), strict=False):
            books.offset = record.offset
            try:
                if digest in rated:
                    first = rated[digest], self._clock_s
                fold_call(call, digest, first, record.value)
            except Refusal as refusal:
                self._dead_letter(refusal.reason, str(refusal), record.value, record.key)
        self._remember()
        self.position = books.offset + 1
        return len(calls)

    def fold(
        self,
        value: bytes | None,
        offset: int,
        key: bytes | None = None,
        forwarded: bool = False,
        refused_s: int | None = None,
        rated: bytes | None = None,
    ) -> bool:
        """Fold one record.

        Args:
            value: the record's bytes, None for a tombstone.
            offset: its offset.
            key: its key, used for a dead letter whose account is unreadable.
            forwarded: another partition passed it on to this one.
            refused_s: of a dead letter that was sent again, when it was first refused, in unix seconds of the clock.
            rated: of a correction, the rated call that it corrects (see `corrected_call`), None where it is not found.

        Returns:
            True when the record is done. False when a large tick has more to do, or the record waits for one: commit,
            then call again with the same arguments. Of a tick the `position` is beyond it by then: later records may
            be folded first, and `work` does the rest of it.
        """
        self.books.offset = offset
        try:
            fact = decode(value)
            if isinstance(fact, CallCompleted):
                digest = call_hash(fact.account_id, fact.call_id)
                self._call(fact, digest, self.seen.find((digest,))[0], value, forwarded, refused_s)
                self._remember()
            elif isinstance(fact, Tick):
                if not self._tick(fact):
                    return False
            elif isinstance(fact, ABOUT_MANY) and not self._is_free():
                return False
            elif isinstance(fact, RulesSet):
                self._set_rules(fact)
            elif isinstance(fact, WholesaleSet):
                set_wholesale(self.books, fact)
            elif isinstance(fact, AgencyAccess):
                if not self._change_access(fact):
                    return False
            else:
                self._account_fact(fact, value, forwarded, rated)
        except (Undecodable, Refusal) as refusal:
            self._dead_letter(refusal.reason, str(refusal), value, key)
        self.position = offset + 1
        return True

    def _call(
        self,
        call: CallCompleted,
        digest: bytes,
        first: tuple[int, int] | None,
        value: bytes | None,
        forwarded: bool = False,
        refused_s: int | None = None,
    ) -> None:
        books = self.books
        account_id = call.account_id
        account = books.accounts.get(account_id)
        if account is None:
            if self._belongs_elsewhere(account_id, value, forwarded):
                return
            check_call(books, call)
            raise Refusal("no_subscription", f"account {account_id} was never subscribed")
        if type(account) is bytes:
            account = books.account(account_id)
        if books.tick is not None:
            bring_to_tick(books, account)  # type: ignore[arg-type]
        duration_s = check_call(books, call)
        if call.agency_id != account.agency_id:  # type: ignore[union-attr]
            raise Refusal("wrong_agency", "the account belongs to another agency")
        if first is not None and first[0] < books.offset and self._is_retained(first[1], refused_s):
            self._duplicate(call, first[0])
            return
        if refused_s is not None and refused_s + LONGEST_RETENTION_S < self._clock_s:
            # Whether the platform sent it again since, and it was rated then, may be forgotten by now.
            raise Refusal("expired", f"first refused more than {LONGEST_RETENTION_DAYS} days ago")
        if call.ended_at > self._latest_end:
            raise Refusal(
                "impossible_times", f"ends more than {books.rules.max_future_s} s after the partition's clock"
            )
        try:
            rate_call(books, account, call, duration_s)  # type: ignore[arg-type]
        except Refusal:
            # The period that the call ended in may have been opened, and with it a cap begins anew.
            review_access(books, account, call.ended_at)  # type: ignore[arg-type]
            raise
        books.touched[account_id] = account  # type: ignore[assignment]
        self._rated[digest] = books.offset

    def _remember(self) -> None:
        """What was rated is seen from now on."""
        if self._rated:
            self.seen.put(self._rated, self._clock_s)
            self._rated.clear()

    def _account_fact(
        self, fact: AnyAccountFact, value: bytes | None, forwarded: bool, rated: bytes | None = None
    ) -> None:
        books = self.books
        account = books.account(fact.account_id)
        if account is not None and books.tick is not None:
            bring_to_tick(books, account)
        if account is None:
            if self._belongs_elsewhere(fact.account_id, value, forwarded):
                return
            if isinstance(fact, ABOUT_REQUESTS):
                raise Refusal("unknown_request", f"account {fact.account_id} was never subscribed")
            if not isinstance(fact, SubscriptionStarted):
                raise Refusal("no_subscription", f"account {fact.account_id} was never subscribed")
        elif account.agency_id != fact.agency_id:
            raise Refusal("wrong_agency", "the account belongs to another agency")
        elif fact.fact_id in books.history(fact.account_id).fact_ids:
            return
        match fact:
            case SubscriptionStarted():
                start_subscription(books, account, fact)
            case _:
                assert account is not None
                match fact:
                    case SubscriptionCanceled():
                        cancel_subscription(books, account, fact)
                    case SubscriptionChanged():
                        change_subscription(books, account, fact)
                    case SubscriptionPaused():
                        pause_subscription(books, account, fact)
                    case SubscriptionResumed():
                        resume_subscription(books, account, fact)
                    case NumberRented():
                        rent_number(books, account, fact)
                    case NumberReleased():
                        release_number(books, account, fact)
                    case PackApplied():
                        apply_pack(books, account, fact)
                    case WalletAdjusted():
                        adjust_wallet(books, account, fact)
                    case CapSet():
                        set_cap(books, account, fact)
                    case CapsSet():
                        set_caps(books, account, fact)
                    case TopUpSet():
                        set_top_up(books, account, fact)
                    case CallCorrected() | CallVoided():
                        correct_call(books, account, fact, rated, self._latest_end)
                    case OneTimeCharged():
                        charge_one_time(books, account, fact)
                    case PaymentRequestCreated():
                        create_request(books, account, fact)
                    case PaymentRequestDisputed():
                        dispute_request(books, account, fact)
                    case (
                        PaymentRequestSent()
                        | PaymentRequestSettled()
                        | PaymentRequestCorrected()
                        | PaymentRequestNumbered()
                    ):
                        request_fact(books, account, fact)
        books.changed_history(fact.account_id).fact_ids.add(fact.fact_id)
        changed = books.account(fact.account_id)
        if changed is not None:
            books.touch(changed)

    def corrected_call(self, value: bytes | None) -> str | None:
        """The call whose first rating has to be looked for before a record is folded; None for most records."""
        if not value or (b"call.corrected" not in value and b"call.voided" not in value):
            return None
        try:
            fact = decode(value)
        except Undecodable:
            return None
        if not isinstance(fact, CallCorrected | CallVoided) or fact.account_id not in self.books.accounts:
            return None
        call_id = fact.call_id if isinstance(fact, CallVoided) else fact.corrects
        return None if call_id in self.books.history(fact.account_id).corrections else call_id

    def _tick(self, tick: Tick) -> bool:
        books = self.books
        at = tick.at.astimezone(UTC)
        clock = books.clock
        if books.tick is not None and books.tick.offset == books.offset:
            return self._is_free()
        if clock is not None:
            if at <= clock:
                return True
            if at - clock > LONGEST_STEP and not tick.jump:
                raise Refusal("impossible_times", 'a tick more than 35 days past the last one needs "jump": true')
        if not self._is_free():
            return False
        begin_tick(books, at)
        self._set_clock(at)
        self.work()
        self.position = books.offset + 1
        return books.tick is None

    def work(self) -> None:
        """Go on with the tick at work: one slice of it."""
        work_on_tick(self.books, self.slice_accounts)

    def _is_free(self) -> bool:
        """Whether no tick is at work any more, after a slice of it."""
        if self.books.tick is not None:
            self.work()
        return self.books.tick is None

    def _change_access(self, fact: AgencyAccess) -> bool:
        """Turn all accounts of an agency off, or on again; like a tick, in slices where there are many.

        What is done is as it should be, so whoever begins anew in the middle changes the rest.
        """
        books = self.books
        known = books.access_of.get(fact.agency_id)
        if known is not None and fact.sequence < known.sequence:
            return True
        books.access_of[fact.agency_id] = AccessOfAgency(fact.sequence, not fact.allowed)
        books.touched_access.add(fact.agency_id)
        accounts = books.accounts_of.get(fact.agency_id, ())
        start = self._looked_at if self._looking_at == books.offset else 0
        end = start + self.slice_accounts
        for account_id in accounts[start:end]:
            account = books.account(account_id)
            assert account is not None
            before = account.reasons
            review_access(books, account, fact.at)
            if account.reasons is not before:
                books.touch(account)
        done = end >= len(accounts)
        # Of the next fact all accounts are looked at, though it may be of the same offset in a simulation.
        self._looking_at, self._looked_at = (-1, 0) if done else (books.offset, end)
        return done

    def _set_clock(self, at: datetime) -> None:
        self.books.clock = at
        self._clock_s = unix_micros(at) // 1_000_000
        self._set_latest_end()

    def _set_latest_end(self) -> None:
        """No call may end later than the clock and the allowed skew; before the first tick any time goes."""
        books = self.books
        if books.clock is not None:
            skew_s = min(books.rules.max_future_s, SECONDS_IN_ALL_TIME)
            self._latest_end = min(books.clock + timedelta(seconds=skew_s), END_OF_TIME)

    def _set_rules(self, fact: RulesSet) -> None:
        rules = self.books.rules
        for name in rules.__struct_fields__:
            value = getattr(fact, name)
            if value is not None:
                setattr(rules, name, value)
        self._set_latest_end()

    # -- what is not rated

    def _belongs_elsewhere(self, account_id: str, value: bytes | None, forwarded: bool) -> bool:
        if self.partitions is None:
            return False
        right = partition_of(account_id.encode(), self.partitions)
        if right == self.partition:
            return False
        if forwarded:
            raise Refusal("misrouted", f"belongs to partition {right} and was forwarded here before")
        assert value is not None
        self.forwards.append(Forward(right, account_id.encode(), value, self.books.offset))
        return True

    def _is_retained(self, clock_s: int, refused_s: int | None) -> bool:
        """Whether a rating is within the retention: by now, or by when the other copy was refused first.

        A call rated before the first tick has no time to count from, and is remembered for ever.
        """
        if clock_s < 0:
            return True
        came_s = self._clock_s if refused_s is None else refused_s
        retained_s = self.books.rules.duplicate_retention_days * DAY
        return clock_s + retained_s >= came_s and clock_s + LONGEST_RETENTION_S >= self._clock_s

    def _duplicate(self, call: CallCompleted, first_offset: int) -> None:
        account = self.books.account(call.account_id)
        assert account is not None
        value = {
            "account_id": call.account_id,
            "agency_id": call.agency_id,
            "call_id": call.call_id,
            "source_first_offset": first_offset,
        }
        self.books.emit(DUPLICATES, account, value)

    def _dead_letter(self, reason: str, detail: str, value: bytes | None, key: bytes | None) -> None:
        account_id = account_of(value)
        letter = DeadLetter(reason, detail, ACCOUNT_EVENTS, self.partition, self.books.offset, value, self.books.clock)
        self.outputs.append((DEAD_LETTERS, account_id.encode() if account_id else key, letter))

    # -- the ledger

    def drain_agencies(self) -> list[Told]:
        """What is to be told about agencies now, in order; before the ledger is drained."""
        books = self.books
        return books.agencies.take(books.touched.values(), books.clock, books.offset)

    def drain_ledger(self) -> list[tuple[bytes, bytes]]:
        """Take what has to be written to the ledger now: (key, value), the position last."""
        books = self.books
        records = [
            (ledger.TERMS + terms_id, ledger.TERMS_STATE.prefix + encode_terms(books.tariffs[terms_id].terms))
            for terms_id in books.new_terms
        ]
        for account_id, account in books.touched.items():
            records.append((ledger.ACCOUNT + account_id.encode(), ledger.encode_account(account)))
        for account_id in books.touched_histories:
            records.append((ledger.HISTORY + account_id.encode(), ledger.encode_history(books.history(account_id))))
        for account_id in books.touched_hours:
            records.append((ledger.HOURS + account_id.encode(), ledger.encode_hours(books.hours(account_id))))
        for agency_id in books.touched_wholesale:
            value = ledger.encode_wholesale(books.wholesale[agency_id])
            records.append((ledger.WHOLESALE + agency_id.encode(), value))
        for agency_id in books.touched_access:
            value = ledger.AGENCY_ACCESS_STATE.prefix + _encode_access(books.access_of[agency_id])
            records.append((ledger.AGENCY_ACCESS + agency_id.encode(), value))
        clock = None if books.clock is None else unix_micros(books.clock)
        position = _encode_position(PositionRecord(self.position, clock, books.rules, books.tick))
        records.append((ledger.POSITION, ledger.POSITION_STATE.prefix + position))
        books.new_terms.clear()
        books.touched.clear()
        books.touched_histories.clear()
        books.touched_hours.clear()
        books.touched_wholesale.clear()
        books.touched_access.clear()
        return records

    def restore(self, key: bytes, value: bytes | None) -> None:
        """Take in one record of the ledger, oldest first.

        Raises:
            StateError: the record cannot be read here.
        """
        if value is None:
            raise StateError("a ledger record without a value")
        books = self.books
        if key.startswith(ledger.ACCOUNT):
            value = ledger.ACCOUNT_STATE.upgraded(value)
            # Kept as bytes, but read once: a broken record is to be found now, not when its account has a call.
            account_id = key[len(ledger.ACCOUNT) :].decode()
            if len(value) <= ledger.HEADER:
                raise StateError("account record: too short")
            account = ledger.decode_account(value)
            if account.account_id != account_id:
                raise StateError("account record: it is another account's")
            if account_id not in books.accounts:
                books.accounts_of.setdefault(account.agency_id, []).append(account_id)
            books.accounts[account_id] = value
        elif key.startswith(ledger.HISTORY):
            value = ledger.HISTORY_STATE.upgraded(value)
            account_id = key[len(ledger.HISTORY) :].decode()
            ledger.decode_history(value)
            books.histories[account_id] = value
        elif key.startswith(ledger.HOURS):
            value = ledger.HOURS_STATE.upgraded(value)
            ledger.decode_hours(value)
            books.hours_of[key[len(ledger.HOURS) :].decode()] = value
        elif key.startswith(ledger.WHOLESALE):
            agency_id, wholesale = key[len(ledger.WHOLESALE) :].decode(), ledger.decode_wholesale(value)
            books.wholesale[agency_id] = wholesale
            books.agencies.schedules[agency_id] = schedules_of(wholesale.versions)
        elif key.startswith((ledger.TERMS, ledger.AGENCY_ACCESS)) or key == ledger.POSITION:
            self._restore_shared(key, value)
        else:
            raise StateError("a record of an unknown kind")

    def _restore_shared(self, key: bytes, value: bytes) -> None:
        try:
            if key == ledger.POSITION:
                record = decode_position(value)
                self.position = record.offset
                self.books.rules = record.rules
                self.books.tick = record.tick
                if record.clock_micros is not None:
                    self._set_clock(EPOCH + timedelta(microseconds=record.clock_micros))
            elif key.startswith(ledger.AGENCY_ACCESS):
                access = _decode_access(memoryview(ledger.AGENCY_ACCESS_STATE.upgraded(value))[1:])
                self.books.access_of[key[len(ledger.AGENCY_ACCESS) :].decode()] = access
            else:
                terms = decode_terms(memoryview(ledger.TERMS_STATE.upgraded(value))[1:])
                # By the id that the accounts know them by: an older version's terms have another hash today.
                terms_id = key[len(ledger.TERMS) :]
                # Its card comes when all was restored.
                self.books.tariffs[terms_id] = Tariff(terms, terms_id)
        except msgspec.MsgspecError as error:
            raise StateError(str(error)) from None

    def cards_needed(self, accounts: Set[str] | None = None) -> set[str]:
        """Ids of the rate cards that the terms restored so far name: all, or those of some accounts."""
        named = {self.books.tariffs[terms_id].terms.rate_card for terms_id in self._terms_of(accounts)}
        named.update(card_id for card_id, _ in self._wholesale_cards(accounts))
        return {card_id for card_id in named if card_id is not None}

    def _wholesale_cards(self, accounts: Set[str] | None) -> list[tuple[str, str]]:
        """Cards that wholesale terms name, each with the agency: of all agencies, or of those of some accounts."""
        books = self.books
        agencies = set(books.wholesale)
        if accounts is not None:
            agencies &= {account.agency_id for one in accounts if (account := books.account(one)) is not None}
        return [
            (version.terms.rate_card, agency_id)
            for agency_id in sorted(agencies)
            for version in books.wholesale[agency_id].versions
            if version.terms.rate_card is not None
        ]

    def _terms_of(self, accounts: Set[str] | None) -> set[bytes]:
        books = self.books
        if accounts is None:
            return set(books.tariffs)
        found: set[bytes] = set()
        for account_id in accounts:
            account = books.account(account_id)
            if account is not None:
                found.add(account.subscription.terms_id)
                if account.subscription.next_terms_id is not None:
                    found.add(account.subscription.next_terms_id)
                found.update(one.terms_id for one in books.history(account_id).subscriptions)
                found.update(one.terms_id for one in account.periods)
        return found

    def restored(self, accounts: Set[str] | None = None) -> None:
        """The ledger was read to its end, and the cards needed are there: find out what is due when.

        Args:
            accounts: those whose cards are needed; None for all.

        Raises:
            StateError: a rate card is not there.
        """
        books = self.books
        for card_id, agency_id in self._wholesale_cards(accounts):
            if card_id not in books.cards:
                raise StateError(f"rate card {card_id}, of the wholesale of {agency_id}, is gone: import it again")
        for terms_id in self._terms_of(accounts):
            terms = books.tariffs[terms_id].terms
            if terms.rate_card is not None:
                card = books.cards.get(terms.rate_card)
                if card is None:
                    raise StateError(f"rate card {terms.rate_card}, of plan {terms.plan}, is gone: import it again")
                books.tariffs[terms_id] = Tariff(terms, terms_id, card)
        for account_id, value in books.accounts.items():
            due = ledger.due_of(value) if type(value) is bytes else None
            if due is not None:
                books.due.append((due, account_id))
        heapq.heapify(books.due)
