"""Inputs for the fuzzing: facts of accounts that live through periods, and the same bent, broken or taken to bounds.

Half of them are sound, or else nothing but dead letters would ever be tried. Everything is drawn from one seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

from tests.oracle.clients import Client
from tests.oracle.plans import ANCHORS
from tests.oracle.strategies import LogWriter

Json = Any
KEPT = 2_000
BIG = 2**53
NUMBERS: tuple[Json, ...] = (
    0, 1, -1, 29, 30, 59, 60, 61, 100, 86_400, 2**31, 2**32, BIG // 60, BIG // 60 + 1, BIG - 10**6, BIG - 1, BIG,
    BIG + 1, -BIG, -BIG - 1, 2**63 - 1, 2**63, 2**64, 10**30, 0.5, 1.0, -0.0, 1e16, 1e308, 36_500, 36_501, 1_200,
)  # fmt: skip
# As they stand in the text: some are no JSON, some no number that anything can hold.
NUMERALS = (
    b"NaN", b"Infinity", b"-Infinity", b"nan", b"1e400", b"-1e400", b"1E5", b"1e-400", b"-0", b"00", b"01", b"0x10",
    b"+1", b".5", b"5.", b"1_000", b"9007199254740993", b"18446744073709551616", b"9" * 400, b"1." + b"3" * 400, b"1e",
    b"--1",
)  # fmt: skip
TIMES = (
    "2000-01-01T00:00:00Z", "1999-12-31T23:59:59.999999Z", "1999-12-31T23:00:00-01:00", "2000-01-01T00:59:59+01:00",
    "2099-12-31T23:59:59.999999Z", "2100-01-01T00:00:00Z", "2099-12-31T23:59:59-23:59", "2100-01-01T10:00:00+14:00",
    "2000-02-29T12:00:00Z", "2024-02-29T23:59:59.999999Z", "2100-02-29T00:00:00Z", "2026-02-29T00:00:00Z",
    "2028-02-29T00:00:00+00:00", "2026-03-29T02:30:00+01:00", "2026-10-25T02:30:00+02:00", "2026-11-01T01:30:00-04:00",
    "2016-12-31T23:59:60Z", "2026-11-03T24:00:00Z", "2026-11-03T10:15:30,5Z", "2026-11-03 10:15:30Z",
    "2026-11-03t10:15:30z", "2026-11-03T10:15:30+24:00", "2026-11-03T10:15:30+0100", "2026-11-03T10:15:30-00:00",
    "2026-11-03T10:15:30.1234567Z", "2026-11-03T10:15:30.1234560Z", "2026-11-03T10:15:30.999999999Z",
    "2026-11-03T10:15:30.Z", "2026-11-03T10:15Z", "2026-11-03", "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59.9999999Z", "9999-12-31T23:59:59-23:59", "+2026-11-03T10:15:30Z", "2026-W45-2T10:15:30Z", "",
)  # fmt: skip
TEXTS = (
    "", " ", "\0", "a\0b", "\n", "\r\n", "\x7f", "\u0085", "\u2028", "\u202e", "\ufeff", "\ufffe", "\U0010ffff", "é",
    "e\u0301", "😀" * 32, "😀" * 33, "x" * 127, "x" * 128, "x" * 129, "é" * 64, "é" * 65, "acct_1", "ag_1", "sub_1",
    "null", "true", "NaN", "\\", '"', "'", "../UTC", "UTC", "America/New_York", "Pacific/Apia", "Africa/Casablanca",
    "USD", "JPY", "KWD", "usd", "USD\n", "60/6", "1/9007199254740992", "9007199254740992/1", "9007199254740993/1",
    "month", "year", "day", "week", "billed", "blocked", "adjust", "write_off", "next_period", "period_end", "now",
    "paid", "failed", "answered", "test", "tick", "rules.set", "call.completed", "pack.applied", "cap.set",
    "wallet.adjusted", "subscription.started", "{}", "[]", "%s%n", "'; DROP TABLE x",
)  # fmt: skip
# What json.dumps would refuse or repair: spelled by hand.
LITERALS = (
    rb'"\ud800"', rb'"\udc00\ud800"', rb'"\ud83d\ude00"', rb'"\u0000"', rb'"\x41"', b'"\xff"', b'"\xc3"',
    b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\x01"', b'"a\nb"', b"'a'", b'"',
    b'"2026-11-03T10:15:30\\u002e1234567Z"', b"nul", b"True", b'"2026-11-03T10:15:30.123456\\u0037Z"',
    b'"2026\\u002d11-03T10:15:30Z"', b"\xef\xbb\xbf{}",
)  # fmt: skip
OTHERS: tuple[Json, ...] = (
    None,
    True,
    False,
    [],
    {},
    [None],
    {"a": 1},
    [[]],
    {"": {}},
    ["x"] * 100,
    [80, 80, 1],
    [BIG, 1],
)
# Fields that decide most, drawn more often than the rest.
TELLING = ("at", "ended_at", "account_id", "type", "terms", "interval_count", "late_window_s", "cap", "currency")


class Accounts(LogWriter):
    """The oracle's writer of logs, for as many accounts as wanted, with a memory that does not grow."""

    def __init__(self, seed: str, accounts: int) -> None:
        self.random = Random(seed)
        self.now = self.random.choice(ANCHORS)
        names = ("acct_1", "å" * 64, "x" * 128, "a\0b", "ünï 😀", *(f"acct_{number}" for number in range(2, accounts)))
        self.clients = [
            Client(name, self.random.choice(("ag_1", "ag_2")), self.random.choice(("USD", "EUR", "JPY", "KWD")))
            for name in names[:accounts]
        ]
        self.made = []
        self.count = 0

    def next(self) -> bytes:
        if len(self.made) > 2 * KEPT:
            del self.made[:KEPT]
        return super().next()


