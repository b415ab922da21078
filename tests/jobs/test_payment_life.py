"""What is not paid in time, on the real broker, meter and billing job: past due, blocked, paid, corrected, numbered."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobs.requests import read_requests
from streams.settings import Settings
from tests.broker import command, process, produce, read_topic, wait_until
from tests.jobs.test_requests import asked, refused, run, until_it_is
from tests.rating.builders import subscription, tick


async def statuses(settings: Settings, account: str, count: int) -> list[str]:
    """What the subscription of an account was told to be, once that was so often."""

    async def found() -> list[str] | None:
        events = [json.loads(record.value) for record in await read_topic(settings, "billing-events")]
        own = [one["status"] for one in events if one["type"] == "subscription.status_changed"
               and one["account_id"] == account]  # fmt: skip
        return own if len(own) >= count else None

    return await wait_until(found)


async def access(settings: Settings, account: str) -> list[list[str]]:
    events = [json.loads(record.value) for record in await read_topic(settings, "access-events")]
    return [one["reasons"] for one in events if one["account_id"] == account]


async def test_past_due_blocked_and_paid(pipeline: Settings) -> None:
    terms = {"price_micros": 49_000_000, "due_days": 3, "grace_days": 7}
    await produce(pipeline, [subscription(account="late", sub="sub_late", **terms), tick("2026-11-01T00:00:01Z")])

    async def numbered() -> dict[str, Any] | None:
        requests = await read_requests(pipeline, account_id="late")
        return requests[0] if requests and requests[0]["number"] else None

    request = await wait_until(numbered)
    await produce(pipeline, [tick("2026-11-04T00:00:00Z")])
    assert await statuses(pipeline, "late", 2) == ["active", "past_due"]
    assert (await until_it_is(pipeline, "late", "overdue"))["overdue_at"] == "2026-11-04T00:00:00Z"
    await produce(pipeline, [tick("2026-11-11T00:00:00Z")])
    assert await statuses(pipeline, "late", 3) == ["active", "past_due", "blocked"]
    name = request["payment_request_id"]
    note = run(pipeline, "credit", name, "--amount", "9.00", "--description", "Line was down", "--actor", "jane")
    assert note["fact"]["amount_micros"] == 9_000_000
    run(pipeline, "mark-paid", name, "--reference", "wire 4711", "--actor", "jane", "--at", "2026-11-12T00:00:00Z")
    assert await statuses(pipeline, "late", 4) == ["active", "past_due", "blocked", "active"]
    assert await access(pipeline, "late") == [["past_due"], ["blocked"], []]
    run(pipeline, "refund", name, "--amount", "10.00", "--id", "half", "--at", "2026-11-13T00:00:00Z")
    assert run(pipeline, "refund", name, "--id", "half")["sent"] is False

    async def corrections(count: int) -> list[dict[str, Any]] | None:
        found = [one for one in await read_requests(pipeline, account_id="late") if one["corrects"]]
        return found if len(found) == count and all(one["number"] for one in found) else None

    await wait_until(lambda: corrections(2))
    assert run(pipeline, "refund", name, "--id", "rest")["fact"]["amount_micros"] == 30_000_000
    documents = await wait_until(lambda: corrections(3))
    assert sorted(one["paid_micros"] for one in documents) == [-30_000_000, -10_000_000, 0]
    page = command(pipeline, "requests", "show", name).stdout
    lines = [" ".join(line.split()) for line in page.splitlines()]
    assert f"Number {request['number']}" in lines
    assert "2026-11-11 00:00 UTC blocked" not in page
    for line in ("Credited -9.00", "2026-11-04 00:00 UTC overdue clock", "2026-11-12 00:00 UTC paid jane wire 4711"):
        assert line in lines, page
    assert "is paid" in refused(pipeline, "credit", name, "--amount", "1.00")
    assert "more than the 0 of" in refused(pipeline, "refund", name, "--amount", "1.00")


async def test_a_dispute_is_told_by_command_and_what_is_lost_went_back(pipeline: Settings) -> None:
    (request,) = await asked(pipeline, "doubts", count=1)
    name, told = request["payment_request_id"], ("--actor", "jane", "--note", "never ordered")
    assert "give the --amount" in refused(pipeline, "dispute", name, "case-17")
    run(pipeline, "mark-paid", name)
    await until_it_is(pipeline, "doubts", "paid")
    opened = run(pipeline, "dispute", name, "case-17", "--amount", "20.00", *told)
    assert (opened["sent"], opened["fact"]["status"], opened["fact"]["amount_micros"]) == (True, "opened", 20_000_000)

    async def documents(*expected: tuple[str, str]) -> bool:
        found = await read_requests(pipeline, account_id="doubts")
        return {(one["kind"], one["status"]) for one in found if one["corrects"]} == set(expected)

    await wait_until(lambda: documents(("dispute", "opened")))
    assert run(pipeline, "dispute", name, "case-17", "--amount", "20.00")["sent"] is False
    # It is about what it was opened with.
    lost = run(pipeline, "dispute", name, "case-17", "--status", "lost", *told)
    assert lost["fact"]["amount_micros"] == 20_000_000
    await wait_until(lambda: documents(("dispute", "lost"), ("refund", "paid")))
    line = refused(pipeline, "dispute", name, "case-17", "--status", "won")
    assert line.startswith("error: illegal_change: payment request dispute:case-17 is lost")
    assert "more than the 29 of" in refused(pipeline, "dispute", name, "other", "--status", "lost", "--amount", "30.00")
    assert "none of opened, won, lost" in refused(pipeline, "dispute", name, "other", "--status", "drawn")
    page = command(pipeline, "requests", "show", name).stdout
    assert "dispute 20.00 opened" in page and "dispute 20.00 lost" in page


SHOP = """\
agencies:
  ag_1: {name: Acme Voice, timezone: UTC, currency: USD}
