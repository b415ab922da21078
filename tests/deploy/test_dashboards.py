"""Grafana's files: every query of a dashboard or alert runs, on the demo's data, and gives rows.

SQL runs on the real engine with Grafana's macros written out as its ClickHouse plugin does. PromQL is parsed by
promtool here, and answered by a real Prometheus in ``test_scraped.py``.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sinks.clickhouse import Store, Target
from tests.broker import ROOT
from tests.deploy.demo_data import CREDITED_MICROS, UNTIL, fill
from tests.deploy.prometheus_tools import command_or_skip
from tests.deploy.test_prometheus import OTHERS, exported, labels_of, metrics_of

FOLDER = ROOT / "deploy" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted((FOLDER / "dashboards").glob("*.json"))}
SOURCES = {
    source["uid"]: source["type"]
    for source in yaml.safe_load((FOLDER / "provisioning/datasources/callmeter.yml").read_text())["datasources"]
}
ALERTS = {
    rule["uid"]: rule
    for group in yaml.safe_load((FOLDER / "provisioning/alerting/callmeter.yml").read_text())["groups"]
    for rule in group["rules"]
}
FROM, TO = int(UNTIL.timestamp()) - 35 * 86_400, int(UNTIL.timestamp()) + 3_600
INTERVAL_S = 3_600
# ALERTS is Prometheus' own; the process metrics are the client library's, on Linux.
PROMETHEUS_OWN = OTHERS | {"ALERTS", "process_resident_memory_bytes"}


def panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, dashboard in DASHBOARDS.items():
        yield from ((name, panel) for panel in dashboard["panels"] if panel["type"] != "row")


def targets(source: str) -> list[Any]:
    """Every query for a source, as pytest parameters: those of panels, of variables and of alerts."""
    return list(_targets(source))


def _targets(source: str) -> Iterator[Any]:
    for name, panel in panels():
        for target in panel["targets"]:
            if target["datasource"]["uid"] == source:
                yield pytest.param(target.get("rawSql") or target["expr"], id=f"{name}: {panel['title']}")
    for name, dashboard in DASHBOARDS.items():
        for variable in dashboard["templating"]["list"]:
            if variable.get("datasource", {}).get("uid") == source:
                yield pytest.param(variable["query"], id=f"{name}: ${variable['name']}")
    for rule in ALERTS.values():
        for query in rule["data"]:
            if query["datasourceUid"] == source:
                model = query["model"]
                yield pytest.param(model.get("rawSql") or model["expr"], id=f"alert: {rule['title']}")


def written_out(sql: str, variables: dict[str, str]) -> str:
    """The SQL as ClickHouse gets it: variables by Grafana, macros by its plugin (``pkg/macros/macros.go``)."""
    for name, value in variables.items():
        sql = sql.replace(f"${{{name}:singlequote}}", value)
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= toDateTime({FROM}) AND \1 <= toDateTime({TO})", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", rf"toStartOfInterval(toDateTime(\1), INTERVAL {INTERVAL_S} second)", sql)
    sql = sql.replace("$__interval_s", str(INTERVAL_S))
    assert "$" not in sql, f"a macro or variable that this test does not know: {sql}"
    return sql


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with fill(Target("chdb", folder=str(tmp_path_factory.mktemp("dashboards") / "clickhouse"))) as filled:
        yield filled


@pytest.fixture(scope="module")
def variables(store: Store) -> dict[str, str]:
    """As on opening a dashboard: all agencies, the first currency, no account in particular."""
    query = next(one["query"] for one in DASHBOARDS["usage"]["templating"]["list"] if one["name"] == "agency")
    agencies = [row["agency_id"] for row in store.rows(query)]
    return {"agency": ",".join(f"'{agency}'" for agency in agencies), "currency": "'USD'", "account": "''"}


@pytest.mark.parametrize("sql", targets("clickhouse"))
def test_a_query_gives_rows_on_the_demos_data(store: Store, variables: dict[str, str], sql: str) -> None:
    rows = store.rows(written_out(sql, variables))
    assert rows
    filled = [value for row in rows for value in row.values() if value is not None]
    assert filled, "nothing but nulls"
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in filled)


@pytest.mark.parametrize("sql", targets("clickhouse"))
def test_a_query_reads_views_and_tables_of_ours_alone(store: Store, sql: str) -> None:
    known = {row["name"] for row in store.rows("SELECT name FROM system.tables WHERE database = currentDatabase()")}
    assert set(re.findall(r"\bFROM (\w+)", sql)) <= known


def test_a_time_series_begins_with_its_time_and_is_sorted_by_it(store: Store, variables: dict[str, str]) -> None:
    series = [t for _, panel in panels() for t in panel["targets"] if t.get("queryType") == "timeseries"]
    assert series
    for target in series:
        rows = store.rows(written_out(target["rawSql"], variables))
        assert next(iter(rows[0])) == "time"
        times = [row["time"] for row in rows]
        assert times == sorted(times)


def test_the_high_usage_alert_gives_one_number_and_its_account(store: Store) -> None:
    query = ALERTS["callmeter-high-usage"]["data"][0]["model"]
    for row in store.rows(query["rawSql"]):
        numbers = [name for name, value in row.items() if isinstance(value, int | float)]
        assert numbers == ["highest_percent"]
        assert {"agency_id", "account_id"} <= row.keys()


def test_what_is_open_is_what_is_left_of_every_request_that_nobody_paid(
    store: Store, variables: dict[str, str]
) -> None:
    (panel,) = (panel for _, panel in panels() if panel["title"].startswith("Asked for and open"))
    rows = store.rows(written_out(panel["targets"][0]["rawSql"], variables))
    requests = store.rows("SELECT status, total_micros FROM payment_requests_current WHERE currency = 'USD'")
    assert {"pending", "failed", "paid"} <= {one["status"] for one in requests}
    asked = sum(one["total_micros"] for one in requests if one["status"] != "paid")
    assert rows == [{"open": (asked - CREDITED_MICROS) / 1_000_000}]


def test_choosing_one_agency_shows_nothing_of_the_others(store: Store, variables: dict[str, str]) -> None:
    one = {**variables, "agency": "'nordlicht'"}
    shown = 0
    for _, panel in panels():
        for target in panel["targets"]:
            if "${agency" in target.get("rawSql", ""):
                rows = store.rows(written_out(target["rawSql"], one))
                assert {row["agency_id"] for row in rows if "agency_id" in row} <= {"nordlicht"}
                shown += 1
    assert shown > 10


def test_sums_of_money_are_always_of_one_currency() -> None:
    for _, panel in panels():
        for target in panel["targets"]:
            if "_micros)" in (sql := target.get("rawSql", "")):
                assert "currency = ${currency" in sql or re.search(r"GROUP BY [^\n]*currency", sql), panel["title"]


@pytest.mark.parametrize("expression", targets("prometheus"))
def test_a_promql_query_asks_for_metrics_that_are_exported(expression: str) -> None:
    known = exported()
    names = metrics_of(expression)
    assert names
    assert names <= known.keys() | PROMETHEUS_OWN
    given = set().union(*(known.get(name, set()) for name in names))
    own = {"job", "instance", *({"alertname", "alertstate", "severity"} if "ALERTS" in names else ())}
    assert labels_of(expression) <= given | own


def test_promtool_accepts_every_promql_query(tmp_path: Path) -> None:
    command = command_or_skip("promtool")
    rules = [
        {"record": f"query:{number}", "expr": parameter.values[0].replace("$__rate_interval", "1m")}
        for number, parameter in enumerate(targets("prometheus"))
    ]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run([command, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_panel_asks_a_source_that_is_provisioned() -> None:
    for _, panel in panels():
        for target in panel["targets"]:
            assert SOURCES[target["datasource"]["uid"]] == target["datasource"]["type"]
    for rule in ALERTS.values():
        for query in rule["data"]:
            assert query["datasourceUid"] in {*SOURCES, "__expr__"}


def test_alerts_point_to_dashboards_and_refer_to_their_own_queries() -> None:
    boards = {dashboard["uid"] for dashboard in DASHBOARDS.values()}
    for rule in ALERTS.values():
        references = {query["refId"] for query in rule["data"]}
        assert rule["dashboardUid"] in boards
        assert rule["condition"] in references
        for query in rule["data"]:
            assert query["model"]["refId"] == query["refId"]
            assert query["model"].get("expression", "A") in references


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_have_ids_of_their_own_and_do_not_overlap(name: str) -> None:
    board = DASHBOARDS[name]["panels"]
    assert len({panel["id"] for panel in board}) == len(board)
    taken: set[tuple[int, int]] = set()
    for panel in board:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken, panel["title"]
        taken |= cells
