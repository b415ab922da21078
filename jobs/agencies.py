"""Where an agency stands with the platform: its wholesale terms, its open periods, its numbers, from the ledger."""

from __future__ import annotations

from typing import Any

from jobs.reading import TopicReader
from rating.agencies import AgencyFold
from rating.agency_facts import WholesaleSums
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.restore import unreadable
from streams.settings import Settings
from streams.topics import AGENCY_LEDGER


async def wholesale_of(settings: Settings, agency_id: str) -> dict[str, Any]:
    """An agency's wholesale terms and where it stands, as the second fold knows them.

    Returns:
        ``agency_id``; ``terms``: each with ``at`` from when they are in force, the oldest first; ``periods``: the open
        ones, with what was used so far, in seconds and micros; ``numbers``: how many its accounts rent.

    Raises:
        BrokerUnreachable, TopicMissing, LedgerUnusable: there is nothing to read from.
    """
    count = await check_topics(settings, [AGENCY_LEDGER])
    partition = partition_of(agency_id.encode(), count)
    fold = AgencyFold(partition, count)
    async with TopicReader(settings, AGENCY_LEDGER, count) as reader:
        async for record in reader.read_all([partition]):
            try:
                fold.restore(record.key, record.value)
            except ValueError as error:
                raise unreadable(record, error) from None
    agency, history = fold.agencies.get(agency_id), fold.histories.get(agency_id)
    periods = [
        {
            "period_start": period.start,
            "period_end": period.end,
            "currency": period.terms.currency,
            "included_s": period.included_s,
            **_fields(period.wholesale or WholesaleSums()),
        }
        for period in (agency.periods if agency else ())
        if period.terms is not None
    ]
    return {
        "agency_id": agency_id,
        "terms": [{"at": version.at, **_fields(version.terms)} for version in (history.versions if history else ())],
        "periods": periods,
        "numbers": fold.numbers_of(agency_id),
    }


def _fields(of: Any) -> dict[str, Any]:
    return {name: getattr(of, name) for name in of.__struct_fields__}
