"""Payment requests as they stand, read from their topic: it needs no ClickHouse, and knows of every one."""

from __future__ import annotations

from typing import Any

import msgspec

from jobs.reading import TopicReader
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.errors import Refused
from streams.settings import Settings
from streams.topics import PAYMENT_REQUESTS

Request = dict[str, Any]

_decode = msgspec.json.Decoder(Request).decode


async def read_requests(
    settings: Settings, prefix: str = "", account_id: str | None = None, **fields: str | None
) -> list[Request]:
    """The latest state of payment requests, by due date.

    Args:
        settings: checked settings.
        prefix: what their ids begin with.
        account_id: only those of this account; then only its partition is read.
        fields: only those with these values; None for any.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    count = await check_topics(settings, [PAYMENT_REQUESTS])
    partitions = None if account_id is None else [partition_of(account_id.encode(), count)]
    wanted = {name: value for name, value in {**fields, "account_id": account_id}.items() if value is not None}
    begins = prefix.encode()
    # Ids are unique in their account only.
    found: dict[tuple[str, bytes], Request] = {}
    async with TopicReader(settings, PAYMENT_REQUESTS, count) as reader:
        async for record in reader.read_all(partitions):
            if not record.key.startswith(begins):
                continue
            request = _decode(record.value)
            own = request["account_id"], record.key
            if all(request[name] == value for name, value in wanted.items()):
                found[own] = request
            else:
                # It may have been one of them before.
                found.pop(own, None)
    return sorted(found.values(), key=lambda request: (request["due_at"], request["payment_request_id"]))


async def find_request(settings: Settings, id_or_prefix: str, account_id: str | None = None) -> Request:
    """One payment request, by its id or by the only id that begins so.

    Raises:
        Refused: there is none, or there are several.
        BrokerUnreachable, TopicMissing: there is nothing to read from.
    """
    found = await read_requests(settings, id_or_prefix, account_id)
    exact = [request for request in found if request["payment_request_id"] == id_or_prefix]
    chosen = exact or found
    if not chosen:
        of = f" of account {account_id}" if account_id else ""
        raise Refused(
            f"unknown_request: no payment request{of} begins with {id_or_prefix!r}; see `callmeter requests list`"
        )
    if len(chosen) > 1:
        few = ", ".join(f"{request['payment_request_id']} of {request['account_id']}" for request in chosen[:3])
        raise Refused(
            f"unknown_request: {len(chosen)} payment requests begin with {id_or_prefix!r} ({few}, ...); give the whole "
            "id, and --account where accounts share it"
        )
    return chosen[0]
