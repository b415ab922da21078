"""Stripe for the gateway's tests: our double, or Stripe's own sandbox where ``make test-stripe`` has a key for it."""

from __future__ import annotations

import asyncio
import itertools
import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import stripe

from deploy.kafka.broker import KafkaBroker
from jobs.gateways.base import Buyer
from jobs.gateways.stripe import StripeGateway
from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import delete_topics, process
from tests.stripe_double.server import KEY, WEBHOOK_SECRET, StripeDouble, stripe_double
from tests.stripe_double.state import Account

_count = itertools.count(1)


@dataclass
class Place:
    """An agency's account at Stripe.

    Attributes:
        settings: to get there.
        account: the connected account's id.
        client: of the official SDK, for what a test sets up or looks at.
        link: makes a gateway with these options, and the settings of the moment.
    """

    settings: Settings
    account: str
    client: stripe.StripeClient
    link: Callable[..., StripeGateway]

    def invoices(self) -> list[dict[str, Any]]:
        """All its invoices, newest first."""
        return [one.to_dict() for one in self.client.v1.invoices.list({"limit": 100}).auto_paging_iter()]


@pytest.fixture(scope="session")
def double() -> Iterator[StripeDouble]:
    """The session's double; each test has an account of its own there."""
    with stripe_double() as running:
        yield running


def at(double: StripeDouble) -> dict[str, Any]:
    """Settings that lead to the double."""
    return {"stripe_key": KEY, "stripe_api_base": double.url, "stripe_timeout_s": 5}


@pytest.fixture(scope="module")
def pipeline(broker: KafkaBroker, double: StripeDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A meter and a billing job that run while the tests of the module do. Agencies keep the tests apart."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap,
        data_folder=tmp_path_factory.mktemp("pipeline"),
        topic_prefix=f"{name}-",
        group_id=name,
        transactional_id=name,
        partitions=2,
        http_port=0,
        **at(double),
    )
    asyncio.run(create_topics(settings))
    with process(settings, "meter"), process(settings, "billing"):
        yield settings
    asyncio.run(delete_topics(settings))


@pytest.fixture
def agency(double: StripeDouble) -> Account:
    """A connected account that nothing is missing of, registered for taxes in the US."""
    double.faults.clear()
    account = double.connect(f"acct_{next(_count):06}")
    account.register("US")
    return account


@pytest.fixture
async def at_double(double: StripeDouble, agency: Account) -> AsyncIterator[Place]:
    """The agency's account at the double."""
    async for place in _at_double(double, agency):
        yield place


@pytest.fixture
async def place(double: StripeDouble, agency: Account) -> AsyncIterator[Place]:
    """The agency's account: at the sandbox if there is a key for it, otherwise at the double."""
    key, account = os.environ.get("STRIPE_TEST_KEY"), os.environ.get("STRIPE_TEST_ACCOUNT")
    if key and account:
        # Events are signed here, so the secret is ours.
        there = _place(Settings(stripe_key=key, stripe_webhook_secret=WEBHOOK_SECRET), key, account, {})
    else:
        there = _at_double(double, agency)
    async for place in there:
        yield place


def _at_double(double: StripeDouble, agency: Account) -> AsyncIterator[Place]:
    settings = Settings(
        stripe_key=KEY, stripe_api_base=double.url, stripe_timeout_s=30, stripe_webhook_secret=WEBHOOK_SECRET
    )
    return _place(settings, KEY, agency.id, {"api": double.url})


async def _place(settings: Settings, key: str, account: str, base: Any) -> AsyncIterator[Place]:
    made: list[StripeGateway] = []

    def link(**options: str) -> StripeGateway:
        made.append(StripeGateway("acme", {"account": account, **options}, place.settings))
        return made[-1]

    client = stripe.StripeClient(key, stripe_account=account, base_addresses=base, max_network_retries=0)
    place = Place(settings, account, client, link)
    yield place
    for gateway in made:
        await gateway.close()


@pytest.fixture
def buyer() -> Buyer:
    """An account that nothing is missing of, which nobody else is."""
    return Buyer(f"client_{uuid.uuid4().hex[:8]}", "acme", "Jane Dental", "jane@example.com", "US", "NY", "10001")
