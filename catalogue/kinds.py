"""Types of the fields of a catalogue: each reads its spelling, and says in an error what is allowed."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from catalogue import spelling
from rating.terms import MAX_DAYS, MAX_YEARS
from streams.units import known_units

MAX_ID_BYTES = 128
MAX_PERCENT = 1_000
MAX_WINDOW_S = MAX_YEARS * 366 * 86_400

_control = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search
_name = re.compile(r"\w[\w.:-]*").fullmatch
_card = re.compile(r"[0-9a-f]{32}").fullmatch
_tax_code = re.compile(r"txcd_\d{1,20}").fullmatch
_tax_id = re.compile(r"[a-z]{2}_[a-z_]{2,20}:[\w.-]{1,60}").fullmatch
_email = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+").fullmatch


def identifier(value: str) -> str:
    """An account's id: 1 to 128 bytes, without white space.

    Raises:
        ValueError: it is not.
    """
    if not value or len(value.encode("utf-8", "replace")) > MAX_ID_BYTES or _control(value) or len(value.split()) != 1:
        raise ValueError(f"an id has 1 to {MAX_ID_BYTES} bytes and no white space")
    return value


def name(value: str) -> str:
    """The name of an agency, a plan or a pack, which is part of addresses such as ``acme/starter``.

    Raises:
        ValueError: it has other characters than letters, digits and ``_ . : -``, or is too long.
    """
    if not _name(value) or len(value.encode()) > MAX_ID_BYTES:
        raise ValueError(f"a name has letters, digits and _ . : - only, and at most {MAX_ID_BYTES} bytes")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 500 or _control(value):
        raise ValueError("must be text on one line, at most 500 characters")
    return value.strip()


def _email_address(value: Any) -> str:
    if not isinstance(value, str) or not _email(value.strip()):
        raise ValueError("must be an email address such as billing@example.com")
    return value.strip()


@cache
def _countries() -> frozenset[str]:
    from babel.core import get_global

    return frozenset(code for code in get_global("territory_currencies") if len(code) == 2 and code.isalpha())


@cache
def _zones() -> tuple[str, ...]:
    return tuple(files("tzdata").joinpath("zones").read_text().split())


def _currency(value: Any) -> str:
    code = value.strip().upper() if isinstance(value, str) else ""
    known = known_units()
    if code not in known:
        longer = sorted(one for one in known if len(code) == 2 and one.startswith(code))
        near = f"; did you mean {longer[0]}?" if longer else spelling.hint(code, known)
        raise ValueError(f"must be a currency's ISO 4217 code such as USD, or a unit named in CALLMETER_UNITS{near}")
    return code


def _country(value: Any) -> str:
    code = value.strip().upper() if isinstance(value, str) else ""
    if code not in _countries():
        raise ValueError("must be a country's ISO 3166 code of two letters such as US")
    return code


def _timezone(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if text in _zones():
        return text
    city = text.replace(" ", "_").rpartition("/")[2].casefold()
    same_city = [zone for zone in _zones() if city and zone.rpartition("/")[2].casefold() == city]
    near = f"; did you mean {same_city[0]}?" if same_city else spelling.hint(text, _zones())
    raise ValueError(f"must be a time zone such as America/New_York{near}")


def _longest(value: Any) -> int:
    seconds = spelling.seconds(value)
    if not seconds:
        raise ValueError("must be at least 1 second")
    return seconds


def _percents(value: Any) -> tuple[int, ...]:
    allowed = f"must be a list of whole percents from 1 to {MAX_PERCENT} such as [80, 100]"
    if not isinstance(value, list | tuple):
        raise ValueError(allowed)
    try:
        return tuple(sorted({spelling.whole(one, 1, MAX_PERCENT) for one in value}))
    except ValueError:
        raise ValueError(allowed) from None


def _packs(value: Any) -> bool | tuple[str, ...]:
    if isinstance(value, list | tuple) and all(isinstance(one, str) and one for one in value):
        return tuple(sorted(set(value))) or False
    try:
        return spelling.flag(value)
    except ValueError:
        raise ValueError("must be true, false or a list of packs such as [boost-60]") from None


def _choice(*allowed: str) -> Callable[[Any], str]:
    return lambda value: spelling.choice(value, allowed)


def _rate_text(rate: Decimal | str | None) -> str:
    if isinstance(rate, str):
        return rate
    return "blocked" if rate is None else f"{rate} per minute"


def _tax_code_of(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _tax_code(text):
        raise ValueError("must be a product tax code of Stripe's such as txcd_10000000")
    return text


def _tax_id_of(value: Any) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not _tax_id(text):
        raise ValueError("must be a tax id with its kind, as Stripe names it, such as eu_vat:DE123456789")
    return text


def _card_id(value: Any) -> str:
    text = value.strip().lower() if isinstance(value, str) else ""
    if not _card(text):
        raise ValueError("must be a rate card's id of 32 digits, as callmeter rates import prints it")
    return text


Text = Annotated[str, BeforeValidator(_text)]
Email = Annotated[str, BeforeValidator(_email_address)]
Currency = Annotated[str, BeforeValidator(_currency)]
Country = Annotated[str, BeforeValidator(_country)]
Timezone = Annotated[str, BeforeValidator(_timezone)]
Amount = Annotated[Decimal, BeforeValidator(spelling.amount)]
SignedAmount = Annotated[Decimal, BeforeValidator(lambda value: spelling.amount(value, signed=True))]
Every = Annotated[str, BeforeValidator(spelling.every)]
Rate = Annotated[
    Decimal | str | None, BeforeValidator(spelling.rate), PlainSerializer(_rate_text, return_type=str, when_used="json")
]
PerMinute = Annotated[
    Decimal, BeforeValidator(spelling.per_minute), PlainSerializer(_rate_text, return_type=str, when_used="json")
]
Increments = Annotated[str, BeforeValidator(spelling.increments)]
Seconds = Annotated[int, BeforeValidator(spelling.seconds)]
Longest = Annotated[int, BeforeValidator(_longest)]
Window = Annotated[int, BeforeValidator(lambda value: spelling.seconds(value, MAX_WINDOW_S))]
# Minutes are counted in seconds, which must stay within the bounds too.
Minutes = Annotated[int, BeforeValidator(lambda value: spelling.whole(value, 0, spelling.LARGEST // 60))]
Days = Annotated[int, BeforeValidator(lambda value: spelling.whole(value, 0, MAX_DAYS))]
Flag = Annotated[bool, BeforeValidator(spelling.flag)]
Percents = Annotated[tuple[int, ...], BeforeValidator(_percents)]
Packs = Annotated[bool | tuple[str, ...], BeforeValidator(_packs)]
LateCalls = Annotated[str, BeforeValidator(_choice("next_period", "adjust", "write_off"))]
TaxCode = Annotated[str, BeforeValidator(_tax_code_of)]
TaxId = Annotated[str, BeforeValidator(_tax_id_of)]
CardId = Annotated[str, BeforeValidator(_card_id)]
Cost = Annotated[str, BeforeValidator(_choice("card", "reported"))]
CancelCredit = Annotated[str, BeforeValidator(_choice("none", "unused"))]
CapName = Annotated[str, BeforeValidator(identifier)]
CapPer = Annotated[str, BeforeValidator(_choice("period", "day"))]
CapMode = Annotated[str, BeforeValidator(_choice("hard", "soft"))]
