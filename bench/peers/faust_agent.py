"""The fold of the plain plan as a Faust agent with a table, the way Faust's documentation shows it. At least once.

``python -m bench.peers.faust_agent BOOTSTRAP LOG OUT APPLICATION FOLDER PARTITIONS``
"""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from typing import Any

import faust

LEVELS = (80, 90, 100)


def make_app(bootstrap: str, log: str, out: str, application: str, folder: str, partitions: int) -> faust.App:
    """An app that reads ``log`` and writes rated calls to ``out``."""
    app = faust.App(
        application,
        broker=f"kafka://{bootstrap}",
        datadir=folder,
        store="memory://",
        web_enabled=False,
        topic_partitions=partitions,
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
    )
    facts = app.topic(log, key_type=bytes, value_type=bytes, value_serializer="raw")
    rated = app.topic(out, key_type=bytes, value_type=bytes, value_serializer="raw")
    accounts = app.Table("accounts", partitions=partitions)

    @app.agent(facts)  # type: ignore[untyped-decorator]
    async def rate(stream: Any) -> None:
        async for event in stream.events():
            fact = json.loads(event.value)
            key = fact.get("account_id")
            if fact["type"] == "subscription.started":
                accounts[key] = subscribed(fact)
            elif fact["type"] == "call.completed":
                account = accounts[key]
                message = event.message
                value = rated_call(fact, account, message.partition, message.offset)
                accounts[key] = account
                await rated.send(key=key.encode(), value=json.dumps(value).encode())

    return app


def subscribed(fact: dict[str, Any]) -> dict[str, Any]:
    """An account on the plain plan."""
    terms = fact["terms"]
    first, following = map(int, terms["increments"].split("/"))
    included_s = terms["included_minutes"] * 60
    return {
        "subscription_id": fact["subscription_id"],
        "period_start": fact["at"],
        "currency": terms["currency"],
        "first": first,
        "next": following,
        "rate": terms["overage_micros_per_minute"],
        "included_s": included_s,
        "allowance_left_s": included_s,
        "wallet_s": 0,
        "calls": 0,
        "billed_s": 0,
        "overage_s": 0,
        "overage_micros": 0,
        "alerts_fired": 0,
    }


def rated_call(call: dict[str, Any], account: dict[str, Any], partition: int, offset: int) -> dict[str, Any]:
    """Draw a call down and say what it costs; changes the account."""
    duration_s = 0
    if call.get("answered_at"):
        lasted = datetime.fromisoformat(call["ended_at"]) - datetime.fromisoformat(call["answered_at"])
        duration_s = -(-lasted // timedelta(seconds=1))
    billed_s = 0
    if duration_s and call["outcome"] in ("answered", "voicemail") and not call.get("test"):
        further = max(0, duration_s - account["first"])
        billed_s = account["first"] + -(-further // account["next"]) * account["next"]
    allowance_s = min(billed_s, account["allowance_left_s"])
    wallet_s = min(billed_s - allowance_s, account["wallet_s"])
    overage_s = billed_s - allowance_s - wallet_s
    overage_micros = (overage_s * account["rate"] + 30) // 60
    account["allowance_left_s"] -= allowance_s
    account["wallet_s"] -= wallet_s
    account["calls"] += 1
    account["billed_s"] += billed_s
    account["overage_s"] += overage_s
    account["overage_micros"] += overage_micros
    used_s = account["included_s"] - account["allowance_left_s"]
    while (
        account["alerts_fired"] < len(LEVELS)
        and used_s * 100 >= LEVELS[account["alerts_fired"]] * account["included_s"]
    ):
        account["alerts_fired"] += 1
    return {
        **{name: value for name, value in call.items() if name != "type"},
        "test": False,
        "tier": None,
        "cost_micros": None,
        "cost_currency": None,
        "subscription_id": account["subscription_id"],
        "period_start": account["period_start"],
        "duration_s": duration_s,
        "billed_s": billed_s,
        "allowance_s": allowance_s,
        "wallet_s": wallet_s,
        "credit_s": 0,
        "credit_micros": 0,
        "overage_s": overage_s,
        "written_off_s": 0,
        "fee_micros": 0,
        "amount_micros": overage_micros,
        "margin_micros": None,
        "currency": account["currency"],
        "allowance_left_s": account["allowance_left_s"],
        "wallet_left_s": account["wallet_s"],
        "credit_left_micros": 0,
        "late": False,
        "source_partition": partition,
        "source_offset": offset,
    }


if __name__ == "__main__":
    bootstrap, log, out, application, folder, partitions = sys.argv[1:]
    sys.argv = [sys.argv[0], "worker", "--loglevel", "warn", "--without-web"]
    make_app(bootstrap, log, out, application, folder, int(partitions)).main()
