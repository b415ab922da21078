"""Stripe's webhooks, taken in by a running `callmeter api` on the real broker."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest

from deploy.kafka.broker import KafkaBroker
from deploy.kafka.process import free_port
from jobs.api import MOST_BODY_BYTES
from jobs.gateways.stripe import StripeGateway
from streams.administration import create_topics
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS
from tests.broker import command, delete_topics, process, produce, read_values, wait_until
from tests.jobs.gateways.conftest import at
from tests.jobs.gateways.test_asking import begin, link, requests_of
from tests.stripe_double import invoices
from tests.stripe_double.server import WEBHOOK_SECRET, StripeDouble, signed
from tests.stripe_double.state import Account as AtStripe

Event = dict[str, Any]


@pytest.fixture(scope="module")
def pipeline(broker: KafkaBroker, double: StripeDouble, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A meter, a billing job and an API that run while the tests of the module do. Agencies keep the tests apart."""
    name = f"t{uuid.uuid4().hex[:10]}"
    settings = Settings(
        kafka_bootstrap=broker.bootstrap,
        data_folder=tmp_path_factory.mktemp("webhooks"),
        topic_prefix=f"{name}-",
        group_id=name,
        transactional_id=name,
        partitions=2,
        http_port=0,
        api_port=free_port(),
        stripe_webhook_secret=WEBHOOK_SECRET,
        **at(double),
    )
    asyncio.run(create_topics(settings))
    with ExitStack() as stack:
        for role in ("meter", "billing", "api"):
            stack.enter_context(process(settings, role))
        asyncio.run(ready(settings))
        yield settings
    asyncio.run(delete_topics(settings))


async def ready(settings: Settings, status: int = 200) -> None:
    async def answers() -> bool:
        return (await ask_api(settings, "GET", "/ready"))[0] == status

    await wait_until(answers)


async def ask_api(settings: Settings, method: str, path: str, **how: Any) -> tuple[int, Any]:
    """Status and content; (0, None) while nobody listens."""
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, f"http://127.0.0.1:{settings.api_port}{path}", **how) as answer,
        ):
            return answer.status, json.loads(await answer.read() or b"null")
    except aiohttp.ClientConnectionError:
        return 0, None


async def post(settings: Settings, body: bytes, signature: str, path: str = "/webhooks/stripe") -> tuple[int, Any]:
    headers = {"Stripe-Signature": signature}
    return await ask_api(settings, "POST", path, data=body, headers=headers)


async def tell(settings: Settings, event: Event) -> str:
    """Send an event as Stripe would; the outcome."""
    status, answer = await post(settings, *signed(event))
    assert status == 200, answer
    return str(answer["outcome"])


async def asked(pipeline: Settings, agency: AtStripe, **options: str) -> tuple[str, dict[str, Any]]:
    """An agency, and a request of it that Stripe asks for."""
    own = await link(pipeline, agency, **options)
    if options.get("collection") == "charge":
        agency.create_customer(
            {
                "metadata": {"callmeter_account": f"jane-of-{own}"},
                "invoice_settings": {"default_payment_method": "pm_card_visa"},
            }
        )
    await produce(pipeline, [begin(own, due_days=14)])
    (request,) = await requests_of(pipeline, agency_id=own, external_id=bool)
    return own, request


def events(agency: AtStripe, kind: str) -> list[Event]:
    return [event for event in agency.events if event["type"] == kind]


async def letters_of(pipeline: Settings, own: str) -> list[dict[str, Any]]:
    return [one for one in await read_values(pipeline, "dead-letters") if one.get("agency_id") == own]


