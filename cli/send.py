"""`callmeter send`: facts from a file or a pipe into the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cli import output

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager

    from rich.progress import Progress

    from streams.producer import FactProducer
    from streams.settings import Settings

REFUSALS_SHOWN = 20
REFUSALS_IN_JSON = 1000
READ_BYTES = 1 << 22


def register(app: typer.Typer) -> None:
    """Adds the command ``send``."""
    app.command("send")(send)


def send(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Facts as JSON, one a line; - reads standard input.")],
    unchecked: Annotated[
        bool, typer.Option("--unchecked", help="Send every line as it is; the meter puts bad ones to dead-letters.")
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """Send facts to the log, each to its account's partition. Bad lines are reported and left out: exit code 1.

    Safe to repeat: a fact that is sent twice is counted once. From a pipe, facts are sent as they come.
    """
    import os
    import sys
    import time

    import uvloop

    from streams.errors import CallmeterError

    settings = output.settings()
    try:
        source = sys.stdin.fileno() if file == "-" else os.open(file, os.O_RDONLY)
        size = os.fstat(source).st_size
    except OSError as error:
        raise CallmeterError(f"cannot read {file}: {error.strerror}") from None
    sending = _Sending(settings, unchecked)
    started = time.monotonic()
    with _progress(size) as progress:
        try:
            uvloop.run(sending.run(source, progress))
        except CallmeterError as error:
            if sending.acknowledged:
                raise CallmeterError(
                    f"{error} ({sending.acknowledged:,} facts are sent; repeating all of it is safe)"
                ) from None
            raise
        finally:
            if file != "-":
                os.close(source)
    seconds = time.monotonic() - started
    if json:
        output.print_json(
            {
                "sent": sending.sent,
                "refused": sending.refused,
                "seconds": round(seconds, 3),
                "refusals": sending.refusals,
            }
        )
    else:
        rate = f" ({sending.sent / seconds:,.0f} a second)" if sending.sent >= 1000 else ""
        typer.echo(f"sent {sending.sent:,} facts to {settings.topic('account-events')} in {seconds:.1f} s{rate}")
        if sending.refused:
            typer.echo(f"refused {sending.refused:,} lines; nothing of them was sent", err=True)
    if sending.refused:
        raise typer.Exit(1)


class _Sending:
    """One run of the command: what was sent and what was refused."""

    def __init__(self, settings: Settings, unchecked: bool) -> None:
        self.sent = 0
        self.refused = 0
        self.refusals: list[dict[str, object]] = []
        self._settings = settings
        self._unchecked = unchecked
        self._line = 0
        self._producer: FactProducer | None = None

    async def run(self, source: int, progress: Progress) -> None:
        from streams.producer import FactProducer

        task = progress.tasks[0].id
        self._producer = FactProducer(self._settings)
        async with self._producer as producer:
            async for lines, read_bytes in _read(source):
                for line in lines:
                    self._line += 1
                    if (value := line.strip()) and self._accepts(value, progress):
                        await producer.put(value)
                        self.sent += 1
                progress.update(task, advance=read_bytes, sent=self.sent)

    @property
    def acknowledged(self) -> int:
        """How many records the broker has surely taken."""
        return self._producer.acknowledged if self._producer else 0

    def _accepts(self, value: bytes, progress: Progress) -> bool:
        from rating.facts import Undecodable, decode

        if self._unchecked:
            return True
        try:
            decode(value)
        except Undecodable as error:
            self.refused += 1
            if self.refused <= REFUSALS_IN_JSON:
                self.refusals.append({"line": self._line, "reason": error.reason, "detail": str(error)})
            if self.refused <= REFUSALS_SHOWN:
                progress.console.print(f"line {self._line}: {error.reason}: {error}", markup=False, soft_wrap=True)
            elif self.refused == REFUSALS_SHOWN + 1:
                progress.console.print("... more lines are refused, which are not shown")
            return False
        return True


async def _read(source: int) -> AsyncIterator[tuple[list[bytes], int]]:
    """Whole lines as they come, with the number of bytes read.

    A thread of its own reads, as nothing else waits for a file, a pipe and a terminal alike; it does not keep the
    process alive when the command is interrupted.
    """
    import asyncio
    import os
    import threading

    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue(maxsize=2)

    def read() -> None:
        while True:
            chunk: bytes | OSError
            try:
                chunk = os.read(source, READ_BYTES)
            except OSError as error:
                chunk = error
            try:
                asyncio.run_coroutine_threadsafe(chunks.put(chunk), loop).result()
            except Exception:
                return
            if not chunk or isinstance(chunk, OSError):
                return

    threading.Thread(target=read, daemon=True).start()
    rest = b""
    while True:
        chunk = await chunks.get()
        if isinstance(chunk, OSError):
            from streams.errors import CallmeterError

            raise CallmeterError(f"cannot read on: {chunk.strerror}")
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        yield lines, len(chunk)
    yield [rest], 0


def _progress(size: int) -> AbstractContextManager[Progress]:
    """A bar with the rate on standard error; invisible where that is no terminal."""
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Facts sent, and how many a second."""

        def render(self, task: Task) -> Text:
            sent = task.fields["sent"]
            return Text(f"{sent:,} facts, {sent / max(task.elapsed or 0, 0.001):,.0f} a second")

    console = output.console(stderr=True)
    progress = Progress(
        TextColumn("sending"),
        BarColumn(),
        Rate(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    progress.add_task("sending", total=size or None, sent=0)
    return progress
