"""Changing plans, pausing, numbers and campaigns by command: what is written, what is refused, what comes of it."""

import json

import pytest

from catalogue.store import read
from tests.broker import command, process, produce, read_values, wait_until
from tests.cli.commands import facts
from tests.rating.builders import call

SHOP = """\
agencies:
  acme: {name: Acme Voice, timezone: America/New_York, currency: USD}
plans:
  starter: {agency: acme, price: 49.00, every: 1 month, included_minutes: 100, number_price: 3.00, due_days: 60}
  large: {agency: acme, price: 98.00, every: 1 month, included_minutes: 600, number_price: 2.00, due_days: 60,
    cancel_credit: unused}
  weekly: {agency: acme, price: 10.00, every: week}
  euro: {agency: acme, currency: EUR, every: month}
  trial: {agency: acme, price: 1.00, every: month, trial_days: 14, trial_included_minutes: 5}
accounts:
  acct_1: {agency: acme, name: Jane Dental}
  acct_2: {agency: acme, name: Joe}
"""
NUMBER = "+14155550100"


async def test_a_life_is_written_fact_by_fact(shop, callmeter):
    started = (await callmeter("subscribe", "acct_1", "starter", "--at", "2026-09-01", "--json")).json["fact"]
    sub = started["subscription_id"]
    for arguments, out in [
        ("change-plan acct_1 large --when now --at 2026-09-16 --id c1",
         "acct_1 is on large from 2026-09-16T04:00:00Z\nfact c1\n"),
        ("change-plan acct_1 weekly --id c2", "acct_1 is on weekly with its next period\nfact c2\n"),
        ("pause acct_1 --at 2026-09-17 --id p1", f"acct_1: subscription {sub} is paused\nfact p1\n"),
        ("resume acct_1 --at 2026-09-18 --id r1", f"acct_1: subscription {sub} goes on\nfact r1\n"),
        ("resume acct_1 --at 2026-09-18 --id r1", "nothing to do: this fact was applied before\nfact r1\n"),
        (f"numbers rent acct_1 {NUMBER} --label desk --at 2026-09-18 --id n1",
         f"acct_1 rents {NUMBER} for 2.00 USD a period\nfact n1\n"),
        ("numbers rent acct_1 +2 --price 0.50 --at 2026-09-18 --id n2",
         "acct_1 rents +2 for 0.50 USD a period\nfact n2\n"),
        (f"numbers release acct_1 {NUMBER} --at 2026-09-20 --id n3", f"acct_1 rents {NUMBER} no longer\nfact n3\n"),
        ("cancel acct_1 --when now --at 2026-09-21 --id e1",
         f"acct_1: subscription {sub} ends at 2026-09-21T04:00:00Z\nfact e1\n"),
    ]:  # fmt: skip
        ran = await callmeter(arguments)
        assert ran.error == ""
        # Above, `change-plan` shows what the change comes to.
        assert ran.out.endswith(out)
        assert arguments.startswith("change-plan") or ran.out == out
    written = (await facts(shop))[1:]
    assert [fact["type"] for fact in written] == [
        "subscription.changed", "subscription.changed", "subscription.paused", "subscription.resumed",
        "number.rented", "number.rented", "number.released", "subscription.canceled",
    ]  # fmt: skip
    assert (written[0]["terms"]["plan"], written[0]["terms"]["price_micros"]) == ("large", 98_000_000)
    assert {fact["subscription_id"] for fact in written if "subscription_id" in fact} == {sub}
    assert (written[4]["price_micros"], written[4]["currency"], written[4]["label"]) == (2_000_000, "USD", "desk")
    assert (await read(shop)).assignment("acct_1").plan == "weekly"


async def test_a_life_can_be_looked_at_before_it_is_written(shop, callmeter):
    subscribe = "subscribe acct_1 large --at 2026-09-01"
    dry = (await callmeter(f"{subscribe} --dry-run")).out.splitlines()
    assert dry[0].startswith("would be: acct_1 is on large from 2026-09-01T04:00:00Z")
    assert dry[1:] == [
        "  status: active",
        "  asked for at once: 98.00 USD, a payment request of kind cycle",
        "nothing was sent",
    ]
    assert (await read(shop)).assignment("acct_1") is None
    assert (await callmeter("start acct_1 --dry-run")).code == 1
    sub = (await callmeter(f"{subscribe} --json")).json["fact"]["subscription_id"]
    looks = {
        "pause acct_1 --at 2026-09-16": [
            f"would be: acct_1: subscription {sub} is paused", "  status: paused", "  access off: paused",
        ],
        "cancel acct_1 --at 2026-09-16 --when now": [
            f"would be: acct_1: subscription {sub} ends at 2026-09-16T04:00:00Z",
            "  status: canceled",
            "  with the next request: Credit for the unused part of the period, -49.00 USD",
            "  access off: canceled",
        ],
        "cancel acct_1 --at 2026-09-16": [f"would be: acct_1: subscription {sub} ends with its period"],
        f"numbers rent acct_1 {NUMBER} --at 2026-09-16": [f"would be: acct_1 rents {NUMBER} for 2.00 USD a period"],
        "wallet adjust acct_1 --minutes 5 --reason why --at 2026-09-16": [
            "would be: acct_1: wallet +5 minutes, credit 0; now 5:00 and 0.00 USD",
        ],
        "requests create acct_1 --one-time 5.00 --description fee --id o1": [
            "would be: acct_1 is asked for 5.00 USD: request one_time:o1",
            "  asked for at once: 5.00 USD, a payment request of kind one_time",
        ],
    }  # fmt: skip
    for arguments, told in looks.items():
        assert (await callmeter(f"{arguments} --dry-run")).out.splitlines() == [*told, "nothing was sent"], arguments
    json_of = (await callmeter("cancel acct_1 --at 2026-09-16 --when now --dry-run --json")).json
    assert [line["amount_micros"] for line in json_of["waiting"]] == [-49_000_000]
    assert [one["value"]["type"] for one in json_of["outputs"]] == ["subscription.status_changed", "access.changed"]
    ran = await callmeter("resume acct_1 --at 2026-09-18 --dry-run")
    assert (ran.code, ran.error) == (1, f"illegal_change: {sub} is not paused")
    assert [fact["type"] for fact in await facts(shop)] == ["subscription.started"]


