"""What a role shows of itself: Prometheus metrics, health and readiness over HTTP, structured logs.

One server per process, however many roles run in it. No account is ever a label.
"""

from __future__ import annotations

import logging.config
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from streams.settings import Settings

log = structlog.get_logger("callmeter")

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
RECORDS = (1, 10, 100, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000)

CALLS_RATED = Counter("callmeter_calls_rated", "Calls rated and committed")
DUPLICATE_CALLS = Counter("callmeter_duplicates", "Calls that were rated before")
DEAD_LETTERS_WRITTEN = Counter("callmeter_dead_letters", "Records that could not be rated", ["reason"])
RECORDS_FORWARDED = Counter("callmeter_records_forwarded", "Records passed on to the partition of their account")
BATCH_RECORDS = Histogram("callmeter_batch_records", "Records of one transaction", buckets=RECORDS)
TRANSACTION_SECONDS = Histogram("callmeter_transaction_seconds", "From the first write to the commit", buckets=SECONDS)
LAG_RECORDS = Gauge("callmeter_lag_records", "Records of the log not yet rated", ["partition"])
ACCOUNTS = Gauge("callmeter_accounts", "Accounts with a state", ["partition"])
PARTITION_CLOCK = Gauge("callmeter_partition_clock_seconds", "Latest tick that is done, in unix seconds", ["partition"])
SINK_ROWS = Counter("callmeter_sink_rows", "Rows written to ClickHouse", ["table", "partition"])
SINK_INSERT_SECONDS = Histogram("callmeter_sink_insert_seconds", "One insert into ClickHouse", buckets=SECONDS)
SINK_WAITING = Gauge("callmeter_sink_waiting", "1 while the sink waits for ClickHouse")
SINK_LAG_RECORDS = Gauge("callmeter_sink_lag_records", "Records not yet in ClickHouse", ["topic", "partition"])
PAYMENT_REQUESTS_RAISED = Counter("callmeter_payment_requests_raised", "Payment requests raised", ["kind"])
GATEWAY_ANSWERS = Counter(
    "callmeter_gateway_answers", "Payment requests that a gateway was asked for", ["gateway", "outcome"]
)
GATEWAY_WAITING = Gauge("callmeter_gateway_waiting", "Payment requests that wait for their gateway", ["partition"])
GATEWAY_EVENTS = Counter("callmeter_gateway_events", "Webhooks of gateways", ["gateway", "outcome"])
TICKS = Counter("callmeter_ticks", "Ticks written to the log, in every partition one")
READY = Gauge("callmeter_ready", "1 while the role is ready, as /ready tells it", ["role"])


class Watch:
    """Whether one role is ready, as `/ready` tells it.

    Attributes:
        role: its name.
        waiting: says what the role waits for, None if it is ready. Called for every request, so it must be quick; it
            may be replaced.
    """

    def __init__(self, role: str, waiting: Callable[[], str | None]) -> None:
        """Watch a role."""
        self.role = role
        self.waiting = waiting


class Observatory:
    """The HTTP server of a process: ``/metrics``, ``/health`` (its event loop answers), ``/ready`` (503 if not)."""

    def __init__(self) -> None:
        """Start without roles; the server runs while there are any."""
        self._watches: list[Watch] = []
        self._runner: web.AppRunner | None = None

    async def add(self, watch: Watch, settings: Settings) -> None:
        """Show a role, once; the first one starts the server.

        If the port is taken (another role on this machine), any free one is used; the log says which.
        """
        if watch not in self._watches:
            self._watches.append(watch)
        if self._runner is not None:
            return
        app = web.Application()
        app.add_routes([web.get(path, handler) for path, handler in self._pages().items()])
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, settings.http_host, settings.http_port).start()
        except OSError as error:
            log.warning("http port is taken, using another", port=settings.http_port, reason=error.strerror)
            await web.TCPSite(self._runner, settings.http_host, 0).start()
        host, port = self._runner.addresses[0][:2]
        log.info("serving metrics, health and readiness", url=f"http://{host}:{port}")

    async def remove(self, watch: Watch) -> None:
        """Show a role no longer; the last one stops the server."""
        if watch in self._watches:
            self._watches.remove(watch)
        if not self._watches and self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    def _pages(self) -> Mapping[str, Callable[[web.Request], Awaitable[web.Response]]]:
        return {"/metrics": self._metrics, "/health": self._health, "/ready": self._ready}

    async def _metrics(self, request: web.Request) -> web.Response:
        for watch in self._watches:
            READY.labels(watch.role).set(watch.waiting() is None)
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "roles": [watch.role for watch in self._watches]})

    async def _ready(self, request: web.Request) -> web.Response:
        waiting = {watch.role: watch.waiting() for watch in self._watches}
        ready = not any(waiting.values())
        roles = {role: {"ready": reason is None, "waiting_for": reason} for role, reason in waiting.items()}
        return web.json_response({"ready": ready, "roles": roles}, status=200 if ready else 503)


observatory = Observatory()


class Seldom(logging.Filter):
    """Lets each kind of a library's messages through once in ten seconds: that a broker is away is soon no news."""

    PAUSE_S = 10.0

    def __init__(self) -> None:
        """Start with everything new."""
        super().__init__()
        self._last: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to show a record."""
        if record.name == "callmeter":
            return True
        kind = f"{record.name} {record.msg}"
        if record.created - self._last.get(kind, 0.0) < self.PAUSE_S:
            return False
        self._last[kind] = record.created
        return True


def logging_config(settings: Settings) -> dict[str, Any]:
    """Configuration for `logging.config`: one line a record on standard error, ours and the libraries' alike."""
    level = settings.log_level.upper()
    shared = [structlog.stdlib.add_log_level, structlog.processors.TimeStamper(fmt="iso", utc=True)]
    rendering: list[Any] = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    if settings.log_format == "console":
        rendering = [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
    }
    # Libraries tell their lives at "info"; what matters of it is said by us.
    quiet = {
        name: {"level": "DEBUG" if level == "DEBUG" else "ERROR"} for name in ("faust", "mode", "aiokafka", "streams")
    }
    # It logs every request at "debug": the one that authenticates has the password in it.
    quiet["aiokafka.conn"] = {"level": "ERROR"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"callmeter": formatter},
        "filters": {"seldom": {"()": Seldom}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "callmeter",
                "level": level,
                "filters": ["seldom"],
            }
        },
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": quiet,
    }


def configure_structlog() -> None:
    """Send structlog's records through `logging`, where `logging_config` formats them."""
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def configure_logging(settings: Settings) -> None:
    """Set up the logs of a process, as the settings say."""
    logging.config.dictConfig(logging_config(settings))
    configure_structlog()
