"""How one agency's requests wait: beside everybody else's, behind each other, and never for a defect alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import jobs.asking
from jobs.asking import Courier, facts_of, pause_s, to_tell
from jobs.gateways.base import Buyer, ExternalRequest, Rejected, Request, Unavailable
from jobs.gateways.manual import ManualGateway
from tests.broker import wait_until
from tests.jobs.gateways.requests import request_of


class Told(ManualGateway):
    """Answers what a test tells it to."""

    name = "told"

    def __init__(self, answer: Callable[[Request], ExternalRequest]) -> None:
        self.answer = answer
        self.asked: list[str] = []
        self.canceled: list[str] = []

    async def create(self, request: Request, buyer: Buyer) -> ExternalRequest:
        self.asked.append(request["payment_request_id"])
        return self.answer(request)

    async def cancel(self, request: Request) -> None:
        self.canceled.append(request["external_id"])


class Office:
    """What a courier is given, without a broker."""

    def __init__(self, gateway: Told) -> None:
        self.links = self
        self.gateway = gateway
        self.written: list[dict[str, Any]] = []

    async def refresh(self) -> None: ...

    async def check(self, gateway: Told, request: Request) -> None: ...

    async def write(self, *facts: dict[str, Any]) -> None:
        self.written += facts

    def name_of(self, agency_id: str) -> str:
        return "told"

    def gateway_of(self, agency_id: str) -> Told:
        return self.gateway

    def buyer_of(self, request: Request) -> Buyer:
        return Buyer(request["account_id"], request["agency_id"])


JANE = Buyer("jane", "acme")


def request(name: str, **fields: Any) -> dict[str, Any]:
    """A request of the gateway above."""
    given = {"gateway": "told", "updated_at": "2026-11-01T00:00:00Z", "actor": None, "corrects": None, **fields}
    return request_of(JANE, payment_request_id=name, **given)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.asking, "SHORTEST_PAUSE_S", 0.01)


async def until_written(office: Office, count: int) -> list[dict[str, Any]]:
    return await wait_until(lambda: office.written if len(office.written) >= count else None)


async def test_one_that_cannot_be_asked_for_waits_behind_the_others() -> None:
    tries = {"bad": 3}

    def answer(one: Request) -> ExternalRequest:
        name = one["payment_request_id"]
        tries[name] = tries.get(name, 0) - 1
        if tries[name] >= 0:
            raise Unavailable("not yet")
        return ExternalRequest(f"ext_{name}")

    office = Office(Told(answer))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    for name in ("bad", "a", "b"):
        courier.take(request(name))
    written = await until_written(office, 3)
    assert [fact["external_id"] for fact in written] == ["ext_a", "ext_b", "ext_bad"]
    assert courier.waiting == 0
    await courier.stop()


async def test_a_defect_of_a_gateway_is_tried_again_and_ends_nothing() -> None:
    answers = iter([KeyError("surprise"), ZeroDivisionError(), ExternalRequest("ext")])

    def answer(one: Request) -> ExternalRequest:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    office = Office(Told(answer))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    courier.take(request("r"))
    (fact,) = await until_written(office, 1)
    assert (fact["type"], fact["external_id"]) == ("payment_request.sent", "ext")
    await courier.stop()


async def test_what_is_rejected_is_failed_with_its_reason() -> None:
    def answer(one: Request) -> ExternalRequest:
        raise Rejected("we do not sell there")

    office = Office(Told(answer))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    courier.take(request("r"))
    (fact,) = await until_written(office, 1)
    assert (fact["type"], fact["status"], fact["note"]) == ("payment_request.settled", "failed", "we do not sell there")
    assert (fact["actor"], fact["reference"]) == ("told", None)
    await courier.stop()


async def test_what_is_rejected_is_not_tried_again_until_the_log_tells_that_it_failed() -> None:
    def answer(one: Request) -> ExternalRequest:
        # It gets its number while it is asked for.
        courier.take(request("r", number="2026-000001"))
        raise Rejected("we do not sell there")

    office = Office(Told(answer))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    courier.take(request("r"))
    await until_written(office, 1)
    # And falls due before the log tells.
    courier.take(request("r", number="2026-000001", status="overdue"))
    courier.take(request("other"))
    await wait_until(lambda: "other" in office.gateway.asked, timeout=10)
    courier.take(request("r", number="2026-000001", status="failed"))
    await until_written(office, 2)
    assert (office.gateway.asked, courier.waiting) == (["r", "other"], 0)
    await courier.stop()


async def test_a_request_that_is_canceled_while_it_is_asked_for_is_canceled_outside() -> None:
    office = Office(Told(lambda one: ExternalRequest("ext")))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    courier.take(request("r"))
    await until_written(office, 1)
    # The log has not told of the sending when it tells of the cancellation.
    courier.take(request("r", status="canceled", updated_at=_now()))
    await wait_until(lambda: office.gateway.canceled == ["ext"])
    await courier.stop()


async def test_what_was_sent_or_is_no_longer_asked_for_is_left_alone() -> None:
    office = Office(Told(lambda one: ExternalRequest("ext")))
    courier = Courier("acme", office)  # type: ignore[arg-type]
    for fields in ({"external_id": "ext"}, {"status": "failed"}, {"status": "canceled"}, {"status": "paid"}):
        courier.take(request("r", **fields))
    await asyncio.sleep(0)
    assert (courier.waiting, office.gateway.asked) == (0, [])
    await courier.stop()


def _now() -> str:
    from datetime import UTC, datetime

    return datetime.now(UTC).isoformat()


def test_a_gateway_is_not_told_what_it_told_us_or_what_is_long_past() -> None:
    told = request("r", status="paid", external_id="ext", updated_at=_now())
    assert to_tell(told)
    assert not to_tell({**told, "actor": "told"})
    assert not to_tell({**told, "updated_at": "2026-01-01T00:00:00Z"})
    assert not to_tell({**told, "corrects": "other"})
    assert not to_tell({**told, "status": "pending"})


def test_an_answer_is_facts_whose_ids_a_second_one_repeats() -> None:
    one = request("r")
    twice = [facts_of(one, ExternalRequest("ext", "paid", tax_micros=5, tax_included=True)) for _ in range(2)]
    assert [[fact["fact_id"] for fact in facts] for facts in twice] == [["r:sent", "r:paid"]] * 2
    sent, paid = twice[0]
    assert (sent["tax_micros"], sent["tax_included"], paid["reference"]) == (5, True, "ext")


def test_pauses_grow_to_five_minutes() -> None:
    pauses = [pause_s(failures) for failures in (1, 2, 5, 50, 5_000)]
    assert pauses[0] <= 0.01
    assert 150 <= pauses[-1] <= 300
