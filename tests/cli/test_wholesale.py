"""Wholesale prices from the command to the cost of rated calls, before and after a restart of the meter."""

import json

import pytest

from rating.cards import Card, Row
from streams.cards import put_card
from streams.topics import ACCOUNT_EVENTS, RATED_CALLS
from tests.broker import command, process, produce, read_topic, read_values, wait_until
from tests.rating.builders import call, encode, subscription

CARD = Card("wholesale", "USD", [Row("49", None, None, 30_000)])
SHOP = "agencies:\n  ag_1: {name: Acme Voice, currency: USD}\n"


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    return str(file)


async def test_wholesale_is_set_for_every_partition_and_calls_cost_it(make_settings, shop):
    settings = make_settings(partitions=3)

    def callmeter(*arguments):
        return command(settings, *arguments)

    assert callmeter("catalogue", "apply", shop, "--yes").returncode == 0
    for arguments, refused in (
        (["--rate", "0.03", "--increments", "6"], "--increments: must be seconds of the first"),
        ([], "say what a minute costs: --rate, --rate-card, or both"),
        (["--rate-card", "0" * 32], "unknown_rate_card: there is no rate card 000"),
    ):
        ran = callmeter("wholesale", "set", "ag_1", *arguments)
        assert (ran.returncode, refused in ran.stderr) == (1, True), ran.stderr
    await put_card(settings, CARD)
    ran = callmeter("wholesale", "set", "ag_1", "--rate-card", CARD.card_id, "--at", "2026-11-01", "--id", "w1")
    assert ran.returncode == 0, ran.stderr
    assert [fact["type"] for fact in await read_values(settings, ACCOUNT_EVENTS)] == ["wholesale.set"] * 3
    accounts = [f"acct_{number}" for number in range(6)]
    terms = {"included_minutes": 0, "overage_micros_per_minute": 120_000}
    await produce(settings, encode([subscription(account=account, **terms) for account in accounts]))
    await produce(settings, encode([call(1, to_number="+4930", account=account) for account in accounts]))
    await produce(settings, encode([call(2, to_number="+33", account=accounts[0])]))
    with process(settings, "meter"):

        async def rated():
            found = [json.loads(record.value) for record in await read_topic(settings, RATED_CALLS)]
            return found if len(found) == len(accounts) else None

        calls = await wait_until(rated, 60, "rated calls")
    # Ten minutes at 0.12 and at 0.03.
    assert {(one["amount_micros"], one["cost_micros"], one["margin_micros"]) for one in calls} == {
        (1_200_000, 300_000, 900_000)
    }
    # A restarted meter knows the prices from its ledger.
    await produce(settings, encode([call(3, to_number="+4930", account=account) for account in accounts]))
    with process(settings, "meter"):

        async def all_rated():
            return len(await read_topic(settings, RATED_CALLS)) == 12

        await wait_until(all_rated, 60, "rated calls")
