"""Every console block of the README runs, in order, on the real parts, and every command succeeds."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.broker import ROOT, environment

README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)


def commands(block):
    """The commands of a block: a line after ``$ ``, with the lines that continue it."""
    return [part.rstrip("\n") for part in re.split(r"^\$ ", block, flags=re.M)[1:]]


def script():
    """All blocks as one shell script that stops at the first failure and says what it runs."""
    # What runs in the background would hold our pipe open after a failure.
    lines = ["set -eu -o pipefail", "trap 'kill -KILL %1 2>/dev/null || true' EXIT"]
    for block in BLOCK.findall(README):
        for command in commands(block):
            lines += [f"echo '>>> {command.splitlines()[0].replace(chr(39), '')}'", command]
            if command.endswith("&"):
                # A person would see it say that it is ready.
                lines.append('until [ -e "$CALLMETER_DATA_FOLDER/clickhouse.json" ]; do kill -0 $!; sleep 0.1; done')
            if " send " in command:
                # A person takes longer to type than the sink to insert.
                lines.append("until callmeter usage --account acct_1 --json | grep -q '\"calls\": *3'; do :; done")
    lines += ["kill -TERM %1", "wait %1"]
    return "\n".join(lines)


@pytest.mark.slow
def test_every_console_block_of_the_readme_runs(settings, tmp_path):
    variables = environment(settings)
    variables["PYTHONPATH"] = str(ROOT)
    variables["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{variables['PATH']}"
    run = subprocess.Popen(
        ["bash", "-c", "set -m\n" + script()],
        cwd=tmp_path,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = run.communicate(timeout=150)
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
    assert run.returncode == 0, output
    assert "124:06" in output
    assert "part of a period" in output and "Credit for the unused part" in output
    assert "USD" in output
