"""The compose file as it is written: against the specification's own schema, and against the rest of the project.

That its services really run is tested in ``test_services.py``.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import yaml

from deploy.kafka.jars import kafka_version
from streams.settings import PREFIX, Settings
from tests.broker import ROOT
from tests.deploy.compose import FILE, VARIABLE, ours, read_compose, roles

COMPOSE = read_compose()
SERVICES = COMPOSE["services"]
ONE_SHOTS = {"topics", "migrate"}


def test_it_is_a_compose_file_by_the_specification() -> None:
    schema = json.loads((ROOT / "tests" / "data" / "compose-spec.json").read_text())
    jsonschema.Draft201909Validator(schema).validate(COMPOSE)


def test_it_has_every_part_of_the_pipeline() -> None:
    parts = {"kafka", "clickhouse", "meter", "sink", "billing", "clock", "api", "prometheus", "grafana"}
    assert parts | ONE_SHOTS <= SERVICES.keys()
    assert roles(COMPOSE).keys() == {"meter", "sink", "billing", "clock", "api"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_what_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]
        else:
            assert how["condition"] == "service_completed_successfully"
            assert other in ONE_SHOTS


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_that_ends_is_started_again_unless_that_was_its_work(name: str) -> None:
    service = SERVICES[name]
    if name in ONE_SHOTS:
        assert service["restart"] == "no"
    elif "profiles" not in service:
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_only_this_machine_reaches_a_published_port(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source = volume.split(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists()
        else:
            assert source in COMPOSE["volumes"]


def test_every_password_can_be_set_from_outside() -> None:
    secret = "s3cret"
    names = {match[1] for match in VARIABLE.finditer(FILE.read_text()) if "PASSWORD" in match[1]}
    assert names == {"CLICKHOUSE_PASSWORD", "GRAFANA_CLICKHOUSE_PASSWORD", "GRAFANA_PASSWORD"}
    filled = read_compose(**dict.fromkeys(names, secret))["services"]
    assert "development@" not in json.dumps(filled)
    for service in filled.values():
        for name, value in service.get("environment", {}).items():
            if name.endswith("PASSWORD"):
                assert value == secret
            if name == "CALLMETER_CLICKHOUSE_DSN":
                assert value == f"http://callmeter:{secret}@clickhouse:8123/callmeter"


@pytest.mark.parametrize("name", ours(COMPOSE))
def test_a_service_of_ours_sets_only_settings_that_there_are(name: str) -> None:
    known = {PREFIX + field.upper() for field in Settings.model_fields}
    assert SERVICES[name]["environment"].keys() <= known


@pytest.mark.parametrize("name", ours(COMPOSE))
def test_a_value_of_the_environment_is_text(name: str) -> None:
    assert all(isinstance(value, str) for value in SERVICES[name]["environment"].values())


def test_the_parts_from_elsewhere_have_the_versions_that_the_tests_run_on() -> None:
    import chdb

    engine = str(chdb.query("SELECT version()", "TSVRaw")).strip()
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka_version()}"
    assert SERVICES["clickhouse"]["image"] == f"clickhouse/clickhouse-server:{'.'.join(engine.split('.')[:2])}"


def test_every_image_is_of_a_fixed_version() -> None:
    for service in SERVICES.values():
        if "build" not in service:
            assert re.search(r":v?\d+\.\d+", service["image"])


def test_nobody_needs_an_address_that_no_service_has() -> None:
    grafana = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/callmeter.yml").read_text())
    hosts = {source.get("url", "").removeprefix("http://").split(":")[0] or source["jsonData"]["host"]
             for source in grafana["datasources"]}  # fmt: skip
    for service in ours(COMPOSE).values():
        hosts |= set(re.findall(r"(?:@|^)([a-z]+):\d+", "\n".join(service["environment"].values()), re.M))
    assert hosts == {"kafka", "clickhouse", "prometheus"}


def test_the_dashboards_user_reads_and_cannot_write() -> None:
    from xml.etree import ElementTree

    (mounted,) = (volume for volume in SERVICES["clickhouse"]["volumes"] if "users.d" in volume)
    root = ElementTree.parse(ROOT / mounted.split(":")[0]).getroot()
    user = root.find("users/grafana")
    assert user is not None
    assert user.findtext("profile") == "dashboards"
    assert root.findtext("profiles/dashboards/readonly") == "2"
    assert [grant.text for grant in user.findall("grants/query")] == ["GRANT SELECT ON callmeter.*"]
    password = user.find("password")
    assert password is not None
    assert password.attrib == {"from_env": "GRAFANA_CLICKHOUSE_PASSWORD"}
    assert "GRAFANA_CLICKHOUSE_PASSWORD" in SERVICES["clickhouse"]["environment"]


def test_grafana_finds_its_files_where_they_are_mounted() -> None:
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/callmeter.yml").read_text())
    targets = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    assert provider["providers"][0]["options"]["path"] in targets
    assert "/etc/grafana/provisioning" in targets


def kubernetes() -> list[dict[str, Any]]:
    listed = yaml.safe_load((ROOT / "deploy/k8s/kustomization.yaml").read_text())["resources"]
    assert set(listed) == {path.name for path in (ROOT / "deploy/k8s").glob("*.yaml")} - {"kustomization.yaml"}
    return [one for name in listed for one in yaml.safe_load_all((ROOT / "deploy/k8s" / name).read_text())]


def test_kubernetes_runs_the_same_commands_with_the_same_settings() -> None:
    commands, known = {}, {PREFIX + field.upper() for field in Settings.model_fields}
    for one in kubernetes():
        if one["kind"] in ("ConfigMap", "Secret"):
            assert (one.get("data") or one["stringData"]).keys() <= known
        if "template" not in one.get("spec", {}):
            continue
        pod = one["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        commands[one["metadata"]["name"]] = container["args"]
        # A service "callmeter" would give every pod variables that are no settings.
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        if one["kind"] != "Job":
            probes = {name: container[name]["httpGet"]["path"] for name in ("livenessProbe", "readinessProbe")}
            assert probes == {"livenessProbe": "/health", "readinessProbe": "/ready"}
    assert commands == {name: SERVICES[name]["command"] for name in (*ONE_SHOTS, *roles(COMPOSE))}