accounts:
  once: {agency: ag_1, name: Jane Dental}
"""


async def test_a_one_time_charge_is_asked_for_and_refused_before_it_is_sent(pipeline: Settings, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    applied = command(pipeline, "catalogue", "apply", str(file), "--yes")
    assert applied.returncode == 0, applied.stderr
    await asked(pipeline, "once", count=1)
    done = run(pipeline, "create", "once", "--one-time", "25.00", "--description", "Set-up", "--id", "set-up")
    assert (done["sent"], done["fact"]["amount_micros"]) == (True, 25_000_000)
    again = run(pipeline, "create", "once", "--one-time", "25", "--description", "Set-up", "--id", "set-up")
    assert again["sent"] is False

    async def raised() -> dict[str, Any] | None:
        return next(iter(await read_requests(pipeline, account_id="once", kind="one_time")), None)

    request = await wait_until(raised)
    assert (request["payment_request_id"], request["total_micros"]) == ("one_time:set-up", 25_000_000)
    assert [line["description"] for line in request["lines"]] == ["Set-up"]
    for amount, why in (("25.001", "whole steps of 0.01 USD"), ("0", "above 0"), ("-1", "negative"), ("x", "must be")):
        line = refused(pipeline, "create", "once", f"--one-time={amount}", "--description", "Set-up")
        assert line.startswith(f"error: --one-time {amount!r}: ") and why in line
    line = refused(pipeline, "create", "nobody", "--one-time", "1", "--description", "Set-up")
    assert line.startswith("error: no_subscription: ")


async def test_numbers_have_no_gaps_though_the_meter_is_killed(make_settings: Callable[..., Settings]) -> None:
    """The meter holds both folds: killed in the midst of it, again and again, it numbers each request once."""
    settings = make_settings(partitions=3)
    accounts = [f"acct_{number}" for number in range(90)]
    facts = [
        subscription(account=one, sub=f"sub_{one}", agency=f"ag_{number % 2}", price_micros=49_000_000)
        for number, one in enumerate(accounts)
    ]

    async def numbered(least: int) -> list[dict[str, Any]] | None:
        found = [one for one in await read_requests(settings) if one["number"]]
        return found if len(found) >= least else None

    with process(settings, "billing"):
        for part, least in enumerate((1, 31, 90)):
            await produce(settings, facts[30 * part : 30 * part + 30])
            with process(settings, "meter") as meter:
                await wait_until(lambda least=least: numbered(least), 60, f"{least} numbers")
                if least < 90:
                    meter.kill()
    places = defaultdict(list)
    for one in await read_requests(settings):
        year, _, place = one["number"].partition("-")
        places[one["agency_id"], year].append(int(place))
    assert {key: sorted(found) for key, found in places.items()} == {
        ("ag_0", "2026"): list(range(1, 46)),
        ("ag_1", "2026"): list(range(1, 46)),
    }
