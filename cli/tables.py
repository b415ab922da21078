"""Tables of usage: minutes with seconds, exact amounts, ids whole where the output is no terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from cli import output

WIDEST = 1_000


def duration_text(seconds: int | None) -> str:
    """Seconds as minutes and seconds (``204:06``), for plans are sold in minutes; nothing for None."""
    if seconds is None:
        return ""
    minutes, second = divmod(abs(seconds), 60)
    return f"{'-' if seconds < 0 else ''}{minutes:,}:{second:02d}"


def money_text(micros: int | None, currency: str) -> str:
    """Micros as an exact amount with its currency; nothing for None."""
    from catalogue.spelling import micros_text

    return "" if micros is None else micros_text(micros, currency)


def time_text(at: datetime | None) -> str:
    """A time in UTC for people: to the minute, unless it has seconds; nothing for None."""
    if at is None:
        return ""
    text = at.strftime("%Y-%m-%d %H:%M:%S" if at.second or at.microsecond else "%Y-%m-%d %H:%M")
    return f"{text} UTC"


def print_rows(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], left: Sequence[str] = ()) -> None:
    """Print a table of texts.

    Args:
        title: above it.
        columns: their headings.
        rows: cells as text.
        left: headings of the columns that are aligned left; the others are aligned right.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=column in left)
    for row in rows:
        table.add_row(*map(Text, row))
    console = output.console()
    if not console.is_terminal:
        console.width = WIDEST
        console.width = console.measure(table).maximum
    console.print(table)
