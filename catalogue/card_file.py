"""Rate cards as people keep them: a CSV file, checked line by line.

The first line names the columns, in any order; ``prefix`` and ``rate`` must be there. Amounts are exact decimals in
units of the card's currency. An empty cell leaves open what may be left open. A card that was shown as JSON is read
back as it is.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from catalogue.kinds import name as card_name
from catalogue.spelling import amount, choice, flag, hint, increments, micros
from rating.cards import Card, Direction, NoCard, Row
from rating.terms import LARGEST
from streams.errors import CallmeterError
from streams.units import known_units

COLUMNS = ("prefix", "direction", "tier", "rate", "increments", "connection_fee", "pools", "currency", "description")
DIRECTIONS = ("inbound", "outbound", "web")
LONGEST_PREFIX = 15
SHOWN = 100
# Looked at between two reports of how far it is.
BREATH = 2_000

Show = Callable[[int, int], None]
T = TypeVar("T")


@dataclass(frozen=True, order=True)
class LineProblem:
    """A mistake in a card's file, or something to look at: its line, counted from 1, and what it is."""

    line: int
    message: str


class CardFileError(CallmeterError):
    """A card's file cannot be used. ``problems`` holds every mistake; the text has a line for each, to a hundred."""

    def __init__(self, file: str, problems: Iterable[LineProblem]) -> None:
        self.file = file
        self.problems = sorted(set(problems))
        lines = [f"{file}:{problem.line}: {problem.message}" for problem in self.problems[:SHOWN]]
        if len(self.problems) > SHOWN:
            lines.append(f"... and {len(self.problems) - SHOWN} more")
        head = "" if len(self.problems) == 1 else f"{len(self.problems)} mistakes in {file}\n"
        super().__init__(head + "\n".join(lines))


@dataclass(frozen=True)
class CardFile:
    """A card that was read, and what is worth a look in its file."""

    card: Card
    warnings: tuple[LineProblem, ...]


