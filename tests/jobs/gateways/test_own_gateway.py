"""The gateway of docs/gateways.md, installed as a package beside Callmeter: found, linked, asked."""

from __future__ import annotations

import hmac
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from catalogue.collection import Entry
from catalogue.model import Account, Agency, GatewayLink
from catalogue.store import put
from deploy.kafka.process import free_port
from jobs.requests import read_requests
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS
from tests.broker import ROOT, environment, process, produce, read_values, wait_until
from tests.jobs.gateways.test_webhooks import ask_api, ready
from tests.rating.builders import subscription


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the package, as an installer leaves it."""
    text = (ROOT / "docs" / "gateways.md").read_text()
    (module,) = re.findall(r"```python\n(.*?)```", text, re.S)
    (points,) = re.findall(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)```", text, re.S)
    site = tmp_path / "site"
    installed = site / "post_gateway-1.0.dist-info"
    installed.mkdir(parents=True)
    (site / "post_gateway.py").write_text(module)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: post-gateway\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[{points[0]}]\n{points[1].replace(chr(34), '')}")
    return site


async def test_the_gateway_of_the_docs_is_linked_and_asked(settings: Settings, site: Path, tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    await put(settings, Entry("acme", "agency", "acme", Agency(name="Acme", currency="USD")))
    for account, country in (("jane", "US"), ("hans", "DE")):
        body = Account(agency="acme", name=account.title(), country=country)
        await put(settings, Entry("acme", "account", account, body))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", *arguments]
        variables = {**environment(settings), "PYTHONPATH": str(site)}
        return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)

    wrong = run("gateway", "link", "acme", "--gateway", "post")
    assert (wrong.returncode, "needs --option folder=FOLDER" in wrong.stderr) == (1, True)
    linked = run("gateway", "link", "acme", "--gateway", "post", "--option", f"folder={letters}", "--json")
    assert linked.returncode == 0, linked.stderr
    assert [step["state"] for step in json.loads(linked.stdout)["steps"]] == ["missing"]
    with process(settings, "meter"), process(settings, "billing", PYTHONPATH=str(site)):
        for account in ("jane", "hans"):
            start = subscription(account=account, agency="acme", sub=f"sub_{account}", price_micros=49_000_000)
            await produce(settings, [start])
        await wait_until(lambda: raised(settings, 2))
        letters.mkdir()

        async def asked() -> bool:
            requests = await read_requests(settings, agency_id="acme")
            return {(one["account_id"], one["status"], bool(one["external_id"])) for one in requests} == {
                ("jane", "pending", True),
                ("hans", "failed", False),
            }

        await wait_until(asked)
    (letter,) = letters.iterdir()
    assert json.loads(letter.read_text()) == {"to": "Jane", "micros": 49_000_000}
    (refused,) = await read_requests(settings, account_id="hans")
    assert refused["note"] == "letters go to the US only, not to DE"


async def test_its_webhooks_come_to_an_endpoint_of_each_agency(settings: Settings, site: Path, tmp_path: Path) -> None:
    secret, serving = "shared with the post office", settings.model_copy(update={"api_port": free_port()})
    for agency in ("acme", "other", "byhand"):
        await put(settings, Entry(agency, "agency", agency, Agency(name=agency, currency="USD")))
        if agency != "byhand":
            (tmp_path / agency).mkdir()
            link = GatewayLink(agency=agency, gateway="post", options={"folder": str(tmp_path / agency)})
            await put(settings, Entry(agency, "gateway", agency, link))

    async def tell(agency: str, letter: str, answer: str = "paid", **signed_with: str) -> tuple[int, Any]:
        told = {"id": "e1", "letter": letter, "answer": answer, "at": "2026-11-05T10:00:00Z"}
        body = json.dumps(told).encode()
        signature = hmac.digest(signed_with.get("secret", secret).encode(), body, "sha256").hex()
        headers = {"Post-Signature": signature}
        return await ask_api(serving, "POST", f"/webhooks/post/{agency}", data=body, headers=headers)

    with (
        process(settings, "meter"),
        process(settings, "billing", PYTHONPATH=str(site)),
        process(serving, "api", PYTHONPATH=str(site), POST_SECRET=secret),
    ):
        await produce(settings, [subscription(account="jane", agency="acme", sub="s", price_micros=49_000_000)])

        async def asked() -> str | None:
            return next((one["external_id"] for one in await read_requests(settings, account_id="jane")), None)

        letter = await wait_until(asked)
        await ready(serving)
        assert await tell("acme", letter, "moved") == (200, {"outcome": "not_ours"})
        assert (await tell("acme", letter, secret="guessed"))[0] == 400
        # The letter is acme's: to the other agency it is unknown.
        assert await tell("other", letter) == (200, {"outcome": "not_ours"})
        assert (await tell("byhand", letter))[0] == 404
        assert (await ask_api(serving, "POST", "/webhooks/post", data=b"{}"))[0] == 404
        assert await tell("acme", letter) == (200, {"outcome": "told"})

        async def paid() -> bool:
            return [one["status"] for one in await read_requests(settings, account_id="jane")] == ["paid"]

        await wait_until(paid)
        assert await tell("acme", letter) == (200, {"outcome": "known"})
        # A body that it cannot read is its defect: the sender tries again, and nothing is lost.
        signature = hmac.digest(secret.encode(), b"{}", "sha256").hex()
        headers = {"Post-Signature": signature}
        assert (await ask_api(serving, "POST", "/webhooks/post/acme", data=b"{}", headers=headers))[0] == 503
    facts = [one for one in await read_values(settings, ACCOUNT_EVENTS) if one["type"] == "payment_request.settled"]
    assert [(one["status"], one["actor"], one["reference"]) for one in facts] == [("paid", "post", letter)]


async def raised(settings: Settings, count: int) -> bool:
    """Whether there are so many requests."""
    return len(await read_requests(settings)) == count
