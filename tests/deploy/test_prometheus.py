"""Prometheus' configuration and rules: by promtool itself, and against the metrics that the code really exports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import streams.observe  # noqa: F401  (registers the metrics)
from tests.broker import ROOT
from tests.deploy.prometheus_tools import command_or_skip

FOLDER = ROOT / "deploy" / "prometheus"
CONFIGURATION = FOLDER / "prometheus.yml"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yml"))
# Made by Prometheus itself, and by the client library for every process on Linux.
OTHERS = {"up", "process_start_time_seconds"}
PROMQL_WORDS = {"and", "by", "offset", "or", "unless"}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def rules() -> Iterator[dict[str, Any]]:
    for path in RULES:
        for group in read(path)["groups"]:
            yield from group["rules"]


def exported() -> dict[str, set[str]]:
    """Every series name that our metrics can have, with its labels."""
    names = {}
    for metric, series in REGISTRY._collector_to_names.items():
        labels = set(getattr(metric, "_labelnames", ()))
        for name in series:
            names[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return {name: labels for name, labels in names.items() if name.startswith("callmeter_")}


def metrics_of(expression: str) -> set[str]:
    """The names of metrics in a PromQL expression."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|\b\d+[smhd]?\b", " ", expression)
    return set(re.findall(r"\b[A-Za-z_]+\b(?!\s*\()", bare)) - PROMQL_WORDS


def labels_of(expression: str) -> set[str]:
    """The labels that an expression selects or sums by."""
    selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    summed = [name.strip() for names in re.findall(r"\bby \(([^)]*)\)", expression) for name in names.split(",")]
    return {*selected, *summed}


@pytest.fixture(scope="module")
def command() -> str:
    return command_or_skip("promtool")


def run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_the_configuration_and_its_rules(command: str) -> None:
    run(command, "check", "config", str(CONFIGURATION))


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_the_rules_pass_their_unit_tests(command: str, path: Path) -> None:
    run(command, "test", "rules", str(path))


def test_every_alert_has_a_unit_test_in_which_it_fires() -> None:
    fired = {
        case["alertname"]
        for path in UNIT_TESTS
        for test in read(path)["tests"]
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_asks_only_for_metrics_that_are_exported(rule: dict[str, Any]) -> None:
    known = exported()
    names = metrics_of(rule["expr"])
    assert names
    assert names <= known.keys() | OTHERS
    given = set().union(*(known.get(name, set()) for name in names)) | {"job", "instance"}
    assert labels_of(rule["expr"]) <= given


@pytest.mark.parametrize("rule", list(rules()), ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_what_happened_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"].keys() == {"summary", "description"}


def test_unit_tests_feed_only_metrics_that_are_exported() -> None:
    known = exported()
    for path in UNIT_TESTS:
        for test in read(path)["tests"]:
            for series in test["input_series"]:
                name, labels = re.fullmatch(r"(\w+)\{(.*)\}", series["series"]).groups()
                assert name in known.keys() | OTHERS
                assert set(re.findall(r"(\w+)=", labels)) <= known.get(name, set()) | {"job", "instance"}


def test_every_role_of_the_compose_file_is_scraped_where_it_listens() -> None:
    services = read(ROOT / "docker-compose.yml")["services"]
    roles = {name: service for name, service in services.items() if service.get("expose")}
    jobs = {job["job_name"]: job for job in read(CONFIGURATION)["scrape_configs"]}
    assert roles.keys() == jobs.keys() - {"prometheus"}
    for name, service in roles.items():
        (discovery,) = jobs[name]["dns_sd_configs"]
        assert discovery["names"] == [name]
        assert str(discovery["port"]) == service["environment"]["CALLMETER_HTTP_PORT"] == service["expose"][0]
