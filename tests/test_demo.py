"""The demo, as a user runs it: exact by its own proof, and priced again by the oracle, account by account."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from decimal import Decimal

import pytest

from demo.market import RETAIL_CARD, WHOLESALE_CARD
from tests.broker import command
from tests.oracle import rate_cards
from tests.oracle.oracle import run

SUMS = (
    "billed_s", "allowance_s", "wallet_s", "overage_s", "written_off_s", "amount_micros", "cost_micros",
    "margin_micros",
)  # fmt: skip


def read_card(file):
    """A card's file as the oracle has cards."""
    with file.open(newline="") as lines:
        rows = [
            rate_cards.row(
                row["prefix"],
                int(Decimal(row["rate"]) * 10**6),
                increments=row["increments"] or None,
                connection_fee_micros=int(Decimal(row["connection_fee"]) * 10**6) if row["connection_fee"] else None,
            )
            for row in csv.DictReader(lines)
        ]
    return rate_cards.RateCard(file.stem, "USD", tuple(rows))


@pytest.fixture(scope="module")
def demo(broker, tmp_path_factory):
    """One run of the demo: its figures, its whole output, and the input it kept."""
    from streams.settings import Settings

    folder = tmp_path_factory.mktemp("demo")
    log = folder / "input.jsonl"
    settings = Settings(kafka_bootstrap=broker.bootstrap, data_folder=folder)
    flags = ("--accounts", "25", "--calls", "3000", "--seed", "3", "--keep-log", str(log), "--json")
    done = command(settings, "demo", *flags, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr, log.read_bytes().splitlines()


@pytest.mark.slow
def test_the_demo_proves_that_every_sum_agrees(demo):
    figures, shown, _ = demo
    assert figures["exact"] is True
    assert figures["calls_sent"] == figures["calls_rated"] + figures["duplicates"] + figures["dead_letters"]
    assert figures["rated_micros"] == figures["request_usage_micros"] == figures["clickhouse_micros"]
    assert all(figures["rated_micros"].values())
    for planted in ("duplicates", "dead_letters", "late_calls", "alerts", "payment_requests"):
        assert figures[planted] > 0
    assert "Every sum agrees" in shown


@pytest.mark.slow
def test_the_demo_follows_one_account_from_allowance_to_payment(demo):
    _, shown, _ = demo
    chapters = [
        "period opens: 100 included minutes",
        "alert: 80 % of the included minutes",
        "pack boost-60 applied",
        "included minutes used up; this call: 5:00 allowance + 5:00 wallet",
        "number +14155550100 rented: 3.00 USD a month",
        "wallet used up; this call: 5:00 wallet + 5:00 overage",
        "access off: cap_reached",
        "plan changed: starter to business",
        "campaigns may run again",
        "period closes: 21 calls, 200:00 billed, usage 4.80 USD",
        "4.80 USD, pending",
        "period closes: 6 calls, 60:00 billed, usage 0.06 USD",
        "4.80 USD, paid",
    ]
    text = " ".join(shown.split())
    assert [chapter for chapter in chapters if chapter not in text] == []


@pytest.mark.slow
def test_the_demo_shows_margin_a_rate_card_numbers_an_agencys_cap_and_a_change_of_plan(demo):
    figures, shown, _ = demo
    for currency, margin in figures["margin_micros"].items():
        assert margin == figures["rated_micros"].get(currency, 0) - figures["cost_micros"][currency]
    assert len(figures["destinations"]) == 8
    assert figures["number_micros"]["USD"] > 0
    # 10 of 30 days and an hour, for that November has one more: of 49 and of 199 USD.
    assert figures["plan_change_micros"] == {"credit": {"USD": -16_310_679}, "charge": {"USD": 66_241_331}}
    cap = figures["agency_cap"]
    assert cap["alerts"] and 0 < cap["accounts_off"] == cap["accounts_on_again"]
    assert figures["corrections"]["refund"] > figures["corrections"]["rerated"] > 0
    text = " ".join(shown.split())
    for screen in (
        "Margin per agency", "A rate card: calls of plan world", "1876 Jamaica", "An agency's caps", "access off",
        "the cap is raised, and access is on again", "Credit for the unused part of the period -16.31",
        "Plan business, part of a period 66.24", "Number +14155550100, 20 of 30 days 2.00", "given back", "top-up",
    ):  # fmt: skip
        assert screen in text


@pytest.mark.slow
def test_the_demo_shows_past_due_paused_paid_resumed_and_blocked(demo):
    figures, shown, _ = demo
    assert figures["dunning"] == {
        "status_changes": {"active": 1, "blocked": 1, "past_due": 2},
        "access_changes": {"blocked": 1, "ok": 1, "past_due": 2},
        "paid_late_micros": {"USD": 490_000_000},
        "never_paid_micros": {"USD": 490_000_000},
    }
    text = " ".join(shown.split())
    chapters = [
        "bay-fitness payment request (cycle): 490.00 USD, overdue",
        "bay-fitness active -> past_due: 490 USD is past due since 2026-11-11.",
        "bay-fitness access off: past_due",
        "bay-fitness payment request (cycle): 490.00 USD, paid",
        "bay-fitness past_due -> active",
        "bay-fitness campaigns may run again",
        "harbor-taxi past_due -> blocked",
        "harbor-taxi access off: blocked",
    ]
    assert [chapter for chapter in chapters if chapter not in text] == []


@pytest.mark.slow
def test_the_oracle_prices_the_demos_input_the_same_account_by_account(demo, monkeypatch):
    figures, _, lines = demo
    for file in (RETAIL_CARD, WHOLESALE_CARD):
        card = read_card(file)
        monkeypatch.setitem(rate_cards.BY_ID, card.card_id, card)
    priced = defaultdict(Counter)
    for output in run(lines):
        if output["topic"] == "rated-calls":
            value = output["value"]
            account = priced[value["account_id"]]
            account["calls"] += -1 if value.get("correction") == "refund" else 1
            for field in SUMS:
                account[field] += value[field]
    metered = {
        account: {field: usage[field] for field in priced[account]} for account, usage in figures["accounts"].items()
    }
    assert metered == {account: dict(usage) for account, usage in priced.items()}
