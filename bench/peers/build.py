"""Building the Java peer: once for each version of its source, by Maven, into the cache that Kafka's jars are in."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.kafka.jars import locked
from streams.errors import CallmeterError

SOURCE = Path(__file__).parent / "kafka_streams"


def kafka_streams_classpath() -> str:
    """The class path of the Kafka Streams peer, built if need be.

    Raises:
        CallmeterError: Maven is missing, or fails.
    """
    files = sorted(path for path in SOURCE.rglob("*") if path.suffix in (".xml", ".java"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callmeter"
    built = cache / f"kafka-streams-peer-{digest}"
    with locked(cache / "peer.lock"):
        if not built.is_dir():
            with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as work:
                shutil.copytree(SOURCE, work, dirs_exist_ok=True)
                _package(Path(work))
                (Path(work) / "target").rename(built)
    return f"{built / 'peer.jar'}{os.pathsep}{built / 'lib' / '*'}"


def _package(work: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CallmeterError("the Kafka Streams peer is built by Maven, which is missing")
    done = subprocess.run([maven, "--batch-mode", "--quiet", "package"], cwd=work, capture_output=True, text=True)
    if done.returncode != 0:
        raise CallmeterError(f"Maven could not build the Kafka Streams peer:\n{done.stdout[-2000:]}")
