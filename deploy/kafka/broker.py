"""A real Kafka broker on this machine: for development, the demo and the tests.

One detached Java process that is broker and controller (KRaft), with its data, its log and its run file in one
folder. The run file says where it listens and which process it is, so that any later command finds it; whether that
process is still ours is read from its command line, never believed from the file.
"""

from __future__ import annotations

import base64
import json
import re
import signal
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path

from deploy.kafka.jars import java_command, kafka_jars, kafka_version, locked
from deploy.kafka.process import HOST, command_line, first_free_port, free_port, is_free, is_stopped, send_signal, wait
from deploy.kafka.wire import serving_brokers
from streams.errors import CallmeterError

DEFAULT_PORT = 19092
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
# A port that was free may be taken before Java binds it.
START_ATTEMPTS = 3

# Measured on two cores: ready 2.5 s after the start, with G1 as with the serial collector. Compiling less
# (TieredStopAtLevel=1) would start sooner, and cost throughput ever after; a class archive would save a second of
# each start for four seconds of the first stop.
JAVA_OPTIONS = (
    "-Xms256m",
    "-Xmx768m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
    "-Djava.net.preferIPv4Stack=true",
)
SHORT_JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")


@dataclass(frozen=True)
class Run:
    """The run file: where a broker listens (``host:port``), its process, Kafka's version, when it started (UTC)."""

    bootstrap: str
    pid: int
    version: str
    started: str


@dataclass(frozen=True)
class Status:
    """What ``callmeter kafka status`` shows; ``answers`` is false while it starts, hangs or is frozen."""

    running: bool
    answers: bool
    bootstrap: str | None
    pid: int | None
    version: str | None
    started: str | None
    folder: str


