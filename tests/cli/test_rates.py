"""`callmeter rates` and cards in `simulate`: checked without a broker, imported once, shown, and priced by."""

import json

import pytest

from rating.cards import Card, Row
from streams.topics import ACCOUNT_EVENTS
from tests.broker import command, read_values
from tests.cli.commands import run
from tests.cli.test_simulate import call, outputs

CSV = "prefix,direction,rate,currency\n49,,0.12,USD\n4930,inbound,0.06,USD\n"
RETAIL = Card("retail", "USD", [Row("49", None, None, 120_000), Row("4930", "inbound", None, 60_000)])
SHOP = f"""\
agencies:
  acme: {{name: Acme Voice, currency: USD}}
plans:
  world: {{agency: acme, every: month, overage: by card, rate_card: {RETAIL.card_id}}}
  lost: {{agency: acme, every: month, overage: by card, rate_card: {"0" * 32}}}
accounts:
  acct_1: {{agency: acme, name: Jane Dental}}
"""


@pytest.fixture
def retail(tmp_path):
    file = tmp_path / "retail.csv"
    file.write_text(CSV)
    return file


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP)
    return str(file)


def test_check_tells_the_id_without_a_broker(retail):
    assert run("rates", "check", str(retail), "--json").json == {
        "valid": True, "card_id": RETAIL.card_id, "name": "retail", "currency": "USD", "rows": 2, "warnings": [],
    }  # fmt: skip
    assert f"rate_card: {RETAIL.card_id}" in run("rates", "check", str(retail)).out
    retail.write_text(CSV + "49,,1,USD\n")
    ran = run("rates", "check", str(retail))
    assert (ran.code, ran.error) == (1, f"{retail}:4: prefix 49 is on line 2 already")
    ran = run("rates", "check", str(retail), "--json")
    assert (ran.code, json.loads(ran.out)["problems"]) == (
        1,
        [{"line": 4, "message": "prefix 49 is on line 2 already"}],
    )


def test_simulate_takes_cards(retail, shop, tmp_path):
    facts = tmp_path / "facts.jsonl"
    # 4 min 3.2 s; 49 is 0.12 a minute: (244 * 120,000 + 30) // 60.
    facts.write_text(json.dumps(call(1, to_number="+493012345")) + "\n" + json.dumps(call(2, to_number="+33")) + "\n")
    arguments = ["simulate", str(facts), "--catalogue", shop, "--subscribe", "acct_1=world"]
    ran = run(*arguments, "--rates", str(retail))
    [rated] = outputs(ran, "rated-calls")
    assert (rated["amount_micros"], rated["rate_prefix"], rated["rate_micros_per_minute"]) == (488_000, "49", 120_000)
    assert [one["reason"] for one in outputs(ran, "dead-letters")] == ["no_rate"]
    without = run(*arguments)
    assert next(one["reason"] for one in outputs(without, "dead-letters")) == "unknown_rate_card"


async def test_a_card_is_imported_once_shown_and_subscribed_to(retail, shop, make_settings):
    settings = make_settings(partitions=2)

    def callmeter(*arguments):
        return command(settings, *arguments)

    first = json.loads(callmeter("rates", "import", str(retail), "--json").stdout)
    assert (first["card_id"], first["imported"]) == (RETAIL.card_id, True)
    assert "was imported before" in callmeter("rates", "import", str(retail)).stdout
    [listed] = json.loads(callmeter("rates", "show", "--json").stdout)
    assert (listed["card_id"], listed["rows"], listed["currency"]) == (RETAIL.card_id, 2, "USD")
    shown = callmeter("rates", "show", RETAIL.card_id[:6], "--json").stdout
    assert len(json.loads(shown)["rows"]) == 2
    retail.write_text(shown)
    assert run("rates", "check", str(retail), "--json").json["card_id"] == RETAIL.card_id
    assert "0.12 USD" in callmeter("rates", "show", RETAIL.card_id).stdout
    of_call = ["rates", "show", RETAIL.card_id, "--number", "+493012", "--json"]
    assert json.loads(callmeter(*of_call).stdout)["row"]["prefix"] == "49"
    assert json.loads(callmeter(*of_call, "--direction", "inbound").stdout)["row"]["prefix"] == "4930"
    assert "no row prices outbound calls to +33" in callmeter("rates", "show", RETAIL.card_id, "--number", "+33").stdout
    missing = callmeter("rates", "show", "ffff")
    assert (missing.returncode, "there is no rate card ffff" in missing.stderr) == (1, True)

    assert callmeter("catalogue", "apply", shop, "--yes").returncode == 0
    refused = callmeter("subscribe", "acct_1", "lost")
    assert (refused.returncode, "unknown_rate_card: there is no rate card" in refused.stderr) == (1, True)
    assert await read_values(settings, ACCOUNT_EVENTS) == []
    started = callmeter("subscribe", "acct_1", "world", "--at", "2026-11-01")
    assert started.returncode == 0, started.stderr
    [fact] = await read_values(settings, ACCOUNT_EVENTS)
    assert fact["terms"]["rate_card"] == RETAIL.card_id
