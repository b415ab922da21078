"""State as each version wrote it: one record of each kind and version, kept as bytes for as long as versions are read.

A version that was written once is never written again, so `write` leaves files of other versions alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from rating import ledger
from rating.account import Hours, Wholesale
from rating.fold import Fold
from rating.schedules import WholesaleVersion
from rating.seen import SeenInMemory
from rating.terms import Outcomes, WholesaleTerms
from rating.versions import Layout
from streams.fenced import ROLE_POSITION, encode_position
from streams.seen_calls import RECORD
from tests.golden import read_log

FOLDER = Path(__file__).parent / "states"
# Up to here the golden log is in full swing: periods open twice over, adjustments, caps, alerts, requests.
LINES = 230
ACCOUNT = "acct_late_adjust"
HOURS = Hours({495_000: 60, 495_001: 4_000}, [495_001])
ENTRY = bytes(range(16)) + (7).to_bytes(8, "big") + (1_790_000_000).to_bytes(8, "big")
WHOLESALE = Wholesale(
    [
        WholesaleVersion(
            datetime(2026, 11, 1, tzinfo=UTC),
            WholesaleTerms(
                currency="USD",
                rate_micros_per_minute=30_000,
                anchor=datetime(2026, 11, 1, tzinfo=UTC),
                outcomes=Outcomes(busy=True),
            ),
        )
    ],
    {"w1"},
)
LAYOUTS: dict[str, Layout] = {
    "account": ledger.ACCOUNT_STATE,
    "history": ledger.HISTORY_STATE,
    "hours": ledger.HOURS_STATE,
    "terms": ledger.TERMS_STATE,
    "wholesale": ledger.WHOLESALE_STATE,
    "position": ledger.POSITION_STATE,
    "role-position": ROLE_POSITION,
    "seen-calls": RECORD,
}


def path_of(kind: str, version: int) -> Path:
    """Where a record of a kind and version is kept: its key (none for some) and its value, in hexadecimal digits."""
    return FOLDER / f"{kind}-{version}.hex"


def read(kind: str, version: int) -> tuple[bytes, bytes]:
    """Key and value of a kept record."""
    key, value = path_of(kind, version).read_text().split("\n")[:2]
    return bytes.fromhex(key), bytes.fromhex(value)


def folded(lines: int = LINES) -> Fold:
    """The golden log's beginning, folded."""
    fold = Fold(0, None, SeenInMemory())
    for offset, line in enumerate(read_log()[:lines]):
        while not fold.fold(line, offset):
            continue
        fold.outputs.clear()
    return fold


def written_now() -> dict[str, tuple[bytes, bytes]]:
    """A record of each kind as the code writes it now."""
    fold = folded()
    records = dict(fold.drain_ledger())
    account = fold.books.account(ACCOUNT)
    assert account is not None
    account_key, history_key = (kind + ACCOUNT.encode() for kind in (ledger.ACCOUNT, ledger.HISTORY))
    terms_key = ledger.TERMS + account.subscription.terms_id
    return {
        "account": (account_key, records[account_key]),
        "history": (history_key, records[history_key]),
        "hours": (
            ledger.HOURS + ACCOUNT.encode(),
            ledger.encode_hours(HOURS),
        ),
        "terms": (terms_key, records[terms_key]),
        "wholesale": (ledger.WHOLESALE + b"ag_1", ledger.encode_wholesale(WHOLESALE)),
        "position": (ledger.POSITION, records[ledger.POSITION]),
        "role-position": (b"position", encode_position(1_234)),
        "seen-calls": (b"", RECORD.prefix + 3 * ENTRY),
    }


def write() -> None:
    """Keep a record of each kind of today's version."""
    FOLDER.mkdir(exist_ok=True)
    for kind, (key, value) in written_now().items():
        path_of(kind, LAYOUTS[kind].version).write_text(f"{key.hex()}\n{value.hex()}\n")
