"""From structs to columns, as ClickHouse takes them: times as integer microseconds, no text as empty text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any, get_args, get_type_hints

import msgspec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

Columns = dict[str, list[Any]]
ColumnsOf = Callable[[Sequence[Any]], Columns]
Convert = Callable[[Iterable[Any]], list[Any]]


def _micros(values: Iterable[datetime]) -> list[Any]:
    return [(value - EPOCH) // MICROSECOND for value in values]


def _micros_or_null(values: Iterable[datetime | None]) -> list[Any]:
    return [None if value is None else (value - EPOCH) // MICROSECOND for value in values]


def _text(values: Iterable[str | None]) -> list[Any]:
    return [value or "" for value in values]


def _conversion(hint: Any) -> Convert:
    """How values of a field's type become values of a column."""
    kinds = set(get_args(hint)) or {hint}
    optional = type(None) in kinds
    if datetime in kinds:
        return _micros_or_null if optional else _micros
    return _text if str in kinds and optional else list


def struct_columns(kind: type[msgspec.Struct]) -> ColumnsOf:
    """Columns of one kind of struct: one a field, by its name."""
    fields = [(name, attrgetter(name), _conversion(hint)) for name, hint in get_type_hints(kind).items()]

    def columns(decoded: Sequence[Any]) -> Columns:
        return {name: convert(map(get, decoded)) for name, get, convert in fields}

    return columns


def union_columns(base: type[msgspec.Struct], kinds: Sequence[type[msgspec.Struct]]) -> ColumnsOf:
    """Columns of several kinds of struct together: null, or empty text, in rows of a kind that lacks one.

    Args:
        base: what all have in common, and a property ``type``.
        kinds: all kinds.
    """
    fields: dict[str, Convert] = {"type": list}
    for kind in kinds:
        fields.update({name: _conversion(hint | None) for name, hint in get_type_hints(kind).items()})
    fields.update({name: _conversion(hint) for name, hint in get_type_hints(base).items()})

    def columns(decoded: Sequence[Any]) -> Columns:
        return {name: convert(getattr(row, name, None) for row in decoded) for name, convert in fields.items()}

    return columns


def nested_columns(kind: type[msgspec.Struct], field: str, inner: type[msgspec.Struct]) -> ColumnsOf:
    """Columns of a struct with a list of structs in ``field``: that becomes one column of arrays a field of them."""
    whole = struct_columns(kind)

    def columns(decoded: Sequence[Any]) -> Columns:
        result = whole(decoded)
        lists = result.pop(field)
        for name in inner.__struct_fields__:
            result[f"{field}.{name}"] = [[getattr(one, name) for one in listed] for listed in lists]
        return result

    return columns