class KafkaBroker:
    """The broker whose everything is in ``folder`` (``run.json``, ``data/``, ``logs/``).

    Args:
        folder: made if need be. Not more than one broker per folder runs, whoever starts it.
        port: where clients connect, on loopback. None: the one it had before, else 19092, else any free one. 0: any
            free one, the same again at a restart by this object.
    """

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.folder = folder.expanduser().absolute()
        self.run_file = self.folder / "run.json"
        self.data = self.folder / "data"
        self.logs = self.folder / "logs"
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` of the broker that runs.

        Raises:
            CallmeterError: none runs.
        """
        return self._running_or_raise().bootstrap

    def status(self) -> Status:
        """Looks at the process and asks the broker; takes a second at most."""
        run = self._run()
        if run is None:
            return Status(False, False, None, None, None, None, str(self.folder))
        return Status(True, _answers(run.bootstrap), **asdict(run), folder=str(self.folder))

    def start(self) -> bool:
        """Starts it and returns when it answers; False if it ran already.

        Raises:
            CallmeterError: Java or Maven is missing, the port is taken, the folder cannot be written, or Kafka itself
                refused to start (its last error is named).
        """
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / "start.lock"):
                if run := self._run():
                    self._wait_until_it_answers(run)
                    return False
                self._start()
                return True
        except OSError as error:
            raise CallmeterError(f"the local Kafka broker cannot use {self.folder}: {error.strerror}") from None

    def stop(self) -> bool:
        """Ends it in an orderly way (SIGTERM, then SIGKILL after 30 s); False if it did not run."""
        run = self._run()
        if run is None:
            self.run_file.unlink(missing_ok=True)
            return False
        for number in (signal.SIGCONT, signal.SIGTERM):
            send_signal(run.pid, number)
        if not self._wait_until_gone(run.pid, STOP_TIMEOUT_S):
            send_signal(run.pid, signal.SIGKILL)
            self._wait_until_gone(run.pid, STOP_TIMEOUT_S)
        self.run_file.unlink(missing_ok=True)
        return True

    def kill(self) -> None:
        """``kill -9``, for tests of what survives it; the run file stays, as it would."""
        run = self._running_or_raise()
        send_signal(run.pid, signal.SIGKILL)
        self._wait_until_gone(run.pid, STOP_TIMEOUT_S)

    def freeze(self) -> None:
        """Stops its process without ending it: clients see a broker that hangs."""
        run = self._running_or_raise()
        send_signal(run.pid, signal.SIGSTOP)
        wait(lambda: is_stopped(run.pid), STOP_TIMEOUT_S)

    def thaw(self) -> None:
        """Lets a frozen one go on."""
        send_signal(self._running_or_raise().pid, signal.SIGCONT)

    def _start(self) -> None:
        java = [java_command(), "-cp", str(kafka_jars() / "*")]
        for attempt in range(1, START_ATTEMPTS + 1):
            port = self._choose_port()
            configuration = self._configure(port)
            if not (self.data / "meta.properties").exists():
                self._format(java, configuration)
            run = self._launch(java, configuration, port)
            try:
                self._wait_until_it_answers(run)
            except CallmeterError:
                self.stop()
                if attempt == START_ATTEMPTS or "Address already in use" not in self._last_words():
                    raise
            else:
                self._port = port
                return

    def _launch(self, java: list[str], configuration: Path, port: int) -> Run:
        logging = files("deploy.kafka") / "log4j2.yaml"
        command = [
            *java,
            *JAVA_OPTIONS,
            self._token,
            f"-Dcallmeter.kafka.logs={self.logs}",
            f"-Dlog4j2.configurationFile={logging}",
            "kafka.Kafka",
            str(configuration),
        ]
        with (self.logs / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                cwd=self.folder,
                start_new_session=True,
            )
        run = Run(f"{HOST}:{port}", self._process.pid, kafka_version(), datetime.now(UTC).isoformat(timespec="seconds"))
        written = self.run_file.with_suffix(".new")
        written.write_text(json.dumps(asdict(run)) + "\n")
        written.replace(self.run_file)
        return run

    def _configure(self, port: int) -> Path:
        """Writes the configuration of this start: the packaged one, and what depends on folder and ports."""
        controller = free_port()
        listeners = f"CLIENT://{HOST}:{port}"
        lines = [
            (files("deploy.kafka") / "server.properties").read_text(),
            f"listeners={listeners},CONTROLLER://{HOST}:{controller}",
            f"advertised.listeners={listeners}",
            f"controller.quorum.voters=1@{HOST}:{controller}",
            # A backslash begins an escape in Java's property files.
            "log.dirs=" + str(self.data).replace("\\", "\\\\"),
        ]
        configuration = self.folder / "server.properties"
        configuration.write_text("\n".join([*lines, *self.more_properties(listeners, controller)]) + "\n")
        return configuration

    def more_properties(self, client: str, controller: int) -> Sequence[str]:
        """Further lines of the configuration, each of which wins over what is above it; for brokers of tests.

        Args:
            client: the listener of our clients.
            controller: the controller's port.
        """
        return ()

    def format_options(self) -> Sequence[str]:
        """Further options of the command that prepares the data folder; for brokers of tests."""
        return ()

    def _format(self, java: list[str], configuration: Path) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
        arguments = ["format", "--ignore-formatted", "--cluster-id", cluster, "--config", str(configuration)]
        arguments += self.format_options()
        said = subprocess.run(
            [*java, *SHORT_JAVA_OPTIONS, "kafka.tools.StorageTool", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        if said.returncode != 0:
            last = (said.stderr + said.stdout).strip().splitlines()[-1:] or ["it said nothing"]
            raise CallmeterError(f"Kafka cannot prepare its data folder {self.data}: {last[0]}")

    def _choose_port(self) -> int:
        if self._port:
            if not is_free(self._port):
                raise CallmeterError(f"port {self._port} is taken; choose another with --port, or leave it out")
            return self._port
        if self._port is None:
            return first_free_port(self._previous_port(), DEFAULT_PORT)
        return free_port()

    def _previous_port(self) -> int | None:
        try:
            found = re.search(
                r"^advertised\.listeners=CLIENT://.*:(\d+)$", (self.folder / "server.properties").read_text(), re.M
            )
        except OSError:
            return None
        return int(found[1]) if found else None

    @property
    def _token(self) -> str:
        """Tells our process from any other that was given its number later."""
        return f"-Dcallmeter.kafka.folder={self.folder}"

    def _run(self) -> Run | None:
        """The run file, if its process is alive and ours."""
        try:
            run = Run(**json.loads(self.run_file.read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return run if self._is_ours(run.pid) else None

    def _is_ours(self, pid: int) -> bool:
        if self._process and self._process.pid == pid:
            # An ended child keeps its number until it is asked for.
            return self._process.poll() is None
        return self._token in command_line(pid)

    def _running_or_raise(self) -> Run:
        run = self._run()
        if run is None:
            raise CallmeterError(f"no Kafka broker runs in {self.folder}; start it with `callmeter kafka start`")
        return run

    def _wait_until_it_answers(self, run: Run) -> None:
        def answers_or_ended() -> bool:
            return _answers(run.bootstrap) or not self._is_ours(run.pid)

        if not wait(answers_or_ended, START_TIMEOUT_S):
            raise CallmeterError(f"the Kafka broker did not answer within {START_TIMEOUT_S:.0f} s; see {self.logs}")
        if not self._is_ours(run.pid):
            raise CallmeterError(f"the Kafka broker ended at its start: {self._last_words()} (see {self.logs})")

    def _wait_until_gone(self, pid: int, timeout_s: float) -> bool:
        return wait(lambda: not self._is_ours(pid), timeout_s)

    def _last_words(self) -> str:
        """The newest error of the log, or what Java itself printed; one line."""
        for name, wanted in (
            ("server.log", r"(?m)^\S+ (?:ERROR|FATAL) (.*(?:\n\S*Exception: .*)?)"),
            ("console.log", r"(.+)"),
        ):
            try:
                if errors := re.findall(wanted, (self.logs / name).read_text(errors="replace")):
                    return " ".join(str(errors[-1]).split())[:400]
            except OSError:
                continue
        return "it left no message"


def _answers(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    return serving_brokers(host, int(port)) > 0
