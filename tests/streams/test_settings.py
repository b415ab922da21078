"""Settings: variables over file over defaults, each mistake one line that names its key."""

from __future__ import annotations

import pytest

from streams.errors import SettingsError
from streams.settings import load_settings
from tests.broker import command


@pytest.fixture(autouse=True)
def no_settings_of_the_caller(monkeypatch):
    import os

    for name in list(os.environ):
        if name.startswith("CALLMETER_"):
            monkeypatch.delenv(name)


def test_a_variable_wins_over_the_file(monkeypatch, tmp_path):
    file = tmp_path / "callmeter.toml"
    file.write_text('partitions = 3\ngroup_id = "mine"\n')
    monkeypatch.setenv("CALLMETER_CONFIG", str(file))
    monkeypatch.setenv("CALLMETER_PARTITIONS", "5")
    settings = load_settings()
    assert (settings.partitions, settings.group_id) == (5, "mine")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        (
            "CALLMETER_PARTITONS",
            "3",
            "CALLMETER_PARTITONS is not a setting of Callmeter; did you mean CALLMETER_PARTITIONS?",
        ),
        ("CALLMETER_PARTITIONS", "0", "CALLMETER_PARTITIONS: Input should be greater than or equal to 1 (got '0')"),
        ("CALLMETER_HTTP_PORT", "http", "CALLMETER_HTTP_PORT: Input should be a valid integer"),
        ("CALLMETER_LOG_FORMAT", "xml", "CALLMETER_LOG_FORMAT: Input should be 'console' or 'json' (got 'xml')"),
        ("CALLMETER_CONFIG", "/nowhere.toml", "CALLMETER_CONFIG: there is no file /nowhere.toml"),
    ],
)
def test_a_mistake_is_named_with_its_key(monkeypatch, variable, value, message):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value).startswith(message)


def test_an_unknown_key_of_the_file_names_the_nearest(monkeypatch, tmp_path):
    file = tmp_path / "callmeter.toml"
    file.write_text("partitons = 3\n")
    monkeypatch.setenv("CALLMETER_CONFIG", str(file))
    with pytest.raises(SettingsError, match="did you mean partitions"):
        load_settings()


def test_a_file_that_is_no_toml_is_named(monkeypatch, tmp_path):
    file = tmp_path / "callmeter.toml"
    file.write_text("partitions = = 3\n")
    monkeypatch.setenv("CALLMETER_CONFIG", str(file))
    with pytest.raises(SettingsError, match=r"callmeter\.toml"):
        load_settings()


def test_secrets_are_not_shown(monkeypatch):
    monkeypatch.setenv("CALLMETER_KAFKA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("CALLMETER_KAFKA_SASL_USERNAME", "me")
    monkeypatch.setenv("CALLMETER_KAFKA_SASL_PASSWORD", "sesame")
    monkeypatch.setenv("CALLMETER_CLICKHOUSE_DSN", "http://u:sesame@h/db")
    assert "sesame" not in repr(load_settings())


def test_a_command_ends_with_one_line_and_a_code(make_settings):
    settings = make_settings(topics=False)
    done = command(settings.model_copy(update={"partitions": 0}), "topics", "list")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "CALLMETER_PARTITIONS" in done.stderr
