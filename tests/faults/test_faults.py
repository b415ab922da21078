"""A short run of `make faults`: the pipeline is broken a few times, and is exact afterwards."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.breaking import BREAK
from tests.faults.facts import Market, Sender
from tests.faults.run import run
from tests.faults.schedule import KINDS, rounds
from tests.faults.truth import Digests

SECONDS = 12.0
# A kill in a transaction and a kill in an insert come first with this one.
SEED = 33


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_nothing_is_lost_doubled_or_wrong_whatever_is_broken(tmp_path: Path) -> None:
    said: list[str] = []
    report = await run(SEED, SECONDS, tmp_path, said.append, least=2)
    print("\n".join(said))
    assert report.verdict.wrong == []
    assert report.verdict.rated > 500
    assert sum(report.faults.values()) + len(report.not_placed) >= 2
    assert report.faults


def test_a_schedule_is_a_function_of_its_seed() -> None:
    def first(seed: int) -> list[object]:
        return list(itertools.islice(rounds(seed), 100))

    assert first(7) == first(7)
    assert first(7) != first(8)


def test_every_kind_comes_up_before_any_comes_too_often() -> None:
    cards = sum(kind.cards for kind in KINDS.values())
    dealt = [fault.kind for faults in itertools.islice(rounds(3), cards) for fault in faults][:cards]
    assert {kind: dealt.count(kind) for kind in KINDS} == {kind: how.cards for kind, how in KINDS.items()}


def test_every_kind_can_be_done() -> None:
    assert KINDS.keys() == BREAK.keys()


def test_what_is_sent_stays_worth_rating_however_long_a_run_lasts() -> None:
    sender = Sender(Market(5, 150, datetime.now(UTC), 600), "platform")
    ended: set[str] = set()
    calls = in_vain = 0
    for number in range(20_000):
        value, account, _ = sender.fact(number)
        assert account is not None
        calls += b'"call.completed"' in value
        in_vain += account in ended
        if b'"subscription.canceled"' in value and json.loads(value)["subscription_id"] != "sub-nobody":
            ended.add(account)
    assert ended
    assert in_vain < calls / 20


def test_outputs_of_one_type_may_have_other_fields() -> None:
    alert = {"type": "cap", "account_id": "a", "level": 80}
    named = alert | {"cap": "daily", "per": "day"}
    said = [{"topic": "alerts", "key": "a", "value": value} for value in (alert, named, alert)]
    expected, found, lacking = Digests(), Digests(), Digests()
    for output in said:
        expected.learn(output)
    found.fields = lacking.fields = expected.fields
    for output in said:
        found.take(output | {"value": output["value"] | {"new": 1}})
        lacking.take(output | {"value": {name: item for name, item in output["value"].items() if name != "per"}})
    assert found.found == expected.found
    assert lacking.found != expected.found