async def test_a_change_of_plan_shows_what_it_comes_to_before_it_is_sent(shop, callmeter):
    await callmeter("subscribe acct_1 starter --at 2026-09-01")
    now = "change-plan acct_1 large --when now --at 2026-09-16"
    dry = (await callmeter(f"{now} --dry-run --json")).json
    assert (dry["sent"], dry["dry_run"]) == (False, True)
    # Half of September is left: of 49 and of 98, and of 600 minutes.
    assert dry["change"] == {
        "account_id": "acct_1", "previous_plan": "starter", "plan": "large", "when": "now",
        "from": "2026-09-16T04:00:00Z", "until": "2026-10-01T04:00:00Z", "credit_micros": 24_500_000,
        "charge_micros": 49_000_000, "asked_micros": 24_500_000, "included_s": 18_000, "lapsing_s": 6_000,
        "price_micros": 98_000_000, "period_included_s": 36_000, "interval": "month", "currency": "USD",
    }  # fmt: skip
    shown = (await callmeter(f"{now} --dry-run")).out
    for text in ("starter -> large", "24.50 USD", "49.00 USD", "100:00", "300:00", "98.00 USD", "600:00"):
        assert text in shown, text
    assert shown.endswith("would be: acct_1 is on large from 2026-09-16T04:00:00Z\nnothing was sent\n")
    assert len(await facts(shop)) == 1
    assert (await read(shop)).assignment("acct_1").plan == "starter"
    later = (await callmeter("change-plan acct_1 weekly --dry-run --json")).json["change"]
    assert (later["from"], later["charge_micros"], later["credit_micros"]) == ("2026-10-01T04:00:00Z", 10_000_000, 0)
    sent = (await callmeter(f"{now} --id c1 --json")).json
    assert (sent["sent"], sent["change"]) == (True, dry["change"])
    assert (await callmeter(f"{now} --id c1 --dry-run")).out.startswith("nothing to do: this fact was applied before")


async def test_where_the_meter_is_far_behind_nothing_is_shown_and_facts_are_sent_unchecked(
    shop, callmeter, monkeypatch
):
    await callmeter("subscribe acct_1 starter --at 2026-09-01")
    await callmeter("pause acct_1 --at 2026-09-02")
    # One fact is few enough to be looked at; the second is too many.
    monkeypatch.setattr("streams.accounts.MOST_PENDING", 1)
    dry = await callmeter("change-plan acct_1 large --dry-run")
    assert dry.error == "the meter is far behind, so what would come of this is not known; try again later"
    sent = await callmeter("change-plan acct_1 large --json")
    assert (sent.json["sent"], sent.json["checked"], "change" in sent.json) == (True, False, False)
    assert sent.error == "the meter is far behind: it was not checked whether it will accept this\n"
    assert len(await facts(shop)) == 3


async def test_what_would_be_refused_is_not_sent(shop, callmeter):
    nothing = "no_subscription: acct_2 has no active subscription"
    for arguments in ("change-plan acct_2 large", "pause acct_2", "resume acct_2"):
        assert (await callmeter(*arguments.split())).error == nothing
    await callmeter("subscribe", "acct_1", "starter", "--at", "2026-09-01")
    await callmeter("subscribe", "acct_2", "trial", "--at", "2026-09-01")
    for arguments, error in [
        ("change-plan acct_1 weekly --when now --at 2026-09-16", "illegal_change: interval, count and time zone must"),
        ("change-plan acct_1 euro", "wrong_currency: the account is in USD, the terms are in EUR"),
        ("change-plan acct_1 larg", "agency acme has no plan 'larg'; did you mean large?"),
        ("change-plan acct_1 large --when later", "--when must be next_period or now"),
        ("change-plan acct_1 large --when now --at 2026-08-01", "illegal_change: at must be after the period's start"),
        ("change-plan acct_2 large --when now --at 2026-09-02", "illegal_change: a trial changes at its end"),
        ("resume acct_1 --at 2026-09-02", "illegal_change: "),
        ("pause acct_1 --at 2026-08-01", "illegal_change: at is before the start of the newest open period"),
        ("numbers rent acct_2 +1", "plan trial has no number_price; say what the number costs with --price"),
        ("numbers rent acct_1 +1 --price 1,5", "--price must be an amount such as 49.00, with at most six"),
        ("numbers rent acct_1 +1 --at 2026-08-01", "illegal_change: at is before the start of the oldest open period"),
        ("numbers release acct_1 +1", "illegal_change: number +1 is not rented"),
    ]:
        ran = await callmeter(*arguments.split())
        assert ran.code == 1
        assert ran.error.startswith(error), ran.error
    assert (await callmeter("numbers", "rent", "acct_1", "+1 415")).error.startswith("'+1 415' is no number")
    assert len(await facts(shop)) == 2


