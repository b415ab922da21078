"""The API: what others call over HTTP. So far gateways do, with their webhooks.

It keeps nothing: what is taken in is in the log before it is answered, so any number of them may run.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import structlog
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from jobs.gateways.base import Unavailable, WebhookRefused
from jobs.gateways.webhooks import NEEDS, NoEndpoint, Webhooks
from streams.administration import check_topics
from streams.errors import CallmeterError
from streams.observe import Watch, observatory
from streams.process import fail
from streams.settings import Settings

# Stripe's largest events have some tens of kilobytes.
MOST_BODY_BYTES = 1 << 20
LONGEST_STOP_S = 15

log = structlog.get_logger("callmeter")


async def run_api(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; see `serving_api`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with serving_api(settings):
        if settings.stripe_webhook_secret is None:
            log.warning("CALLMETER_STRIPE_WEBHOOK_SECRET is not set: webhooks of Stripe are answered with 503")
        await stop.wait()
    log.info("stopped", role="api")


@asynccontextmanager
async def serving_api(settings: Settings) -> AsyncIterator[str]:
    """Serve the API, and give its address; at the end what is in hand is answered first.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to write to.
        CallmeterError: the port is taken.
    """
    await check_topics(settings, list(NEEDS))
    webhooks = Webhooks(settings)
    listening = _listen(settings)
    watch = Watch("api", lambda: webhooks.waiting)
    server = _Server(
        uvicorn.Config(
            make_api(webhooks, watch),
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=LONGEST_STOP_S,
        )
    )
    await observatory.add(watch, settings)
    try:
        await webhooks.open()
        host, port = listening.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="api")
        serving.add_done_callback(_fail_if_it_failed)
        log.info("serving the API", url=url)
        try:
            yield url
        finally:
            server.should_exit = True
            await serving
    finally:
        listening.close()
        await webhooks.close()
        await observatory.remove(watch)


def _fail_if_it_failed(serving: asyncio.Task[None]) -> None:
    if not serving.cancelled() and (error := serving.exception()) is not None:
        fail(error)


def make_api(webhooks: Webhooks, watch: Watch) -> FastAPI:
    """The application.

    Args:
        webhooks: takes in what gateways send.
        watch: says whether it is ready.
    """
    api = FastAPI(title="Callmeter", openapi_url=None)

    @api.get("/health")
    async def health() -> JSONResponse:
        return JSONResponse({"status": "ok"})

    @api.get("/ready")
    async def ready() -> JSONResponse:
        waiting = watch.waiting()
        return JSONResponse({"ready": waiting is None, "waiting_for": waiting}, 503 if waiting else 200)

    @api.post("/webhooks/{gateway}")
    @api.post("/webhooks/{gateway}/{agency_id}")
    async def webhook(request: Request, gateway: str, agency_id: str | None = None) -> JSONResponse:
        body = await _body(request)
        if body is None:
            return JSONResponse({"error": f"a webhook has at most {MOST_BODY_BYTES} bytes"}, 413)
        try:
            outcome = await webhooks.take(gateway, agency_id, body, request.headers)
        except NoEndpoint as nobody:
            return JSONResponse({"error": str(nobody)}, 404)
        except WebhookRefused as refused:
            return JSONResponse({"error": str(refused)}, 400)
        except Unavailable as problem:
            log.warning("a webhook has to come again", reason=str(problem))
            return JSONResponse({"error": "it cannot be taken now; send it again"}, 503, {"Retry-After": "30"})
        return JSONResponse({"outcome": outcome})

    return api


async def _body(request: Request) -> bytes | None:
    """A body as it came in; None if it is too large."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY_BYTES:
            return None
    return bytes(body)


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.api_host, settings.api_port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise CallmeterError(
            f"CALLMETER_API_HOST, CALLMETER_API_PORT: nothing can listen on {host}:{port}: {error.strerror}"
        ) from None


class _Server(uvicorn.Server):
    """Uvicorn without signal handlers of its own: after its end it would have the signal end the process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield
