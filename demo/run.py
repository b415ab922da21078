"""The demo from start to end: broker, pipeline, a month of calls, period close, payment, proof.

The pipeline runs as a user would run it, `callmeter up` in a process of its own; what this process does is what the
platform, an agency and an auditor do.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from demo.market import CARD_CURRENCY, CATALOGUE, HERO, NEVER_PAYS, RETAIL_CARD, WHOLESALE_CARD, text
from demo.observed import Observed
from demo.observer import Observer
from demo.pace import may_begin
from demo.pipeline import Pipeline, running_pipeline
from demo.platform import HOUR, Platform, Sent
from demo.proof import Proof, Stored, prove, stored_in
from demo.screens import show_end
from demo.view import LiveView
from streams.producer import FactProducer
from streams.settings import CONFIG_VARIABLE
from streams.topics import AGENCY_EVENTS

EVERYTHING_CLOSED = "2027-01-03T00:00:00Z"
HERO_PAYS_AT = "2026-12-05T15:00:00Z"
# The simulated month takes at least this long, so that a person can watch it.
WATCHABLE_S = 12.0
SETTLE_TIMEOUT_S = 120.0
# Of commands on the screen.
INDENT = 2


@dataclass(frozen=True)
class Options:
    """What the command's flags say."""

    accounts: int
    calls: int
    seed: int
    keep: bool
    keep_log: Path | None


async def run_demo(options: Options, console: Console) -> Proof:
    """Run the whole demo.

    Args:
        options: of the command.
        console: where a person watches.

    Returns:
        The proof; `Proof.exact` says whether everything agreed.
    """
    async with AsyncExitStack() as stack:
        pipeline = await stack.enter_async_context(running_pipeline(options.keep, console))
        observer = Observer(pipeline.settings)
        await observer.start()
        stack.push_async_callback(observer.stop)
        observed = observer.seen
        log = _Log(options.keep_log)
        stack.callback(log.close)
        await _put_on_sale(pipeline, console)
        platform = Platform(options.accounts, options.calls, options.seed)
        console.print(f"{options.accounts} accounts of three agencies. November 2026 begins.\n")
        async with (
            FactProducer(pipeline.settings) as accounts,
            FactProducer(pipeline.settings, AGENCY_EVENTS) as agencies,
        ):
            await _Month(platform, observed, log, accounts, agencies).pass_by(console)

        console.print("\nTime passes, and every period that is due is closed:")
        _type(console, "close", "--until", EVERYTHING_CLOSED)
        await pipeline.run("close", "--until", EVERYTHING_CLOSED, "--json")
        log.write({"type": "tick", "at": EVERYTHING_CLOSED})
        await _pay(pipeline, observed, console)
        proof = prove(platform.planted, observed, await _settled(pipeline, observed))
        show_end(console, observed, proof)
        if options.keep:
            await _keep(pipeline, console)
        return proof


class _Log:
    """Keeps the input, one line a record, in the order it was sent."""

    def __init__(self, path: Path | None) -> None:
        self._file = path.open("wb") if path else None

    def write(self, value: dict[str, Any] | bytes) -> None:
        """Keep one record."""
        if self._file:
            self._file.write((value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n")

    def close(self) -> None:
        """Finish the file."""
        if self._file:
            self._file.close()


async def _put_on_sale(pipeline: Pipeline, console: Console) -> None:
    """The agencies' price lists: rate cards, and the catalogue that names one of them."""
    console.print("Price lists:")
    commands: list[tuple[Any, ...]] = [("catalogue", "apply", CATALOGUE, "--yes")]
    commands += [("rates", "import", card, "--currency", CARD_CURRENCY) for card in (RETAIL_CARD, WHOLESALE_CARD)]
    for group, command, file, *options in commands:
        _type(console, group, command, file.name, *options)
    await asyncio.gather(*(pipeline.run(*map(str, command), "--json") for command in commands))


class _Month:
    """Sends the month hour by hour, each with its tick, while the view follows."""

    def __init__(
        self, platform: Platform, observed: Observed, log: _Log, accounts: FactProducer, agencies: FactProducer
    ) -> None:
        self._platform, self._observed, self._log = platform, observed, log
        self._accounts, self._agencies = accounts, agencies

    async def pass_by(self, console: Console) -> None:
        """Send all of it, and wait until the meter has dealt with it."""
        view = LiveView(self._platform, self._observed)
        pause = WATCHABLE_S / 800 if console.is_terminal else 0.0
        with Live(view, console=console, refresh_per_second=8, transient=False) as live:
            for at, facts in self._platform.hours():
                may_begin_now = partial(may_begin, self._platform.planted, self._observed, at - HOUR, at)
                if not may_begin_now():
                    await self._accounts.flush()
                    await _until(may_begin_now)
                for fact in facts:
                    await self._send(fact)
                tick = {"type": "tick", "at": text(at)}
                self._log.write(tick)
                await self._accounts.send_everywhere(json.dumps(tick).encode())
                view.at = at
                await asyncio.sleep(pause)
            await self._accounts.flush()
            await _until(lambda: self._observed.done() >= self._platform.planted.records)
            live.refresh()

    async def _send(self, fact: Sent) -> None:
        self._log.write(fact.value)
        if fact.key is None:
            await self._accounts.send_everywhere(fact.value)
        elif fact.topic == AGENCY_EVENTS:
            await self._agencies.send(fact.key, fact.value)
        else:
            await self._accounts.send(fact.key, fact.value)


async def _until(happens: Callable[[], bool]) -> None:
    """Wait until something is so, but not for ever: the proof says what is missing."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    while not happens() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)


async def _pay(pipeline: Pipeline, observed: Observed, console: Console) -> None:
    """The hero pays for its overage."""
    await _until(lambda: bool(_overage(observed)))
    for request_id in _overage(observed)[:1]:
        console.print(f"\n{HERO} pays:")
        command = ("requests", "mark-paid", request_id, "--reference", "wire 4711")
        _type(console, *command)
        await pipeline.run(*command, "--at", HERO_PAYS_AT, "--json")


def _overage(observed: Observed) -> list[str]:
    """The hero's requests for usage that wait for payment, the oldest first."""
    return sorted(
        request_id
        for (account, request_id), request in observed.requests.items()
        if account == HERO and request["kind"] == "usage" and request["status"] in ("pending", "overdue")
    )


async def _settled(pipeline: Pipeline, observed: Observed) -> Stored:
    """Wait until ClickHouse has what the topics have; what it has by then."""
    from sinks.clickhouse import open_store

    store = await asyncio.to_thread(open_store, pipeline.settings)
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    try:
        while True:
            found = await asyncio.to_thread(stored_in, store)
            paid = any(
                account == HERO and request["status"] == "paid" for (account, _), request in observed.requests.items()
            )
            rows = observed.rated.total() + observed.corrections.total()
            if (found.calls >= rows and paid) or time.monotonic() > deadline:
                return found
            await asyncio.sleep(0.2)
    finally:
        store.close()


async def _keep(pipeline: Pipeline, console: Console) -> None:
    """Leave it running until the user has seen enough."""
    console.print("\nThe pipeline goes on. In another terminal:\n")
    console.print(f"  export {CONFIG_VARIABLE}={pipeline.config}", soft_wrap=True)
    for command in (
        f"callmeter usage {HERO}",
        "callmeter profit --by destination",
        "callmeter numbers list",
        f"callmeter requests list --account {HERO}",
        f"callmeter accounts show {NEVER_PAYS}",
        "callmeter alerts list",
    ):
        console.print(f"  {command}")
    console.print("\nCtrl-C ends it.")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


def _type(console: Console, *command: str) -> None:
    """Show a command as somebody types it, on two lines where one is too short."""
    words = ["callmeter", *map(shlex.quote, command)]
    if len(" ".join(words)) + INDENT > console.width:
        at = next(index for index, word in enumerate(words) if word.startswith("--"))
        words[at] = f"\\\n{' ' * 2 * INDENT}{words[at]}"
    console.print(f"{' ' * INDENT}[bold]{' '.join(words)}", soft_wrap=True)
