"""The gateway of docs/gateways.md, installed as a package beside Callmeter: found, linked, asked."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from catalogue.collection import Entry
from catalogue.model import Account, Agency
from catalogue.store import put
from jobs.requests import read_requests
from streams.settings import Settings
from tests.broker import ROOT, environment, process, produce, wait_until
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


async def raised(settings: Settings, count: int) -> bool:
    """Whether there are so many requests."""
    return len(await read_requests(settings)) == count
