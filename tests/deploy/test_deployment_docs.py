"""What docs/deployment.md says of settings, pages, metrics and files, against what there is."""

from __future__ import annotations

import re

from click import Group
from prometheus_client import REGISTRY
from typer.main import get_command

import streams.observe  # noqa: F401  (registers the metrics)
from cli.main import app
from streams.settings import CONFIG_VARIABLE, PREFIX, Settings
from tests.broker import ROOT
from tests.deploy.compose import FILE, VARIABLE

TEXT = (ROOT / "docs" / "deployment.md").read_text()


def documented() -> dict[str, str]:
    """The table of settings: variable to default."""
    return dict(re.findall(rf"^\| `({PREFIX}\w+)` \| (.*?) \| \S.* \|$", TEXT, re.M))


def shown(default: object) -> str:
    if default is None:
        return "none"
    return f"`{default}`" if default != "" else "empty"


def test_every_setting_is_documented_with_its_default() -> None:
    fields = {PREFIX + name.upper(): shown(field.default) for name, field in Settings.model_fields.items()}
    assert documented() == fields


def test_no_variable_is_named_that_is_no_setting() -> None:
    named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", TEXT)) - {PREFIX}
    assert named <= {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}


def test_every_variable_of_the_compose_file_is_documented() -> None:
    for name in {match[1] for match in VARIABLE.finditer(FILE.read_text())} - {"KAFKA_HEAP_OPTS"}:
        assert name in TEXT


def test_commands_that_are_named_are_there() -> None:
    """Whatever follows the program's name is a command, or a group and its command."""
    named = re.findall(
        r"`callmeter ([\w-]+)(?: ([a-z][\w-]*))?[^`]*`|^docker compose run .*callmeter ([\w-]+)(?: ([a-z][\w-]*))?",
        TEXT,
        re.M,
    )
    assert named
    for words in named:
        group, name = words[:2] if words[0] else words[2:]
        command = get_command(app).commands[group]
        if isinstance(command, Group):
            assert name in command.commands


def test_files_that_are_named_are_there() -> None:
    for name in re.findall(r"`((?:deploy|tests|docs)/[\w./]*)`", TEXT):
        assert (ROOT / name).exists(), name


def test_metrics_carry_the_prefix_that_is_documented_and_no_account() -> None:
    ours = [
        (names, getattr(metric, "_labelnames", ()))
        for metric, names in REGISTRY._collector_to_names.items()
        if type(metric).__module__ == "prometheus_client.metrics"
    ]
    assert ours
    for names, labels in ours:
        assert all(name.startswith("callmeter_") for name in names)
        assert not {"account", "account_id", "agency", "agency_id"} & set(labels)