async def test_a_paid_invoice_is_in_the_log_before_the_webhook_is_answered(
    pipeline: Settings, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    invoices.pay(agency, agency.invoices[request["external_id"]], {"paid_out_of_band": True})
    (paid,) = events(agency, "invoice.paid")
    assert await tell(pipeline, paid) == "told"
    (fact,) = [
        one
        for one in await read_values(pipeline, ACCOUNT_EVENTS)
        if one["type"] == "payment_request.settled" and one["agency_id"] == own
    ]
    assert (fact["status"], fact["actor"], fact["reference"]) == ("paid", "stripe", request["external_id"])
    (known,) = await requests_of(pipeline, agency_id=own, status="paid")
    assert known["left_micros"] == 0


async def test_events_that_come_twice_at_once_and_out_of_order_change_a_request_once(
    pipeline: Settings, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    failed = event_of(agency, "invoice.payment_failed", invoice, collection_method="charge_automatically")
    invoices.pay(agency, invoice, {"paid_out_of_band": True})
    (paid,), (finalised,) = events(agency, "invoice.paid"), events(agency, "invoice.finalized")
    told = await asyncio.gather(*(tell(pipeline, paid) for _ in range(5)))
    assert set(told) <= {"told", "known"}
    (known,) = await requests_of(pipeline, agency_id=own, status="paid")
    assert await tell(pipeline, finalised) == "not_ours"
    assert await tell(pipeline, failed) == "known"
    assert await tell(pipeline, paid) == "known"
    assert [change["status"] for change in known["changes"]] == ["paid"]
    assert await letters_of(pipeline, own) == []


def event_of(agency: AtStripe, kind: str, invoice: dict[str, Any], **changed: Any) -> Event:
    """An event of an invoice as it is now, but for some fields."""
    agency.tell(kind, {**invoices.shown(agency, invoice), **changed})
    return agency.events.pop()


@pytest.mark.parametrize(
    ("kind", "status", "note"),
    [
        ("invoice.voided", "canceled", None),
        ("invoice.marked_uncollectible", "failed", "Stripe holds the invoice for uncollectible"),
        ("invoice.payment_failed", "failed", "Stripe could not charge it, and does not try again"),
    ],
)
async def test_what_is_not_paid_is_told_with_the_reason(
    pipeline: Settings, agency: AtStripe, kind: str, status: str, note: str | None
) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    event = event_of(agency, kind, invoice, collection_method="charge_automatically")
    assert await tell(pipeline, event) == "told"
    (known,) = await requests_of(pipeline, agency_id=own, status=status)
    assert (known["note"], known["actor"]) == (note, "stripe")
    if status == "failed":
        assert await tell(pipeline, event_of(agency, "invoice.paid", invoice, amount_paid=4_900)) == "told"
        await requests_of(pipeline, agency_id=own, status="paid")


async def test_an_account_that_fails_to_pay_a_sent_invoice_may_try_again(pipeline: Settings, agency: AtStripe) -> None:
    _, request = await asked(pipeline, agency)
    event = event_of(agency, "invoice.payment_failed", agency.invoices[request["external_id"]])
    assert await tell(pipeline, event) == "not_ours"


async def test_refunds_of_ours_of_stripes_and_lost_disputes_are_documents_once(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency, collection="charge")
    (request,) = await requests_of(pipeline, agency_id=own, status="paid")
    invoice = agency.invoices[request["external_id"]]
    gateway = StripeGateway(own, {"account": agency.id}, pipeline)
    await gateway.refund(request, 1_000_000, "Line was down", "refund:f1")
    await gateway.close()
    intent = next(iter(agency.payments.values()))["payment"]["payment_intent"]
    by_hand = invoices.create_refund(agency, {"payment_intent": intent, "amount": 200})
    disputed = invoices.dispute(agency, invoice, 300)
    invoices.close_dispute(agency, disputed, "lost")
    (opened,), (lost,) = events(agency, "charge.dispute.created"), events(agency, "charge.dispute.closed")
    (credited,), (of_note, plain) = events(agency, "credit_note.created"), events(agency, "refund.created")
    for event, outcome in (
        (of_note, "not_ours"),
        (credited, "told"),
        (plain, "told"),
        (opened, "told"),
        (lost, "told"),
    ):
        assert await tell(pipeline, event) == outcome, event["type"]
    refunds = await requests_of(pipeline, 3, agency_id=own, kind="refund")
    assert {(one["payment_request_id"], one["total_micros"]) for one in refunds} == {
        ("refund:f1", -1_000_000),
        (f"refund:{by_hand['id']}", -2_000_000),
        (f"refund:{disputed['id']}", -3_000_000),
    }
    assert {one["corrects"] for one in refunds} == {request["payment_request_id"]}
    for event in (credited, plain, opened, lost):
        assert await tell(pipeline, event) == "known"
    assert await letters_of(pipeline, own) == []


async def test_disputes_are_documents_in_any_order_and_the_agency_is_warned_once(
    pipeline: Settings, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency, collection="charge")
    await requests_of(pipeline, agency_id=own, status="paid")
    invoice = agency.invoices[request["external_id"]]
    first, second = invoices.dispute(agency, invoice, 1_000), invoices.dispute(agency, invoice, 2_000)
    invoices.close_dispute(agency, first, "won")
    invoices.close_dispute(agency, second, "lost")
    opened, closed = events(agency, "charge.dispute.created"), events(agency, "charge.dispute.closed")
    assert [await tell(pipeline, event) for event in (opened[0], closed[1])] == ["told", "told"]
    (lost,) = await requests_of(pipeline, agency_id=own, kind="dispute", status="lost")
    assert [await tell(pipeline, event) for event in (opened[1], opened[0], closed[0])] == ["known", "known", "told"]
    (won,) = await requests_of(pipeline, agency_id=own, kind="dispute", status="won")
    assert [await tell(pipeline, event) for event in (opened[0], closed[0], closed[1])] == ["known"] * 3
    assert [(one["status"], one["actor"], one["reference"], one["note"]) for one in won["changes"]] == [
        ("opened", "stripe", request["external_id"], "Disputed: fraudulent"),
        ("won", "stripe", request["external_id"], "Dispute won: fraudulent"),
    ]
    assert (won["disputed_micros"], won["external_id"]) == (10_000_000, first["id"])
    assert [one["status"] for one in lost["changes"]] == ["lost"]
    (back,) = await requests_of(pipeline, agency_id=own, kind="refund")
    assert (back["external_id"], back["paid_micros"]) == (second["id"], -20_000_000)
    alerts = [one for one in await read_values(pipeline, "alerts") if one["agency_id"] == own]
    assert [(one["type"], one["used"], one["limit"]) for one in alerts] == [
        ("dispute", 10_000_000, 49_000_000),
        ("dispute", 20_000_000, 49_000_000),
    ]
    shown = command(pipeline, "requests", "show", request["payment_request_id"], "--account", request["account_id"])
    for text in ("dispute 10.00 opened", "dispute 10.00 won", "dispute 20.00 lost", "refund 20.00"):
        assert text in shown.stdout, shown.stdout
    assert command(pipeline, "gateway", "reconcile", own).returncode == 0
    assert await letters_of(pipeline, own) == []


async def test_credits_before_the_payment_come_first_though_their_webhook_comes_later(
    pipeline: Settings, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    invoices.create_credit_note(agency, {"invoice": invoice["id"], "amount": 1_000, "memo": "Goodwill"})
    invoices.pay(agency, invoice, {"payment_method": "pm_card_visa"})
    assert await tell(pipeline, events(agency, "invoice.paid")[0]) == "told"
    (paid,) = await requests_of(pipeline, agency_id=own, status="paid", kind="cycle")
    assert await tell(pipeline, events(agency, "credit_note.created")[0]) == "known"
    assert (paid["credited_micros"], paid["paid_micros"]) == (10_000_000, 39_000_000)
    # After the payment it is the difference that goes back, and no more than that.
    given = {"invoice": invoice["id"], "amount": 3_900, "refund_amount": 3_900}
    invoices.create_credit_note(agency, given)
    assert await tell(pipeline, events(agency, "credit_note.created")[1]) == "told"
    (back,) = await requests_of(pipeline, agency_id=own, kind="refund")
    assert back["paid_micros"] == -39_000_000
    more = command(pipeline, "requests", "refund", request["payment_request_id"], "--account", request["account_id"])
    assert (more.returncode, "illegal_change" in more.stderr) == (1, True)
    assert command(pipeline, "gateway", "reconcile", own).returncode == 0
    assert await letters_of(pipeline, own) == []


async def test_what_goes_back_before_the_payment_is_told_brings_the_payment_along(
    pipeline: Settings, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    invoices.pay(agency, invoice, {"payment_method": "pm_card_visa"})
    given = {"invoice": invoice["id"], "amount": 1_000, "out_of_band_amount": 1_000}
    invoices.create_credit_note(agency, given)
    assert await tell(pipeline, events(agency, "credit_note.created")[0]) == "told"
    (paid,) = await requests_of(pipeline, agency_id=own, status="paid", kind="cycle")
    assert await tell(pipeline, events(agency, "invoice.paid")[0]) == "known"
    (back,) = await requests_of(pipeline, agency_id=own, kind="refund")
    assert (paid["paid_micros"], back["paid_micros"]) == (49_000_000, -10_000_000)
    assert await letters_of(pipeline, own) == []


async def test_refunds_and_credits_by_command_are_carried_out_at_stripe_once(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency, collection="charge")
    await requests_of(pipeline, agency_id=own, status="paid")
    account = request["account_id"]

    async def refund(*options: str) -> Any:
        given = ("requests", "refund", request["payment_request_id"], "--account", account, *options)
        return await asyncio.to_thread(command, pipeline, *given)

    done = await refund("--amount", "10.00", "--note", "Line was down", "--actor", "jane", "--json")
    assert done.returncode == 0, done.stderr
    ((name, note),) = agency.credit_notes.items()
    (made,) = await requests_of(pipeline, agency_id=own, kind="refund")
    assert (made["external_id"], made["actor"], made["note"]) == (name, "jane", "Line was down")
    assert (note["amount"], [one["amount"] for one in agency.refunds.values()]) == (1_000, [1_000])
    # It is done, and nobody is told.
    double.next_fails(*[None, None, "silence after"])  # type: ignore[list-item]
    lost = await refund("--amount", "1.00", "--id", "again")
    assert (lost.returncode, "--id again" in lost.stderr, len(agency.refunds)) == (1, True, 2)
    assert (await refund("--amount", "1.00", "--id", "again")).returncode == 0
    assert "nothing to do" in (await refund("--amount", "1.00", "--id", "again")).stdout
    assert (await refund("--amount", "2.00", "--outside")).returncode == 0
    await requests_of(pipeline, 3, agency_id=own, kind="refund")
    assert [one["amount"] for one in agency.credit_notes.values()] == [1_000, 100]
    for event in events(agency, "credit_note.created"):
        assert await tell(pipeline, event) == "known"
    # Of 49.00 there are 38.00 left at Stripe, 36.00 here.
    intent = next(iter(agency.payments.values()))["payment"]["payment_intent"]
    invoices.create_refund(agency, {"payment_intent": intent, "amount": 3_000})
    refused = await refund()
    assert (refused.returncode, "Refund amount is greater than unrefunded amount" in refused.stderr) == (1, True)
    await requests_of(pipeline, 3, agency_id=own, kind="refund")


async def test_credits_by_command_are_credit_notes_at_stripe(pipeline: Settings, agency: AtStripe) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]

    def credit(*options: str) -> Any:
        given = ("requests", "credit", request["payment_request_id"], "--account", request["account_id"], *options)
        return command(pipeline, *given)

    done = credit("--amount", "9.00", "--description", "Line was down")
    assert done.returncode == 0, done.stderr
    assert f"{next(iter(agency.credit_notes))} at stripe" in done.stdout
    assert (invoices.shown(agency, invoice)["amount_remaining"], agency.refunds) == (4_000, {})
    assert credit().returncode == 0
    (canceled,) = await requests_of(pipeline, agency_id=own, status="canceled")
    assert (canceled["credited_micros"], invoice["status"], invoice["amount_paid"]) == (49_000_000, "paid", 0)
    assert command(pipeline, "gateway", "reconcile", own).returncode == 0
    assert await letters_of(pipeline, own) == []


async def test_what_is_about_to_be_asked_for_is_credited_as_a_whole_or_later(
    pipeline: Settings, agency: AtStripe
) -> None:
    agency.charges_enabled = False
    own = await link(pipeline, agency)
    await produce(pipeline, [begin(own, due_days=14)])
    (request,) = await requests_of(pipeline, agency_id=own)
    given = ("requests", "credit", request["payment_request_id"], "--account", request["account_id"])
    refused = command(pipeline, *given, "--amount", "9.00")
    assert (refused.returncode, "stripe is about to ask for all of" in refused.stderr) == (1, True)
    assert command(pipeline, *given).returncode == 0
    await requests_of(pipeline, agency_id=own, status="canceled")
    assert agency.invoices == {}


async def test_a_credit_note_for_all_of_it_cancels_and_is_no_payment(pipeline: Settings, agency: AtStripe) -> None:
    own, request = await asked(pipeline, agency)
    given = {"invoice": request["external_id"], "amount": 4_900, "memo": "Goodwill"}
    invoices.create_credit_note(agency, given)
    # Whichever comes first.
    assert await tell(pipeline, events(agency, "invoice.paid")[0]) == "not_ours"
    assert await tell(pipeline, events(agency, "credit_note.created")[0]) == "told"
    (canceled,) = await requests_of(pipeline, agency_id=own, status="canceled")
    assert (canceled["credited_micros"], canceled["paid_micros"]) == (49_000_000, 0)


async def test_a_request_that_is_not_known_becomes_a_dead_letter(pipeline: Settings, agency: AtStripe) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    metadata = {**invoice["metadata"], "callmeter_identity": f"jane-of-{own}/nothing"}
    event = event_of(agency, "invoice.paid", invoice, id="in_other", metadata=metadata, amount_paid=1)
    assert await tell(pipeline, event) == "unknown_request"

    async def letter() -> list[dict[str, Any]]:
        return await letters_of(pipeline, own)

    (found,) = await wait_until(letter)
    assert (found["type"], found["payment_request_id"]) == ("payment_request.settled", "nothing")
    listed = json.loads(command(pipeline, "dead-letters", "list", "--agency", own, "--json").stdout)
    assert "unknown_request" in json.dumps(listed)


async def test_another_agencys_account_cannot_speak_for_a_request(
    pipeline: Settings, double: StripeDouble, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    other = double.connect(f"{agency.id}other")
    await link(pipeline, other)
    invoice = agency.invoices[request["external_id"]]
    unknown = {**invoice["metadata"], "callmeter_identity": f"jane-of-{own}/later"}
    for metadata in (invoice["metadata"], unknown):
        forged = event_of(agency, "invoice.paid", invoice, id="in_forged", metadata=metadata, amount_paid=4_900)
        forged["account"] = other.id
        status, answer = await post(pipeline, *signed(forged))
        assert (status, "is not what" in answer["error"]) == (400, True)
    (known,) = await requests_of(pipeline, agency_id=own)
    assert (known["status"], await letters_of(pipeline, own)) == ("pending", [])


async def test_what_the_agency_asks_by_itself_is_not_ours(pipeline: Settings, agency: AtStripe) -> None:
    own, request = await asked(pipeline, agency)
    invoice = agency.invoices[request["external_id"]]
    event = event_of(agency, "invoice.paid", invoice, id="in_own", metadata={}, amount_paid=1)
    assert await tell(pipeline, event) == "not_ours"
    customer = agency.create_customer({})
    private = invoices.create(agency, {"customer": customer["id"]})
    invoices.add_item(agency, {"customer": customer["id"], "invoice": private["id"], "currency": "usd", "amount": 500})
    invoices.pay(agency, private, {"payment_method": "pm_card_visa"})
    intent = next(iter(agency.payments.values()))["payment"]["payment_intent"]
    invoices.create_refund(agency, {"payment_intent": intent})
    assert await tell(pipeline, agency.events[-1]) == "not_ours"
    assert await letters_of(pipeline, own) == []


async def test_what_is_not_stripes_too_old_or_too_large_is_refused(pipeline: Settings, agency: AtStripe) -> None:
    event = {"id": "evt_1", "object": "event", "type": "ping", "created": 1, "data": {"object": {}}}
    body, signature = signed(event)
    assert await post(pipeline, body, signature) == (200, {"outcome": "not_ours"})
    for wrong in (
        (body.replace(b"evt_1", b"evt_2"), signature),
        (body, ""),
        signed(event, secret="whsec_other"),
        signed(event, at=int(time.time()) - 301),
    ):
        status, answer = await post(pipeline, *wrong)
        assert (status, "no event of Stripe's" in answer["error"]) == (400, True)
    status, answer = await post(pipeline, b" " * (MOST_BODY_BYTES + 1), signature)
    assert (status, str(MOST_BODY_BYTES) in answer["error"]) == (413, True)
    assert (await ask_api(pipeline, "GET", "/health"))[0] == 200
    assert (await ask_api(pipeline, "GET", "/webhooks/stripe"))[0] == 405
    for path in ("/webhooks/nothing", "/webhooks/manual", f"/webhooks/stripe/{agency.id}", "/webhooks/post/acme"):
        status, answer = await post(pipeline, body, signature, path)
        assert (status, "/webhooks/GATEWAY/AGENCY" in answer["error"]) == (404, True)


@pytest.mark.slow
async def test_while_the_broker_is_away_webhooks_have_to_come_again(
    pipeline: Settings, broker: KafkaBroker, agency: AtStripe
) -> None:
    own, request = await asked(pipeline, agency)
    invoices.pay(agency, agency.invoices[request["external_id"]], {"paid_out_of_band": True})
    (paid,) = events(agency, "invoice.paid")
    broker.freeze()
    try:
        status, answer = await post(pipeline, *signed(paid))
        assert (status, answer) == (503, {"error": "it cannot be taken now; send it again"})
        await ready(pipeline, 503)
    finally:
        broker.thaw()
    await ready(pipeline)
    assert await tell(pipeline, paid) in ("told", "known")
    (known,) = await requests_of(pipeline, agency_id=own, status="paid")
    assert [change["status"] for change in known["changes"]] == ["paid"]


async def test_it_ends_on_sigterm_and_names_what_is_missing(pipeline: Settings) -> None:
    taken = command(pipeline, "api")
    assert (taken.returncode, taken.stdout) == (1, "")
    assert f"nothing can listen on 127.0.0.1:{pipeline.api_port}" in taken.stderr
    other = pipeline.model_copy(update={"api_port": free_port(), "stripe_webhook_secret": None})
    with process(other, "api") as running:
        await ready(other)
        status, _ = await post(other, *signed({"id": "evt_1"}))
        assert status == 503
        assert running.stop() == 0, running.output
        assert "CALLMETER_STRIPE_WEBHOOK_SECRET is not set" in running.output
    with process(pipeline.model_copy(update={"api_port": 1}), "api", "--port", str(other.api_port)) as running:
        await ready(other)
        assert running.stop() == 0
        assert WEBHOOK_SECRET not in running.output
