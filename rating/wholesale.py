"""Wholesale: what the platform charges an agency, and so what a call costs it.

`wholesale.set` facts are in every partition, and each partition keeps all versions of each agency: a call costs what
was in force when it ended. There are no pools in a call's cost; what a period includes is settled with the period.
"""

from __future__ import annotations

from msgspec.structs import replace

from rating.books import Books, Refusal, within_bounds
from rating.duration import billed_seconds
from rating.facts import CallCompleted, WholesaleSet
from rating.money import cost_micros
from rating.prices import Extras, no_rate
from rating.schedules import WholesaleVersion, add_version, schedules_of
from rating.terms import WholesaleTerms


def set_wholesale(books: Books, fact: WholesaleSet) -> None:
    """Take up wholesale terms of an agency; they count for calls that end at or after ``at`` and are rated from now on.

    Raises:
        Refusal: ``wrong_currency``, ``unknown_rate_card``.
    """
    agency = books.wholesale.get(fact.agency_id)
    if agency is not None:
        if fact.fact_id in agency.fact_ids:
            return
        currency = agency.versions[0].terms.currency
        if currency != fact.terms.currency:
            raise Refusal("wrong_currency", f"the agency's wholesale is in {currency}, these in {fact.terms.currency}")
    books.card_of(fact.terms.rate_card, fact.terms.currency)
    agency = books.changed_wholesale(fact.agency_id)
    agency.fact_ids.add(fact.fact_id)
    add_version(agency.versions, fact.at, fact.terms)
    books.agencies.wholesale_set(fact, schedules_of(agency.versions), books.clock, books.offset)


def _in_force(books: Books, call: CallCompleted) -> WholesaleVersion | None:
    agency = books.wholesale.get(call.agency_id)
    if agency is None:
        return None
    return next((one for one in reversed(agency.versions) if one.at <= call.ended_at), None)


def reported_counts(books: Books, call: CallCompleted, currency: str) -> bool:
    """Whether a cost that was reported with a call of an account in ``currency`` is its cost."""
    version = _in_force(books, call)
    return version is None or _reported(version.terms, call, currency)


def _reported(terms: WholesaleTerms, call: CallCompleted, currency: str) -> bool:
    """Whether what was reported is what the platform asks for: by its policy, and in its currency."""
    known = call.cost_micros is not None and (call.cost_currency or currency) == terms.currency
    return known and terms.cost_policy == "reported"


def cost_of(books: Books, call: CallCompleted, duration_s: int, currency: str) -> tuple[CallCompleted, Extras]:
    """What a call costs its agency, which has wholesale terms or not.

    Args:
        books: of the partition.
        call: the call, as reported.
        duration_s: its seconds, as it is rated.
        currency: of its account.

    Returns:
        The call with its cost, and what the rated call tells of it; the call itself and nothing where no terms are in
        force.

    Raises:
        Refusal: ``no_rate``; ``out_of_range``.
    """
    version = _in_force(books, call)
    if version is None:
        return call, {}
    tariff = books.wholesale_tariff(version.terms)
    priced = tariff if tariff.card is None else tariff.priced(call.to_number, call.direction, call.tier)
    billed_s, fee = billed_seconds(priced, duration_s, call.outcome, call.test)
    within_bounds("the wholesale seconds", billed_s)
    reported = _reported(version.terms, call, currency)
    if not reported:
        if billed_s and not priced.has_rate:
            raise no_rate(tariff, call, "the wholesale terms have none")
        cost = within_bounds("the wholesale cost", cost_micros(billed_s, priced.rate) + fee)
        call = replace(call, cost_micros=cost, cost_currency=version.terms.currency)
    return call, {
        "cost_source": "reported" if reported else "wholesale",
        "wholesale_billed_s": billed_s,
        "wholesale_rate_micros_per_minute": priced.price_of_a_minute,
        "wholesale_rate_prefix": priced.prefix,
    }
