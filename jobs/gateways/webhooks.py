"""Webhooks: what a gateway tells of payment requests becomes facts in the log, each once.

What a request became has the fact id that everybody uses who says the same (`jobs.requests.settling_id`), and a credit
or refund that of its document. So an event that comes twice, or that the asking job or a person has told before,
changes nothing; nor does one that is outdated, for it is held against the request as it stands. What cannot be taken
is written all the same: the meter makes a dead letter of it, with the reason.

Two agencies share one endpoint, and each may put any metadata on an invoice of its own. So the account that an event
comes from must be the one that the request was asked on.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Literal

import structlog
from aiokafka.errors import KafkaError

from catalogue.facts import Fact
from jobs.gateways.base import GatewayEvent, Unavailable, WebhookRefused
from jobs.gateways.known_requests import KnownRequest, KnownRequests
from jobs.gateways.links import Links
from jobs.gateways.stripe import StripeGateway
from jobs.gateways.stripe_events import parse_event
from jobs.requests import corrected, document_fact_id, settled, settling_id
from rating.dunning import OPEN
from streams.errors import CallmeterError
from streams.observe import GATEWAY_EVENTS
from streams.process import fail
from streams.producer import FactProducer
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS, CATALOGUE, PAYMENT_REQUESTS

NEEDS = (ACCOUNT_EVENTS, CATALOGUE, PAYMENT_REQUESTS)
# Stripe waits for an answer for not much longer.
LONGEST_S = 9.0
LOOK_EVERY_S = 2.0
OWN_FIRST_S = 4.0
SILENCE_S = 15.0

# told: a fact was written. known: nothing new. noted: only the log of this process tells of it. not_ours: it is about
# something that was not asked for by us. unknown_request: a fact was written, and the meter will not take it.
Outcome = Literal["told", "known", "noted", "not_ours", "unknown_request"]
STATUSES: dict[str, Literal["paid", "failed", "canceled"]] = {
    "paid": "paid",
    "failed": "failed",
    "canceled": "canceled",
}

log = structlog.get_logger("callmeter")


class StripeWebhooks:
    """Takes in Stripe's events, of all agencies."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is connected before `open`."""
        self._settings = settings
        self._links = Links(settings)
        self._requests = KnownRequests(settings)
        self._producer: FactProducer | None = None
        self._making = asyncio.Lock()
        self._looked_at: float | None = None
        self._looking: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> str | None:
        """What is waited for, None if webhooks are taken."""
        if self._looked_at is None:
            return "payment requests to be read"
        silent_s = time.monotonic() - self._looked_at
        return f"Kafka: no answer from the broker for {silent_s:.0f} s" if silent_s > SILENCE_S else None

    async def open(self) -> None:
        """Read what is known.

        Raises:
            BrokerUnreachable, TopicMissing: there is nothing to read from.
        """
        await self._ready_producer()
        await self._refresh()
        self._looking = asyncio.create_task(self._keep_looking(), name="webhooks-looking")

    async def close(self) -> None:
        """Disconnect."""
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
        await self._drop_producer()
        await self._requests.close()
        await self._links.close()

    async def take(self, body: bytes, signature: str) -> Outcome:
        """Take in a webhook; when this returns, the broker has acknowledged what came of it.

        Args:
            body: as it came in.
            signature: of the header ``Stripe-Signature``.

        Raises:
            WebhookRefused: it is not signed by Stripe, too old, or about another agency's request.
            Unavailable: it cannot be taken now; it has to come again.
        """
        outcome = "unavailable"
        try:
            event = parse_event(body, signature, self._settings.stripe_webhook_secret)
            async with asyncio.timeout(LONGEST_S):
                told: Outcome = "not_ours" if event is None else await self._take(event)
            outcome = told
            return told
        except WebhookRefused:
            outcome = "refused"
            raise
        except TimeoutError:
            raise Unavailable(f"the broker or Stripe did not answer within {LONGEST_S:g} s") from None
        finally:
            GATEWAY_EVENTS.labels("stripe", outcome).inc()

    async def _take(self, event: GatewayEvent) -> Outcome:
        try:
            await self._refresh()
        except (CallmeterError, KafkaError) as problem:
            raise Unavailable(str(problem)) from None
        if event.kind not in STATUSES and self._requests.find(event) is None:
            located = await self._located(event)
            if located is None:
                return "not_ours"
            event = located
        request = self._requests.find(event)
        self._check_account(event, request)
        if request is None:
            return await self._take_unknown(event)
        if event.correction_id is not None:
            await self._wait_for_own(event, request)
        if self._is_known(event, request):
            return "known"
        if event.kind == "disputed":
            log.warning(
                "a payment is disputed",
                agency=request.agency_id,
                payment_request=request.payment_request_id,
                amount_micros=event.amount_micros,
                reason=event.note,
                event_id=event.event_id,
            )
            return "noted"
        content = request_of(request)
        await self._write(self._settled(event, content) if event.kind in STATUSES else self._corrected(event, content))
        return "told"

    async def _wait_for_own(self, event: GatewayEvent, request: KnownRequest) -> None:
        """Who had the gateway make a document is about to write it down, and knows by whom and why: he goes first."""
        deadline = time.monotonic() + OWN_FIRST_S
        while not self._is_known(event, request) and time.monotonic() < deadline:
            await asyncio.sleep(0.2)
            await self._refresh()

    async def _located(self, event: GatewayEvent) -> GatewayEvent | None:
        if not (event.external_id or event.payment_id) or not event.external_account:
            return None
        gateway = StripeGateway("", {"account": event.external_account}, self._settings)
        try:
            return await gateway.locate(event)
        except Unavailable:
            raise
        except CallmeterError as problem:
            raise Unavailable(str(problem)) from None
        finally:
            await gateway.close()

    def _check_account(self, event: GatewayEvent, request: KnownRequest | None) -> None:
        """See that the event comes from where the request was asked.

        Raises:
            WebhookRefused: it does not.
        """
        if request is not None and request.external_id is not None:
            right = request.external_id == event.external_id
        elif event.identity is None:
            return
        else:
            agency_id = request.agency_id if request is not None else event.agency_id or ""
            link = self._links.link_of(agency_id)
            right = link is not None and link.options.get("account") == event.external_account
        if not right:
            log.error(
                "a webhook is refused: it is about another account's request",
                external_account=event.external_account,
                external_id=event.external_id,
                identity=event.identity,
                event_id=event.event_id,
            )
            raise WebhookRefused(
                f"{event.external_id} of {event.external_account} is not what {event.identity} was asked with"
            )

    async def _take_unknown(self, event: GatewayEvent) -> Outcome:
        """What carries our metadata becomes a dead letter; anything else is the agency's own business."""
        account_id, agency_id = event.account_id, event.agency_id
        if event.identity is None or not account_id or not agency_id:
            return "not_ours"
        log.warning(
            "a webhook is about a request that is not known",
            agency=agency_id,
            identity=event.identity,
            external_id=event.external_id,
            event_id=event.event_id,
        )
        request = {
            "account_id": account_id,
            "agency_id": agency_id,
            "payment_request_id": event.identity.removeprefix(f"{account_id}/"),
            "currency": event.currency,
        }
        if event.kind != "disputed":
            await self._write(
                self._settled(event, request) if event.kind in STATUSES else self._corrected(event, request)
            )
        return "unknown_request"

    def _is_known(self, event: GatewayEvent, request: KnownRequest) -> bool:
        """Whether there is nothing new in an event."""
        if event.kind == "disputed":
            return False
        if event.kind not in STATUSES:
            return self._requests.has(
                request.account_id, self._corrected(event, request_of(request))["payment_request_id"]
            )
        # Who pays late pays all the same, and what was canceled and is paid has to be looked at.
        return request.status == event.kind or (event.kind != "paid" and request.status not in OPEN)

    def _corrected(self, event: GatewayEvent, request: dict[str, Any]) -> Fact:
        kind: Literal["credit_note", "refund"] = "credit_note" if event.kind == "credited" else "refund"
        fact_id = document_fact_id(kind, event.document_id or event.event_id, event.correction_id)
        fact = corrected(
            request,
            kind,
            event.amount_micros,
            self._at(event),
            fact_id,
            actor="stripe",
            reference=event.external_id,
            note=event.note,
        )
        return {**fact, "tax_micros": event.tax_micros, "external_id": event.document_id}

    def _settled(self, event: GatewayEvent, request: dict[str, Any]) -> Fact:
        status = STATUSES[event.kind]
        fact_id = settling_id(request["payment_request_id"], status)
        return settled(request, status, self._at(event), fact_id, "stripe", event.external_id, event.note)

    def _at(self, event: GatewayEvent) -> datetime:
        """When it happened; the log takes no time that is still to come."""
        return min(event.at, datetime.now(UTC))

    async def _write(self, fact: Fact) -> None:
        try:
            producer = await self._ready_producer()
            await producer.publish(fact)
        except CallmeterError as problem:
            # A producer that failed once fails for ever.
            await self._drop_producer()
            raise Unavailable(str(problem)) from None

    async def _ready_producer(self) -> FactProducer:
        async with self._making:
            if self._producer is None:
                self._producer = await FactProducer(self._settings).__aenter__()
            return self._producer

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            error = CallmeterError("dropped")
            await producer.__aexit__(CallmeterError, error, None)

    async def _refresh(self) -> None:
        await self._links.refresh()
        await self._requests.refresh()
        self._looked_at = time.monotonic()

    async def _keep_looking(self) -> None:
        """Keep up with the topics, so that a webhook has little to read, and know whether the broker answers."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                async with asyncio.timeout(SILENCE_S):
                    await self._refresh()
            except (CallmeterError, KafkaError, TimeoutError, OSError) as problem:
                log.warning("the broker does not answer", reason=str(problem) or "it is silent")
            except Exception as error:
                fail(error)


def request_of(known: KnownRequest) -> dict[str, Any]:
    """A payment request as facts about it are made from."""
    return {name: getattr(known, name) for name in known.__struct_fields__}
