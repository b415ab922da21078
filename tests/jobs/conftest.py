"""What the jobs are tested with: topics for a whole module, and the roles as processes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.kafka.broker import KafkaBroker
from streams.administration import create_topics
from streams.settings import Settings
from tests.broker import delete_topics, process


@pytest.fixture(scope="module")
def pipeline(broker: KafkaBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a meter and a billing job that run while the tests of a module do. Accounts keep the tests apart."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap,
        data_folder=tmp_path_factory.mktemp("pipeline"),
        topic_prefix=f"{name}-",
        group_id=name,
        transactional_id=name,
        partitions=2,
        http_port=0,
    )
    asyncio.run(create_topics(settings))
    with ExitStack() as stack:
        for role in ("meter", "billing"):
            stack.enter_context(process(settings, role))
        yield settings
    asyncio.run(delete_topics(settings))