class Inputs:
    """Draws one input after the other. The same seed gives the same ones."""

    def __init__(self, seed: str, accounts: int = 8) -> None:
        self.accounts = Accounts(seed, accounts)
        self.random = self.accounts.random
        self._last = b"{}"

    @property
    def over(self) -> bool:
        """Time has come near its end: a new life has more to try."""
        return self.accounts.now.year > 2094

    def next(self) -> bytes:
        """The next input."""
        line = self.accounts.next()
        if self.random.random() < 0.5:
            line = bent(self.random, line, self._last)
        self._last = line
        return line


def bent(random: Random, line: bytes, other: bytes = b"{}") -> bytes:
    """An input made of a record, and of another one: mostly something that is still read to its end."""
    how = random.choices(WAYS, WEIGHTS)[0]
    try:
        made = how(random, line, other)
    except RecursionError:
        # It nests too deeply for us, and comes as it is.
        return line
    # A record at the end of time opens the periods of seventy years: seldom, for it takes as long as a thousand others.
    far = any(year in made for year in (b"2099-", b"2100-")) and random.random() > 0.02
    return line if far else made


def _value(random: Random) -> Json:
    # Copied, or what is put into a list would be in it ever after.
    return deepcopy(random.choice(random.choice((NUMBERS, TIMES, TEXTS, OTHERS))))


