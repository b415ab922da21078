"""A role that is told to stop stops in order, whatever its group is doing at that moment."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from streams.meter import make_meter
from streams.settings import Settings
from tests.broker import wait_until


async def test_a_rebalance_that_ends_when_the_consumer_is_gone_is_no_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_meter(settings)
    await app.start()
    await wait_until(lambda: app.waiting_for is None, what="the meter to be ready")
    await app.stop()

    def failed(error: BaseException) -> NoReturn:
        raise AssertionError("the process would have ended") from error

    monkeypatch.setattr("streams.driver.fail", failed)
    consumer: Any = app.consumer
    # What a rebalance does whose partitions were still being opened when the process was told to stop.
    assert await consumer.seek_to_committed() == {}
