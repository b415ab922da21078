"""`callmeter up`: while it runs, other commands and other clients in other processes work."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import aiohttp
import pytest

from deploy.kafka.process import free_port
from tests.broker import command, process, produce, wait_until
from tests.rating.builders import call, subscription
from tests.stripe_double.server import WEBHOOK_SECRET, signed

CLIENT = """
import sys, clickhouse_connect
client = clickhouse_connect.get_client(dsn=sys.argv[1])
print(client.query("SELECT count() FROM rated_calls WHERE account_id = {a:String}", {"a": "acct_1"}).result_rows[0][0])
try:
    client.command("TRUNCATE TABLE rated_calls")
except clickhouse_connect.driver.exceptions.DatabaseError:
    print("refused")
"""


@pytest.mark.slow
async def test_other_processes_read_while_up_writes_and_nobody_else_can(settings):
    with process(settings, "up", "--no-clock") as up:
        await wait_until(settings.clickhouse_run_file.exists, 60, "up is ready")
        assert json.loads(settings.clickhouse_run_file.read_text())["url"] in up.output
        await produce(settings, [subscription(), call(1), call(2)])

        def usage():
            done = command(settings, "usage", "--account", "acct_1", "--json")
            assert done.returncode == 0, done.stderr
            return done.stdout

        await wait_until(lambda: '"calls":2' in usage().replace(" ", ""), what="both calls are in ClickHouse")
        shown = command(settings, "accounts", "show", "acct_1", "--json")
        assert json.loads(shown.stdout)["allowance_left_s"] == 0
        url = json.loads(settings.clickhouse_run_file.read_text())["url"]
        client = subprocess.run(
            [sys.executable, "-c", CLIENT, url], capture_output=True, text=True, timeout=60, check=False
        )
        assert client.stdout.split() == ["2", "refused"], client.stderr
        second = command(settings, "sink")
        assert second.returncode == 1
        assert "callmeter up" in second.stderr
        assert up.stop() == 0
        assert "webhooks" not in up.output
    assert not settings.clickhouse_run_file.exists()


@pytest.mark.slow
async def test_with_a_webhook_secret_it_serves_what_the_api_does(settings):
    settings = settings.model_copy(
        update={"stripe_webhook_secret": WEBHOOK_SECRET, "api_port": free_port(), "partitions": 1}
    )
    url = f"http://127.0.0.1:{settings.api_port}/webhooks/stripe"
    with process(settings, "up", "--no-clock") as up:
        await wait_until(settings.clickhouse_run_file.exists, 60, "up is ready")
        assert f"Stripe's webhooks: {url}" in up.output
        event = {"id": "evt_1", "object": "event", "type": "customer.created", "created": 0, "data": {"object": {}}}
        body, signature = signed(event)
        async with aiohttp.ClientSession() as session:
            for told, status in ((body, 200), (body + b" ", 400)):
                async with session.post(url, data=told, headers={"Stripe-Signature": signature}) as answer:
                    assert answer.status == status
        assert up.stop() == 0
    with socket.create_server(("127.0.0.1", settings.api_port)):
        taken = command(settings, "up")
    assert taken.returncode == 1
    assert f"nothing can listen on 127.0.0.1:{settings.api_port}" in taken.stderr
