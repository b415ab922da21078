"""A log that was deleted and made anew is another log: nobody rates on, however long it is."""

from __future__ import annotations

import pytest

from streams.topics import RATED_CALLS
from tests.broker import process, produce, read_values, wait_until
from tests.streams.meters import calls, make_anew, rated, subscribed


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is stopped"])
@pytest.mark.parametrize("records", [20, 300], ids=["shorter", "longer"])
async def test_a_log_made_anew_is_refused(make_settings, running, records):
    settings = make_settings(partitions=1)
    await produce(settings, [*subscribed(5), *calls(5, 0, 100)])
    anew = [*subscribed(5), *calls(5, 1_000, records)]
    with process(settings, "meter") as meter:
        await rated(settings, 100)
        if not running:
            assert meter.stop() == 0
        await make_anew(settings, "account-events")
        await produce(settings, anew)
        if running:
            await wait_until(lambda: not meter.alive(), what="the meter to end")
            assert meter.popen.returncode == 1, meter.output
    with process(settings, "meter") as meter:
        await wait_until(lambda: not meter.alive(), what="the meter to refuse")
        assert meter.popen.returncode == 1, meter.output
        assert "made anew" in meter.output
    assert len(await read_values(settings, RATED_CALLS)) == 100
