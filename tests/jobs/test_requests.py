"""Payment requests on the command line, on the real broker, meter and billing job."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.requests import find_request, read_requests, settling_id
from streams.errors import Refused
from streams.settings import Settings
from tests.broker import command, produce, read_topic, wait_until
from tests.rating.builders import call, pack, subscription, tick


async def asked(settings: Settings, account: str, *facts: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Put an account on a plan, and wait until it is asked for so many payments."""
    await produce(settings, [subscription(account=account, sub=f"sub_{account}", price_micros=49_000_000), *facts])

    async def found() -> list[dict[str, Any]] | None:
        requests = await read_requests(settings, account_id=account)
        return requests if len(requests) == count and all(one["number"] for one in requests) else None

    return await wait_until(found)


def run(settings: Settings, *arguments: str) -> Any:
    """What ``callmeter requests ... --json`` prints."""
    done = command(settings, "requests", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(settings: Settings, *arguments: str) -> str:
    """The one line of a refusal."""
    done = command(settings, "requests", *arguments)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    return done.stderr


async def until_it_is(settings: Settings, account: str, status: str) -> dict[str, Any]:
    """The only request of an account, once it has a status."""

    async def found() -> dict[str, Any] | None:
        (request,) = await read_requests(settings, account_id=account)
        return request if request["status"] == status else None

    return await wait_until(found)


async def test_requests_are_listed_by_account_agency_status_and_kind(pipeline: Settings) -> None:
    await asked(pipeline, "list", pack("list", account="list"), count=2)
    ids = {"sub_list:20261101T000000Z:cycle", "pack:fact_list"}

    async def listed(**filters: str) -> set[str]:
        return {one["payment_request_id"] for one in await read_requests(pipeline, **filters)}

    assert await listed(account_id="list") == ids
    assert await listed(account_id="list", status="paid") == set()
    assert await listed(account_id="list", agency_id="ag_2") == set()
    assert await listed(agency_id="ag_1", status="pending") >= ids
    (one,) = run(pipeline, "list", "--account", "list", "--agency", "ag_1", "--status", "pending", "--kind", "pack")
    assert one["payment_request_id"] == "pack:fact_list"
    assert "none of pending, paid" in refused(pipeline, "list", "--status", "payed")


async def test_a_list_for_people_keeps_ids_whole(pipeline: Settings) -> None:
    await asked(pipeline, "people" * 10, count=1)
    done = command(pipeline, "requests", "list", "--account", "people" * 10)
    assert f"sub_{'people' * 10}:20261101T000000Z:cycle" in done.stdout
    assert "49.00 USD" in done.stdout


async def test_a_request_is_shown_like_an_invoice(pipeline: Settings) -> None:
    facts = [call(1, account="page", ended="2026-11-03T10:15:37Z"), tick("2026-12-01T00:00:00Z")]
    requests = await asked(pipeline, "page", *facts, count=3)
    usage = next(one for one in requests if one["kind"] == "usage")
    page = command(pipeline, "requests", "show", usage["payment_request_id"]).stdout
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert lines[0] == "Payment request sub_page:20261101T000000Z:usage"
    for line in (
        "Account page",
        "Period 2026-11-01 00:00 UTC to 2026-12-01 00:00 UTC",
        "Due 2026-12-01 00:00 UTC",
        "Status pending",
        "Used from the allowance 600 s (10 min) 0.00 0.00",
        "Overage 337 s (5 min 37 s) 0.002 0.674",
        "Subtotal 0.674",
        "Rounding -0.004",
        "Tax 0.00",
        "Total USD 0.67",
    ):
        assert line in lines, page
    assert run(pipeline, "show", usage["payment_request_id"]) == {**usage, "corrections": []}


async def test_a_unique_beginning_of_an_id_is_enough(pipeline: Settings) -> None:
    await asked(pipeline, "prefix", pack("prefix", account="prefix"), count=2)
    assert run(pipeline, "show", "sub_prefix")["kind"] == "cycle"
    assert (await find_request(pipeline, "pack:fact_prefix"))["kind"] == "pack"
    assert refused(pipeline, "show", "sub_nobody").startswith("error: unknown_request: ")
    with pytest.raises(Refused, match="2 payment requests begin with"):
        await find_request(pipeline, "", "prefix")


async def test_accounts_may_share_an_id(pipeline: Settings) -> None:
    for account in ("shared_1", "shared_2"):
        await asked(pipeline, account, {**pack("shared", account=account)}, count=2)
    assert "--account" in refused(pipeline, "show", "pack:fact_shared")
    for account in ("shared_1", "shared_2"):
        assert (await find_request(pipeline, "pack:fact_shared", account))["account_id"] == account


async def test_marking_a_request_paid_twice_changes_nothing(pipeline: Settings) -> None:
    (request,) = await asked(pipeline, "paid", count=1)
    request_id = request["payment_request_id"]
    first = run(pipeline, "mark-paid", request_id, "--reference", "wire 4711", "--at", "2026-11-03T12:00:00+01:00")
    assert (first["fact_id"], first["sent"]) == (f"{request_id}:paid", True)
    again = run(pipeline, "mark-paid", request_id, "--reference", "another")
    assert (again["fact_id"], again["sent"]) == (f"{request_id}:paid", False)
    paid = await until_it_is(pipeline, "paid", "paid")
    assert (paid["reference"], paid["paid_at"]) == ("wire 4711", "2026-11-03T11:00:00Z")
    facts = [record for record in await read_topic(pipeline, "account-events") if record.key == b"paid"]
    # Subscribed, asked, numbered, paid.
    assert len(facts) == 4
    assert "illegal_change" in refused(pipeline, "mark-paid", request_id, "--id", "another")
    page = command(pipeline, "requests", "show", request_id).stdout
    assert "wire 4711" in page and "2026-11-03 11:00 UTC" in page


async def test_a_canceled_request_cannot_be_paid(pipeline: Settings) -> None:
    (request,) = await asked(pipeline, "canceled", count=1)
    run(pipeline, "cancel", request["payment_request_id"], "--note", "goodwill")
    # Refused even before the meter has taken it up.
    line = refused(pipeline, "mark-paid", request["payment_request_id"])
    assert line.startswith("error: illegal_change: ")
    assert (await until_it_is(pipeline, "canceled", "canceled"))["note"] == "goodwill"


async def test_a_failed_payment_can_still_be_paid(pipeline: Settings) -> None:
    (request,) = await asked(pipeline, "failed", count=1)
    run(pipeline, "mark-failed", request["payment_request_id"])
    await until_it_is(pipeline, "failed", "failed")
    assert "illegal_change" in refused(pipeline, "mark-failed", request["payment_request_id"], "--id", "again")
    run(pipeline, "mark-paid", request["payment_request_id"], "--id", "my-own-id")
    await until_it_is(pipeline, "failed", "paid")


async def test_without_topics_there_is_one_clear_line(make_settings: Callable[..., Settings]) -> None:
    assert "callmeter topics create" in refused(make_settings(topics=False), "list")


@pytest.mark.parametrize("length", [1, 122, 123, 400])
def test_the_id_of_a_settling_fact_fits_and_is_the_same_every_time(length: int) -> None:
    request_id = "é" * (length // 2) + "x" * (length % 2)
    fact_id = settling_id(request_id, "paid")
    assert len(fact_id.encode()) <= 128
    assert fact_id == settling_id(request_id, "paid") != settling_id(request_id, "failed")
    assert settling_id(request_id + "x", "paid") != fact_id