def read_card(file: Path, name: str | None = None, currency: str | None = None, show: Show | None = None) -> CardFile:
    """Read and check a card: CSV, or JSON as `callmeter rates show --json` prints it.

    Args:
        file: the file.
        name: the card's name; default: the file's, without its ending.
        currency: of a CSV file without a column of that name.
        show: called now and then with how many bytes were looked at, of how many.

    Raises:
        CardFileError: with every mistake in it.
        CallmeterError: it cannot be read, or does not say its currency.
    """
    try:
        content = file.read_bytes()
    except FileNotFoundError:
        raise CallmeterError(f"there is no file {file}") from None
    except OSError as error:
        raise CallmeterError(f"cannot read {file}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CardFileError(str(file), [LineProblem(line, "not UTF-8 text")]) from None
    if text.lstrip().startswith("{"):
        return CardFile(_from_json(file, text), ())
    try:
        named = card_name(name or file.stem)
    except ValueError as error:
        raise CallmeterError(f"name {name or file.stem!r}: {error}; say another one: --name") from None
    return _Reader(str(file), text, show).card(named, currency)


def as_json(card: Card) -> dict[str, object]:
    """A card as JSON shows it, rows as in docs/facts.md."""
    fields = Row.__struct_fields__
    rows = [{field: getattr(row, field) for field in fields} for row in card.rows]
    return {"card_id": card.card_id, "name": card.name, "currency": card.currency, "rows": rows}


def _from_json(file: Path, text: str) -> Card:
    try:
        content = json.loads(text)
        rows = [msgspec.convert([row[field] for field in Row.__struct_fields__], Row) for row in content["rows"]]
        card = Card(content["name"], content["currency"], rows)
    except (ValueError, KeyError, TypeError) as error:
        raise CallmeterError(f"{file}: no rate card: {type(error).__name__} {error}") from None
    if content.get("card_id") not in (None, card.card_id):
        raise CallmeterError(f"{file}: its content is card {card.card_id}, not {content['card_id']}")
    return card


class _Reader:
    """One reading of a CSV file."""

    def __init__(self, file: str, text: str, show: Show | None) -> None:
        self._file = file
        self._text = text
        self._show = show or (lambda done, total: None)
        self._problems: list[LineProblem] = []
        self._currencies: dict[str, int] = {}
        # Line of each prefix, direction and tier.
        self._lines: dict[tuple[str, str, str], int] = {}

    def card(self, name: str, currency: str | None) -> CardFile:
        """The card of the file."""
        rows = list(self._rows())
        found = self._currency(currency)
        if not rows and not self._problems:
            self._problems.append(LineProblem(1, "there is no row"))
        if self._problems or found is None:
            raise CardFileError(self._file, self._problems)
        try:
            return CardFile(Card(name, found, rows), tuple(sorted(self._overlaps(rows))))
        except NoCard as error:
            raise CallmeterError(f"{self._file}: {error}") from None

    def _rows(self) -> Iterable[Row]:
        lines = self._text.splitlines(keepends=True)
        first = lines[0] if lines else ""
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(lines, delimiter=delimiter)
        columns = self._columns(next(reader, []))
        if columns is None:
            return
        done = 0
        for cells in reader:
            done += 1
            if done % BREATH == 0:
                self._show(reader.line_num, len(lines))
            if not any(cell.strip() for cell in cells):
                continue
            row = self._row(reader.line_num, columns, cells)
            if row is not None:
                yield row
        self._show(len(lines), len(lines))

    def _columns(self, cells: list[str]) -> dict[str, int] | None:
        columns: dict[str, int] = {}
        for index, cell in enumerate(cells):
            column = cell.strip().lower().replace(" ", "_")
            if column not in COLUMNS:
                self._mistake(1, f"{cell.strip()!r} is no column of a rate card{hint(column, COLUMNS)}")
            elif column in columns:
                self._mistake(1, f"two columns {column}")
            columns[column] = index
        for needed in ("prefix", "rate"):
            if needed not in columns:
                self._mistake(1, f"there is no column {needed}; the first line names the columns: {', '.join(COLUMNS)}")
        return None if self._problems else columns

    def _row(self, line: int, columns: dict[str, int], cells: list[str]) -> Row | None:
        mistakes = len(self._problems)
        if len(cells) != len(columns):
            self._mistake(line, f"{len(cells)} cells under {len(columns)} columns")
            return None
        cell = {column: cells[index].strip() for column, index in columns.items()}
        row = Row(
            prefix=self._read(line, "prefix", cell["prefix"], _prefix) or "",
            direction=self._open(line, "direction", cell, _direction),
            tier=self._open(line, "tier", cell, _tier),
            rate_micros_per_minute=self._read(line, "rate", cell["rate"], _micros) or 0,
            increments=self._open(line, "increments", cell, increments),
            connection_fee_micros=self._open(line, "connection_fee", cell, _micros),
            pools=self._open(line, "pools", cell, flag) is not False,
        )
        if cell.get("currency"):
            self._currencies.setdefault(cell["currency"].upper(), line)
        if len(self._problems) > mistakes:
            return None
        if (before := self._lines.setdefault(row.key, line)) != line:
            self._mistake(line, f"{_named(row)} is on line {before} already")
        return row

    def _open(self, line: int, column: str, cell: dict[str, str], read: Callable[[str], T]) -> T | None:
        text = cell.get(column, "")
        return self._read(line, column, text, read) if text else None

    def _read(self, line: int, column: str, text: str, read: Callable[[str], T]) -> T | None:
        try:
            return read(text)
        except ValueError as error:
            self._mistake(line, f'{column}: {error} (got "{text[:40]}")')
            return None

    def _mistake(self, line: int, message: str) -> None:
        self._problems.append(LineProblem(line, message))

    def _currency(self, given: str | None) -> str | None:
        """The one currency of the card."""
        found = dict(self._currencies)
        if given is not None:
            found.setdefault(given.strip().upper(), 1)
        if not found and not self._problems:
            raise CallmeterError(f"{self._file}: in which currency? Say it: --currency USD, or in a column currency")
        for code, line in list(found.items())[1:]:
            self._mistake(line, f"currency: a card has one, and this is {code} beside {next(iter(found))}")
        one = next(iter(found), None)
        if one is not None and one not in known_units():
            self._mistake(
                found[one],
                "currency: must be a currency's ISO 4217 code such as USD, or a unit named in CALLMETER_UNITS"
                + hint(one, known_units()),
            )
        return one

    def _overlaps(self, rows: list[Row]) -> Iterable[LineProblem]:
        """Rows that match one call though neither says more than the other; rows that change nothing."""
        by_prefix: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_prefix[row.prefix].append(row)
        for same in by_prefix.values():
            directed = [row for row in same if row.direction and not row.tier]
            tiered = [row for row in same if row.tier and not row.direction]
            named = {row.key for row in same}
            for one in directed:
                for other in tiered:
                    if (one.prefix, one.direction or "", other.tier or "") not in named:
                        lines = self._lines[one.key], self._lines[other.key]
                        message = (
                            f"overlaps with line {min(lines)}: {one.direction} calls of tier {other.tier} match both; "
                            f"the row for {one.direction} counts (line {lines[0]})"
                        )
                        yield LineProblem(max(lines), message)
        prices = {row.key: row for row in rows}
        for row in rows:
            for length in range(len(row.prefix) - 1, -1, -1):
                wider = prices.get((row.prefix[:length], row.direction or "", row.tier or ""))
                if wider is not None:
                    if _price(wider) == _price(row):
                        yield LineProblem(
                            self._lines[row.key], f"says the same as line {self._lines[wider.key]} ({_named(wider)})"
                        )
                    break


def _price(row: Row) -> tuple[object, ...]:
    return row.rate_micros_per_minute, row.increments, row.connection_fee_micros, row.pools


def _named(row: Row) -> str:
    parts = [f"prefix {row.prefix}" if row.prefix else "any prefix"]
    parts += [row.direction] if row.direction else []
    parts += [f"tier {row.tier}"] if row.tier else []
    return ", ".join(parts)


def _prefix(text: str) -> str:
    digits = text.removeprefix("+")
    if digits and not (digits.isascii() and digits.isdigit()):
        raise ValueError("must be digits such as 4930, or empty for any number")
    if digits.startswith("0"):
        raise ValueError("must begin with the country's code, and none begins with 0: write 4930, not 004930 or 030")
    if len(digits) > LONGEST_PREFIX:
        raise ValueError(f"has at most {LONGEST_PREFIX} digits")
    return digits


def _direction(text: str) -> Direction:
    return cast("Direction", choice(text, DIRECTIONS))


def _tier(text: str) -> str:
    if len(text.encode()) > 128:
        raise ValueError("has at most 128 bytes")
    return text


def _micros(text: str) -> int:
    value = micros(amount(text))
    assert value <= LARGEST
    return value
