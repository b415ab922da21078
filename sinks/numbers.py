"""What people ask of numbers and campaigns: how many there are, and what each of them used."""

from __future__ import annotations

from typing import Any

from sinks.clickhouse import Store

# A call of a rental; what has no call at all is joined with an empty one.
DURING = "(c.call_id != '' AND c.ended_at >= n.rented_at AND (n.released_at IS NULL OR c.ended_at < n.released_at))"


def numbers(
    store: Store, account: str | None = None, agency: str | None = None, released: bool = False
) -> list[dict[str, Any]]:
    """Rentals of numbers, each with the calls that ended while it lasted.

    Args:
        store: where they are.
        account: only this one's.
        agency: only those of this agency's accounts.
        released: those that are over, too.

    Returns:
        one row a rental: the columns of the view ``numbers``, ``calls``, ``billed_s`` (seconds) and ``amount_micros``.
    """
    conditions, parameters = _wanted(account, agency)
    if not released:
        conditions.append("n.released_at IS NULL")
    return store.rows(
        "SELECT n.agency_id AS agency_id, n.account_id AS account_id, n.number AS number, n.label AS label,"
        " n.rented_at AS rented_at, n.released_at AS released_at, n.price_micros AS price_micros,"
        f" n.currency AS currency, countIf({DURING}) AS calls, sumIf(c.billed_s, {DURING}) AS billed_s,"
        f" sumIf(c.amount_micros, {DURING}) AS amount_micros"
        " FROM numbers AS n LEFT JOIN rated_calls AS c"
        " ON c.agency_id = n.agency_id AND c.account_id = n.account_id AND c.number = n.number"
        f" WHERE {' AND '.join(conditions)}"
        " GROUP BY agency_id, account_id, number, label, rented_at, released_at, price_micros, currency"
        " ORDER BY agency_id, account_id, number, rented_at",
        parameters,
    )


def campaigns(store: Store, account: str | None = None, agency: str | None = None) -> list[dict[str, Any]]:
    """Every campaign that ever had a call, by account, agency or all: the columns of the view ``campaigns``."""
    conditions, parameters = _wanted(account, agency)
    return store.rows(
        f"SELECT * FROM campaigns AS n WHERE {' AND '.join(conditions)}"
        " ORDER BY agency_id, account_id, campaign_id, currency",
        parameters,
    )


def _wanted(account: str | None, agency: str | None) -> tuple[list[str], dict[str, str]]:
    given = {"account": account, "agency": agency}
    parameters = {name: value for name, value in given.items() if value is not None}
    return ["1", *(f"n.{name}_id = {{{name}:String}}" for name in parameters)], parameters