def _like(random: Random, name: str, value: Json) -> Json:
    """Another value of the same type, so that it is not refused at once."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return random.choice(NUMBERS) if random.random() < 0.8 else random.randint(-BIG, BIG)
    if isinstance(value, str) and (name == "at" or name.endswith(("_at", "_start", "_end"))):
        # Mostly some other day: a tick at the end of time leaves little to try after it.
        return random.choice(TIMES) if random.random() < 0.2 else value[:8] + f"{random.randint(0, 32):02}" + value[10:]
    if isinstance(value, str):
        return random.choice(TEXTS)
    return _value(random)


def _places(content: Json) -> list[tuple[Json, Any]]:
    """Each (container, key) of a JSON value."""
    if isinstance(content, dict):
        own: list[tuple[Json, Any]] = [(content, name) for name in content]
        return own + [place for value in content.values() for place in _places(value)]
    if isinstance(content, list):
        own = [(content, index) for index in range(len(content))]
        return own + [place for value in content for place in _places(value)]
    return []


def _object(line: bytes) -> dict[str, Json] | None:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) and content else None


def _text(random: Random, content: Json) -> bytes:
    return json.dumps(content, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _place(random: Random, content: Json) -> tuple[Json, Any]:
    places = _places(content)
    telling = [place for place in places if place[1] in TELLING]
    return random.choice(telling if telling and random.random() < 0.3 else places)


def _other_values(random: Random, line: bytes, other: bytes) -> bytes:
    content = _object(line)
    if content is None:
        return _cut(random, line, other)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        where, name = _place(random, content)
        where[name] = _like(random, str(name), where[name]) if random.random() < 0.8 else _value(random)
    return _text(random, content)


def _other_fields(random: Random, line: bytes, other: bytes) -> bytes:
    """Fields gone, new, renamed, or of another record."""
    content, second = _object(line), _object(other)
    if content is None:
        return _cut(random, line, other)
    draw = random.random()
    name = random.choice(list(content))
    if draw < 0.25:
        del content[name]
    elif draw < 0.5 and second:
        content |= {key: second[key] for key in random.sample(list(second), min(2, len(second)))}
    elif draw < 0.75:
        content[random.choice(TEXTS)] = _value(random)
    else:
        content[name.upper()] = content.pop(name)
    return _text(random, content)


def _other_literal(random: Random, line: bytes, other: bytes) -> bytes:
    """A value spelled as JSON should not be, or as json.dumps never would."""
    content = _object(line)
    if content is None:
        return _cut(random, line, other)
    where, name = _place(random, content)
    where[name] = "@@"
    return _text(random, content).replace(b'"@@"', random.choice(random.choice((NUMERALS, LITERALS))), 1)


def _twice(random: Random, line: bytes, other: bytes) -> bytes:
    """The same key twice, in front or at the end."""
    content = _object(line)
    if content is None:
        return _cut(random, line, other)
    name = random.choice(list(content))
    again = b"%s: %s" % (json.dumps(name).encode(), _text(random, _like(random, name, content[name])))
    if random.random() < 0.5:
        return b"{" + again + b", " + line.lstrip()[1:]
    return line.rstrip()[:-1] + b", " + again + b"}"


def _cut(random: Random, line: bytes, other: bytes) -> bytes:
    """Bytes gone, doubled, changed, or put in from another record."""
    content = bytearray(line)
    for _ in range(random.choice((1, 1, 2, 8))):
        at = random.randint(0, len(content))
        end = min(len(content), at + random.choice((1, 1, 2, 7, 40)))
        draw = random.random()
        if draw < 0.3:
            del content[at:end]
        elif draw < 0.55:
            content[at:end] = random.randbytes(end - at)
        elif draw < 0.7:
            content[at:at] = content[at:end]
        elif draw < 0.85:
            start = random.randint(0, len(other))
            content[at:end] = other[start : start + random.choice((1, 9, 60))]
        else:
            content[at:at] = random.choice(
                (b"\0", b"{", b"}", b"[", b"]", b'"', b",", b"\\", b"\xff", b"\xe2\x80", b"e", b"-")
            )
    return bytes(content)


def _deep(random: Random, line: bytes, other: bytes) -> bytes:
    """Nested deeply: somewhere near what a recursion bears, or far beyond it."""
    depth = random.choice((30, 300, random.randint(850, 1_010), 5_000, 20_000))
    opening, closing = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'[{"at":', b"}]")))
    nested = (
        opening * depth
        + random.choice((b"1", b"", b'"1.12345678"'))
        + closing * random.choice((depth, depth, depth - 1))
    )
    if random.random() < 0.3:
        return nested
    extra = random.choice((b"", b'"z": "1.12345678", ', b'"z": "\\u0041", ', '"z": "é", '.encode()))
    name = random.choice((b"x", b"terms", b"at", b"account_id"))
    return line.rstrip()[:-1] + b", " + extra + b'"' + name + b'": ' + nested + b"}"


def _huge(random: Random, line: bytes, other: bytes) -> bytes:
    """A string, a list or a number far too long; up to, at, or beyond the largest fact."""
    size = random.choice((1_000, 60_000, 261_000, 262_144 - len(line) - 20, 262_200, 600_000))
    name = random.choice((b"x", b"from_number", b"reason", b"call_id", b"note", b"tier", b"external_id"))
    filled = random.choice(
        (
            b'"%s"' % (b"x" * size),
            b'"%s"' % ("é".encode() * (size // 2)),
            b"[" + b"0," * (size // 2) + b"0]",
            b"9" * size,
        )
    )
    return line.rstrip()[:-1] + b', "' + name + b'": ' + filled + b"}"


def _noise(random: Random, line: bytes, other: bytes) -> bytes:
    return random.randbytes(random.choice((0, 1, 2, 16, 200)))


def _bare(random: Random, line: bytes, other: bytes) -> bytes:
    """A JSON value that is no object, or an object around or beside one."""
    return random.choice(
        (
            _text(random, _value(random)),
            b"[" + line + b"]",
            line + line,
            line + b" ",
            b"\xef\xbb\xbf" + line,
            b" \n\t" + line,
        )
    )


Way = Callable[[Random, bytes, bytes], bytes]
_WAYS: tuple[tuple[Way, float], ...] = (
    (_other_values, 52),
    (_other_fields, 11),
    (_other_literal, 10),
    (_twice, 8),
    (_cut, 12),
    (_deep, 1),
    (_huge, 0.3),
    (_noise, 2),
    (_bare, 4),
)
WAYS = tuple(way for way, _ in _WAYS)
WEIGHTS = tuple(weight for _, weight in _WAYS)
