"""What the local broker runs on: a Java of at least version 17, and Kafka's jars, fetched once by Maven."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from streams.errors import CallmeterError

POM = files("deploy.kafka") / "pom.xml"
OLDEST_JAVA = 17
OTHER_BROKER = "or set CALLMETER_KAFKA_BOOTSTRAP to a broker that runs already"


def kafka_version() -> str:
    """The version of Apache Kafka that the packaged pom names."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    assert found, "pom.xml names no kafka.version"
    return found[1]


def java_command() -> str:
    """The ``java`` to run: that of ``JAVA_HOME``, else the one on the path.

    Raises:
        CallmeterError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=str(Path(home) / "bin")) if home else None
    java = java or shutil.which("java")
    if java is None:
        raise CallmeterError(f"the local Kafka broker needs Java {OLDEST_JAVA} or newer: {_how_to_install()}")
    said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', said.stderr + said.stdout)
    if version is None:
        raise CallmeterError(f"{java} does not run: {_how_to_install()}")
    if int(version[1]) < OLDEST_JAVA:
        raise CallmeterError(
            f"{java} is Java {version[1]}, the local Kafka broker needs {OLDEST_JAVA} or newer: {_how_to_install()}"
        )
    return java


def kafka_jars() -> Path:
    """The folder with Kafka's jars; fetches them the first time (about 45 MB, progress on standard error).

    The folder is shared by all projects and tests of a user and named after the pom's hash, so that another version
    never mixes with this one.

    Raises:
        CallmeterError: Maven is missing or fails, or the cache cannot be written.
    """
    pom = POM.read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "callmeter"
    jars = cache / f"kafka-{kafka_version()}-{hashlib.sha256(pom).hexdigest()[:12]}"
    if jars.is_dir():
        return jars
    try:
        with locked(cache / "kafka.lock"):
            if not jars.is_dir():
                with tempfile.TemporaryDirectory(dir=cache, prefix="fetching-") as work:
                    (Path(work) / "pom.xml").write_bytes(pom)
                    _copy_dependencies(Path(work))
                    (Path(work) / "jars").rename(jars)
    except OSError as error:
        raise CallmeterError(f"cannot keep Kafka's jars in {cache}: {error.strerror}; set XDG_CACHE_HOME") from None
    return jars


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds a lock between processes; the folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _copy_dependencies(work: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise CallmeterError(f"Kafka's jars are fetched by Maven, which is missing: {_how_to_install()}")
    command = [
        maven,
        "--batch-mode",
        "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies",
        f"-DoutputDirectory={work / 'jars'}",
    ]
    lines: list[str] = []
    with (
        _progress(f"Fetching Apache Kafka {kafka_version()} with Maven (45 MB, only once)"),
        subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        assert process.stdout
        lines.extend(process.stdout)
    if process.returncode != 0 or not (work / "jars").is_dir():
        raise CallmeterError(f"Maven could not fetch Apache Kafka: {_maven_error(lines)}")


def _maven_error(lines: list[str]) -> str:
    """The first error of Maven's output, for the later ones only say where to read more; its cause is at its end."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in lines]
    errors = [line.removeprefix("[ERROR]").strip() for line in plain if line.startswith("[ERROR]")]
    told = [line for line in errors if line] or [line for line in plain if line] or ["it said nothing"]
    error = told[0].removesuffix("-> [Help 1]").strip()
    return error if len(error) <= 400 else f"{error[:150]} ... {error[-250:]}"


@contextmanager
def _progress(message: str) -> Iterator[None]:
    from rich.console import Console

    console = Console(stderr=True, highlight=False)
    if console.is_terminal:
        with console.status(message):
            yield
    else:
        print(f"{message} ...", file=sys.stderr, flush=True)
        yield


def _how_to_install() -> str:
    if sys.platform == "darwin":
        return f"brew install openjdk@17 maven, {OTHER_BROKER}"
    return f"apt-get install openjdk-17-jre-headless maven, {OTHER_BROKER}"
