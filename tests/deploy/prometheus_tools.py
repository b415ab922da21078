"""Finds Prometheus and promtool: on the path, or out of Debian's package, unpacked once without being installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HOW = "is not on the path (Debian and Ubuntu: apt-get install prometheus), and could not be fetched: "


def command_or_skip(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``; skips the test, with the reason, where it cannot be had.

    Where it is not installed but ``apt-get`` is, the package is downloaded and its two programs kept in the user's
    cache: no rights are needed, nothing is installed, no service is started.
    """
    if found := shutil.which(name):
        return found
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callmeter" / "prometheus"
    if not kept.is_dir():
        try:
            _fetch(kept)
        except (OSError, subprocess.SubprocessError) as error:
            words = getattr(error, "stderr", None) or str(error)
            pytest.skip(f"{name} {HOW}{' '.join(str(words).split())[:300]}")
    return str(kept / name)


def _fetch(kept: Path) -> None:
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix="fetching-") as name:
        work = Path(name)
        for folder in ("lists/partial", "cache/archives/partial"):
            (work / folder).mkdir(parents=True)
        options = (f"Dir::State::lists={work}/lists", f"Dir::Cache={work}/cache", "APT::Sandbox::User=")
        apt = ["apt-get", "--quiet=2", *(word for option in options for word in ("--option", option))]
        _run([*apt, "update"], work)
        _run([*apt, "download", "prometheus"], work)
        (package,) = work.glob("prometheus_*.deb")
        _run(["dpkg-deb", "--extract", str(package), str(work / "unpacked")], work)
        (work / "unpacked/usr/bin").replace(kept)


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=120)
