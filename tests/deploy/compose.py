"""The compose file as a container engine would read it: merged, with variables filled in, for the test's own parts."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from tests.broker import ROOT

FILE = ROOT / "docker-compose.yml"
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def read_compose(**environment: str) -> dict[str, Any]:
    """The whole file.

    Args:
        environment: variables that replace its defaults; one without either is an error.
    """

    def fill(match: re.Match[str]) -> str:
        value = environment.get(match[1], match[2])
        assert value is not None, f"{match[0]} has no default"
        return value

    read = yaml.safe_load(VARIABLE.sub(fill, FILE.read_text()))
    assert isinstance(read, dict)
    return read


def ours(compose: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The services that run Callmeter's own image."""
    return {name: service for name, service in compose["services"].items() if "build" in service}


def roles(compose: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Those of them that run for ever and show metrics."""
    return {name: service for name, service in ours(compose).items() if "expose" in service}


def local_environment(service: Mapping[str, Any], replaced: Mapping[str, str], **more: str) -> dict[str, str]:
    """A service's environment for a process on this machine.

    Args:
        service: of the compose file.
        replaced: what stands there for a part of this machine, such as ``kafka:9092``, and what stands for it here.
        more: variables that keep a test apart from others.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLMETER_")}
    for name, value in service["environment"].items():
        for there, here in replaced.items():
            value = value.replace(there, here)
        environment[name] = value
    return {**environment, **more}