async def test_an_offer_says_what_its_trial_is(shop, callmeter):
    assert "14 days with 5 minutes, for nothing" in (await callmeter("assign", "acct_1", "trial")).out


@pytest.mark.slow
async def test_a_change_of_plan_and_a_number_from_the_command_to_the_request(settings, tmp_path):
    """The whole pipeline: broker, meter, billing job, sink, ClickHouse, and what the commands show of it."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)

    def callmeter(*arguments):
        done = command(settings, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def shown(*arguments):
        return json.loads(callmeter(*arguments, "--json"))

    with process(settings, "up", "--no-clock") as up:
        await wait_until(settings.clickhouse_run_file.exists, 60, "up is ready")
        callmeter("catalogue", "apply", str(file), "--yes")
        callmeter("subscribe", "acct_1", "starter", "--at", "2026-09-01")
        # Half of September is left: 98 / 2 - 49 / 2 = 24.50.
        callmeter("change-plan", "acct_1", "large", "--when", "now", "--at", "2026-09-16")
        # 16 to 30 September are 15 of 30 days: 1.00. October is charged in advance: 2.00.
        callmeter("numbers", "rent", "acct_1", NUMBER, "--label", "desk", "--at", "2026-09-16T15:00:00Z")
        made = call(1, "2026-09-20T10:10:00Z", "2026-09-20T10:00:00Z", campaign_id="camp_1", from_number=NUMBER)
        await produce(settings, [{**made, "agency_id": "acme"}])
        callmeter("close", "--until", "2026-10-01T04:00:00Z", "--timeout", "60")
        await wait_until(lambda: len(shown("requests", "list")) == 4, what="the requests are in ClickHouse")
        asked = sorted(request["total_micros"] for request in shown("requests", "list"))
        assert asked == [1_000_000, 24_500_000, 49_000_000, 100_000_000]
        [number] = shown("numbers", "list", "--account", "acct_1")
        assert (number["number"], number["label"], number["price_micros"]) == (NUMBER, "desk", 2_000_000)
        assert (number["calls"], number["billed_s"], number["released_at"]) == (1, 600, None)
        [campaign] = shown("campaigns", "list", "--agency", "acme")
        assert (campaign["campaign_id"], campaign["calls"], campaign["billed_s"]) == ("camp_1", 1, 600)
        account = shown("accounts", "show", "acct_1")
        assert (account["plan"], account["status"], account["numbers"], account["campaigns"]) == (
            "large",
            "active",
            1,
            1,
        )
        assert account["next_plan"] is None
        callmeter("change-plan", "acct_1", "weekly", "--at", "2026-10-02")
        coming = shown("accounts", "show", "acct_1")["next_plan"]
        assert coming == {
            "plan": "weekly", "from": "2026-11-01T04:00:00Z", "price_micros": 10_000_000, "included_s": 0,
        }  # fmt: skip
        assert "weekly from 2026-11-01 04:00 UTC: 10.00 USD" in callmeter("accounts", "show", "acct_1")
        callmeter("pause", "acct_1", "--at", "2026-10-02")
        await wait_until(lambda: shown("accounts", "show", "acct_1")["access_reasons"] == ["paused"], what="the pause")
        callmeter("numbers", "release", "acct_1", NUMBER, "--at", "2026-10-02")
        await wait_until(lambda: not shown("numbers", "list"), what="the release")
        assert len(shown("numbers", "list", "--released")) == 1
        assert NUMBER in callmeter("numbers", "list", "--released")
        assert "camp_1" in callmeter("campaigns", "list")
        # 29 of 31 days are left of what was paid for October; the number was released on the 2nd: it costs one day.
        callmeter("cancel", "acct_1", "--when", "now", "--at", "2026-10-03")
        await wait_until(lambda: shown("accounts", "show", "acct_1")["status"] == "canceled", what="the end")
        waiting = -(98_000_000 * 29 // 31) - (2_000_000 - 2_000_000 * 1 // 31)
        assert shown("accounts", "show", "acct_1")["waiting_micros"] == waiting
        assert "waits for it" in callmeter("accounts", "show", "acct_1")
        assert up.stop() == 0
    assert await read_values(settings, "dead-letters") == []
