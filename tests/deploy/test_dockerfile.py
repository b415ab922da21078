"""The image without a container engine: its file is read, and its steps are done by hand.

One step is not done as written: the libraries are not downloaded again into the new virtual environment, but linked
from the one that runs the tests, which has them in the versions that ``pyproject.toml`` allows.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.broker import ROOT
from tests.deploy.compose import ours, read_compose

DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LIBRARIES = PYPROJECT["project"]["dependencies"]
PACKAGES = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
CALL = {
    "type": "call.completed", "call_id": "c1", "account_id": "acct_1", "agency_id": "ag_1", "direction": "outbound",
    "started_at": "2026-11-03T10:00:00Z", "ended_at": "2026-11-03T10:01:00Z", "outcome": "answered",
}  # fmt: skip


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions: (name, rest), in order, comments left out and lines joined."""
    lines = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def ignored(name: str) -> bool:
    """Whether a file or folder at the root stays out of the build, by the last pattern that fits."""
    out = False
    for line in (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        if line and not line.startswith("#") and fnmatch(name, pattern):
            out = not line.startswith("!")
    return out


def run(*command: str, folder: Path, stdin: str = "", **variables: str) -> str:
    """Runs it to its end with no setting of the tests' own; its standard output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("CALLMETER_", "PYTHON"))}
    done = subprocess.run(
        command, cwd=folder, env={**environment, **variables}, input=stdin, capture_output=True, text=True,
        timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The virtual environment of the build stage, made by the Dockerfile's own steps."""
    root = tmp_path_factory.mktemp("image")
    source, environment = root / "source", root / "callmeter"
    source.mkdir()
    linked = False
    for name, rest in stages()[0]:
        rest = rest.replace("/opt/callmeter", str(environment))
        if name == "COPY":
            *files, target = rest.split()
            assert target in ("./", ".")
            for file in os.listdir(ROOT) if files == ["."] else files:
                if not ignored(file):
                    copy(ROOT / file, source / file)
        elif name == "RUN" and "--requirement" in rest:
            listed = (source / rest.split("--requirement ")[1]).read_text().splitlines()
            assert listed == LIBRARIES
            link_libraries(environment)
            linked = True
        elif name == "RUN":
            run("sh", "-c", rest, folder=source, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert linked
    yield environment
    shutil.rmtree(root, ignore_errors=True)


def copy(file: Path, target: Path) -> None:
    if file.is_dir():
        shutil.copytree(file, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    else:
        shutil.copy(file, target)


def link_libraries(environment: Path) -> None:
    """Shows the new environment this one's libraries; ours, here by a ``.pth`` file, is not among them."""
    (folder,) = environment.glob("lib/python*/site-packages")
    (folder / "libraries-of-the-tests.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.mark.slow
def test_the_built_package_does_its_work_from_another_folder(installed: Path, tmp_path: Path) -> None:
    callmeter = str(installed / "bin" / "callmeter")
    own = {"CALLMETER_DATA_FOLDER": str(tmp_path / "data")}
    where = run(str(installed / "bin" / "python"), "-c", "import cli, rating; print(cli.__file__)", folder=tmp_path)
    assert where.startswith(str(installed))

    assert run(callmeter, "--version", folder=tmp_path) == f"callmeter {PYPROJECT['project']['version']}\n"

    (output,) = run(callmeter, "simulate", "-", folder=tmp_path, stdin=json.dumps(CALL)).splitlines()
    assert json.loads(output)["value"]["reason"] == "no_subscription"

    dsn = {"CALLMETER_CLICKHOUSE_DSN": f"chdb://{tmp_path}/clickhouse"}
    run(callmeter, "migrate", folder=tmp_path, **own, **dsn)
    run(callmeter, "migrate", folder=tmp_path, **own, **dsn)

    started = json.loads(run(callmeter, "kafka", "start", "--json", folder=tmp_path, **own))
    try:
        assert started["answers"]
        run(callmeter, "topics", "create", "--partitions", "1", folder=tmp_path, **own)
    finally:
        stopped = json.loads(run(callmeter, "kafka", "stop", "--json", folder=tmp_path, **own))
    assert stopped == {"stopped": True}


@pytest.mark.slow
def test_the_built_package_has_everything_that_is_no_python(installed: Path) -> None:
    (folder,) = installed.glob("lib/python*/site-packages")
    tracked = run("git", "ls-files", *PACKAGES, folder=ROOT).splitlines()
    missing = [name for name in tracked if (ROOT / name).is_file() and not (folder / name).is_file()]
    assert not missing


def test_the_libraries_linked_in_are_those_that_would_be_installed() -> None:
    for line in LIBRARIES:
        wanted = Requirement(line)
        assert wanted.specifier.contains(version(wanted.name)), line


def test_the_image_has_a_python_that_the_project_allows() -> None:
    for stage in stages():
        name = stage[0][1].split()[0]
        assert re.fullmatch(r"python:3\.11-slim", name)
    assert PYPROJECT["project"]["requires-python"] == ">=3.11"


def test_every_package_of_the_wheel_reaches_the_build_and_nothing_else_does() -> None:
    tracked = {name.split("/")[0] for name in run("git", "ls-files", folder=ROOT).splitlines()}
    assert {name for name in tracked if not ignored(name)} == {*PACKAGES, "pyproject.toml", "README.md"}
    assert ignored(".git") and ignored(".venv")


def test_the_container_is_not_root_and_gets_its_signals_itself() -> None:
    last = dict(stages()[-1])
    assert last["USER"] not in ("root", "0", "0:0")
    assert json.loads(last["ENTRYPOINT"]) == ["callmeter"]
    assert json.loads(last["CMD"]) == ["--help"]


def test_what_a_role_keeps_is_on_a_volume_that_the_compose_file_names() -> None:
    last = dict(stages()[-1])
    folder = last["VOLUME"]
    assert f"CALLMETER_DATA_FOLDER={folder}" in last["ENV"]
    meter = ours(read_compose())["meter"]
    assert f"meter:{folder}" in meter["volumes"]
    assert meter["environment"]["CALLMETER_HTTP_PORT"] == last["EXPOSE"]
