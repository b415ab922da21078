"""`callmeter send`: good lines reach the log, bad ones are named by their line and left out."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import pytest

from deploy.kafka.broker import KafkaBroker
from streams.settings import Settings
from tests.broker import ROOT, command, environment, read_values, wait_until
from tests.cli.commands import as_settings, run


def call(number: int) -> dict[str, Any]:
    return {
        "type": "call.completed",
        "call_id": f"c{number}",
        "account_id": f"acct_{number % 3}",
        "agency_id": "ag_1",
        "direction": "outbound",
        "started_at": "2026-11-03T10:15:30Z",
        "answered_at": "2026-11-03T10:15:36.5Z",
        "ended_at": "2026-11-03T10:19:39.7Z",
        "outcome": "answered",
    }


def lines(*facts: Any) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in facts)


async def test_a_file_is_sent_and_summed_up(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "facts.jsonl"
    file.write_text(lines(*(call(number) for number in range(100))))
    done = command(settings, "send", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"sent 100 facts to {settings.topic('account-events')} in ")
    assert {value["call_id"] for value in await read_values(settings, "account-events")} == {
        f"c{n}" for n in range(100)
    }


async def test_bad_lines_are_named_and_left_out(settings: Settings) -> None:
    text = lines(call(1), "nope", "", {"type": "call.ended"}, {**call(2), "outcome": "fine"}) + json.dumps(call(3))
    done = command(settings, "send", "-", "--json", stdin=text)
    assert done.returncode == 1
    report = json.loads(done.stdout)
    assert (report["sent"], report["refused"]) == (2, 3)
    assert [(one["line"], one["reason"]) for one in report["refusals"]] == [
        (2, "malformed"),
        (4, "unknown_type"),
        (5, "malformed"),
    ]
    assert done.stderr.splitlines()[0].startswith("line 2: malformed: not JSON")
    assert {value["call_id"] for value in await read_values(settings, "account-events")} == {"c1", "c3"}


async def test_unchecked_lines_go_as_they_are(settings: Settings) -> None:
    done = command(settings, "send", "-", "--unchecked", stdin=lines({"type": "call.ended", "account_id": "a"}))
    assert done.returncode == 0
    assert await read_values(settings, "account-events") == [{"type": "call.ended", "account_id": "a"}]


async def test_a_tick_reaches_every_partition(settings: Settings) -> None:
    done = command(settings, "send", "-", stdin=lines({"type": "tick", "at": "2026-11-03T10:15:30Z"}))
    assert done.stdout.startswith("sent 1 facts")
    assert len(await read_values(settings, "account-events")) == settings.partitions


async def test_facts_of_a_pipe_are_sent_as_they_come(settings: Settings) -> None:
    with piped(settings) as (sending, pipe):
        for number in (1, 2):
            pipe.write(lines(call(number)).encode())
            pipe.flush()
            await wait_until(partial(arrived, settings, number))
        pipe.close()
        await wait_until(lambda: sending.poll() == 0)


async def test_an_interrupted_command_ends_at_once_and_keeps_what_it_sent(settings: Settings) -> None:
    with piped(settings) as (sending, pipe):
        pipe.write(lines(call(1)).encode())
        pipe.flush()
        await wait_until(lambda: arrived(settings, 1))
        sending.send_signal(signal.SIGINT)
        await wait_until(lambda: sending.poll() == 130)


@contextmanager
def piped(settings: Settings) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A ``callmeter send -`` that waits for what is written to its pipe."""
    with subprocess.Popen(
        [sys.executable, "-m", "cli.main", "send", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
        env=environment(settings),
        # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as sending:
        assert sending.stdin
        try:
            yield sending, sending.stdin
        finally:
            sending.kill()


async def arrived(settings: Settings, expected: int) -> bool:
    return len(await read_values(settings, "account-events")) == expected


def test_a_file_that_is_not_there_is_one_line(settings: Settings) -> None:
    done = command(settings, "send", "/nowhere/facts.jsonl")
    assert (done.returncode, done.stderr) == (1, "error: cannot read /nowhere/facts.jsonl: No such file or directory\n")


def test_a_folder_is_one_line(settings: Settings, tmp_path: Path) -> None:
    done = command(settings, "send", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "Is a directory" in done.stderr


def test_a_broker_that_is_not_there_is_one_line(settings: Settings) -> None:
    done = command(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}), "send", "-", stdin=lines(call(1)))
    assert done.returncode == 1
    assert done.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1") and done.stderr.count("\n") == 1


async def test_a_broker_that_goes_away_in_the_middle_is_one_line_and_the_outcome_is_not_known(
    settings: Settings, broker: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = tmp_path / "facts"
    os.mkfifo(pipe)
    with as_settings(settings), ThreadPoolExecutor() as threads:
        sending = threads.submit(run, "send", str(pipe))
        facts = pipe.open("w")
        facts.write(lines(call(1)))
        facts.flush()
        await wait_until(lambda: read_values(settings, "account-events"))
        monkeypatch.setattr("streams.producer.DELIVERY_TIMEOUT_S", 1.0)
        broker.freeze()
        try:
            facts.write(lines(call(2)))
            facts.close()
            ran = await asyncio.wrap_future(sending)
        finally:
            broker.thaw()
    assert ran.code == 1
    assert "does not acknowledge what was sent within 1 s; whether it is in the log is not known" in ran.error
    assert ran.error.endswith("(1 facts are sent; repeating all of it is safe)")
