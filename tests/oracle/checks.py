"""What a field of a fact may be: each check gives the value back, made ready, or raises ValueError."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.oracle.anchored import zone_named

MAX_INTEGER = 2**53
TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d(?:\.\d{1,6})?)([Zz]|[+-]\d\d:?\d\d)")
EARLIEST, BEYOND = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Of dates that follow from terms, which may add a hundred years and a hundred more.
BEYOND_TERMS = datetime(2500, 1, 1, tzinfo=UTC)
Fact = dict[str, Any]
Check = Callable[[Any], Any]
Table = dict[str, tuple[Check, Any]]
REQUIRED = object()


def expect(holds: bool) -> None:
    if not holds:
        raise ValueError


def text(value: Any) -> str:
    expect(isinstance(value, str))
    value.encode()  # half a surrogate pair is no text
    return str(value)


def identifier(value: Any) -> str:
    expect(1 <= len(text(value).encode()) <= 128)
    return str(value)


def long_identifier(value: Any) -> str:
    """Of a payment request: it is made of other ids."""
    expect(1 <= len(text(value).encode()) <= 512)
    return str(value)


def whole(value: Any) -> int:
    expect(type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER)
    return int(value)


def total(value: Any) -> int:
    """Of amounts, each of which may be at its own bound."""
    expect(type(value) is int and -(2**62) <= value <= 2**62)
    return int(value)


def natural(value: Any) -> int:
    expect(whole(value) >= 0)
    return int(value)


def up_to(most: int) -> Check:
    def check(value: Any) -> int:
        expect(natural(value) <= most)
        return int(value)

    return check


def positive(value: Any) -> int:
    expect(whole(value) > 0)
    return int(value)


def truth(value: Any) -> bool:
    expect(isinstance(value, bool))
    return bool(value)


def time(value: Any, beyond: datetime = BEYOND) -> datetime:
    """Seconds, a zone and at most six digits of a fraction; from 2000 to 2100."""
    parts = TIME.fullmatch(text(value))
    if parts is None:
        raise ValueError
    moment = datetime.fromisoformat(f"{parts[1]}T{parts[2]}{parts[3].upper()}")
    expect(EARLIEST <= moment < beyond)
    return moment


def instant(value: Any) -> datetime:
    return time(value).astimezone(UTC)


def date(value: Any) -> datetime:
    """When something is due, or a period ends."""
    return time(value, BEYOND_TERMS).astimezone(UTC)


def currency(value: Any) -> str:
    expect(re.fullmatch("[A-Z0-9]{3,10}", text(value)) is not None)
    return str(value)


def zone(value: Any) -> str:
    zone_named(text(value))
    return str(value)


def increments(value: Any) -> tuple[int, int]:
    parts = re.fullmatch(r"([1-9]\d{0,15})/([1-9]\d{0,15})", text(value))
    if parts is None:
        raise ValueError
    return positive(int(parts[1])), positive(int(parts[2]))


def card_id(value: Any) -> str:
    expect(re.fullmatch("[0-9a-f]{32}", text(value)) is not None)
    return str(value)


def one_of(*allowed: str) -> Check:
    def check(value: Any) -> str:
        expect(isinstance(value, str) and value in allowed)
        return str(value)

    return check


def list_of(check: Check) -> Check:
    def check_all(value: Any) -> list[Any]:
        expect(isinstance(value, list))
        return [check(item) for item in value]

    return check_all


def optional(check: Check) -> tuple[Check, Any]:
    return (lambda value: None if value is None else check(value)), None


def required(check: Check) -> tuple[Check, Any]:
    return check, REQUIRED


def table(fields: Table) -> Check:
    def check(value: Any) -> Fact:
        expect(isinstance(value, dict))
        fact = {}
        for name, (check_field, default) in fields.items():
            expect(name in value or default is not REQUIRED)
            fact[name] = check_field(value[name]) if name in value else default
        return fact

    return check


def packs(value: Any) -> bool | list[str]:
    return value if isinstance(value, bool) else list(list_of(identifier)(value))
