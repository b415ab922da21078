"""The demo, as a user runs it: exact by its own proof, and priced again by the oracle, account by account."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

import pytest

from tests.broker import command
from tests.oracle.oracle import run


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
        "wallet used up; this call: 5:00 wallet + 5:00 overage",
        "access off: cap_reached",
        "campaigns may run again",
        "period closes: 21 calls, 200:00 billed, overage 4.80 USD",
        "4.80 USD, pending",
        "4.80 USD, paid",
    ]
    text = " ".join(shown.split())
    assert [chapter for chapter in chapters if chapter not in text] == []


@pytest.mark.slow
def test_the_oracle_prices_the_demos_input_the_same_account_by_account(demo):
    figures, _, lines = demo
    priced = defaultdict(Counter)
    for output in run(lines):
        if output["topic"] == "rated-calls":
            value = output["value"]
            account = priced[value["account_id"]]
            account["calls"] += 1
            for field in ("billed_s", "allowance_s", "wallet_s", "overage_s", "written_off_s", "amount_micros"):
                account[field] += value[field]
    metered = {
        account: {field: usage[field] for field in priced[account]} for account, usage in figures["accounts"].items()
    }
    assert metered == {account: dict(usage) for account, usage in priced.items()}
