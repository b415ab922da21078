"""The bench measures the real meter, says what it measured, and keeps every run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from bench.load import PLAIN, calls, subscription
from bench.peers import faust_agent
from rating.fold import Fold
from rating.seen import SeenInMemory
from tests.broker import ROOT


@pytest.fixture
def bench(tmp_path):
    """Runs ``python -m bench``; its process and the results by name."""

    def run(*arguments, **variables):
        done = subprocess.run(
            [sys.executable, "-m", "bench", "--results", str(tmp_path), *arguments],
            capture_output=True, text=True, cwd=ROOT, env={**os.environ, **variables}, timeout=150, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done, {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}

    return run


def test_the_hot_path_prints_one_ratio_to_the_bare_loop(bench, broker):
    sizes = ("--calls", "10000", "--accounts", "50", "--partitions", "2", "--rounds", "1")
    variables = {"CALLMETER_KAFKA_BOOTSTRAP": broker.bootstrap, "CALLMETER_BATCH_RECORDS": "500"}
    done, results = bench("hot_path", *sizes, **variables)
    (ratio,) = re.findall(r"(?m)^hot_path_ratio_batch (\d+\.\d+)$", done.stdout)
    result = results["hot_path"]
    meter = result["runs"][-1]
    assert float(ratio) == pytest.approx(meter["against batch"], abs=0.001)
    assert len(result["runs"]) == 3
    assert all(run["calls/s"] > 0 for run in result["runs"])
    assert {"machine", "versions", "settings", "summary", "measured_at"} <= result.keys()


def test_latency_counts_every_call_after_the_warm_up(bench, broker):
    sizes = (
        "--rate",
        "200",
        "--high_rate",
        "400",
        "--seconds",
        "3",
        "--warmup",
        "1",
        "--accounts",
        "50",
        "--partitions",
        "2",
        "--rounds",
        "1",
    )
    _, results = bench("latency", *sizes, CALLMETER_KAFKA_BOOTSTRAP=broker.bootstrap)
    assert [run["what"] for run in results["latency"]["runs"]] == ["200 calls/s", "400 calls/s"]
    for run in results["latency"]["runs"]:
        assert 0 < run["p50 ms"] <= run["p99 ms"] <= run["max ms"]


def test_figures_without_a_broker_print_json_when_asked(bench):
    sizes = ("--calls", "1000", "--accounts", "50", "--rows", "1000", "--entries", "20000", "--many_entries", "40000")
    done, results = bench(
        "rating", "duplicates", "sink", *sizes, "--lookups", "500", "--prefixes", "50", "--rounds", "1", "--json"
    )
    assert json.loads(done.stdout) == [results["rating"], results["duplicates"], results["sink"]]
    assert {run["what"] for run in results["duplicates"]["runs"]} == {"20,000 calls", "40,000 calls"}
    everything = "caps, wholesale, card of 50 prefixes"
    assert {run["what"] for run in results["rating"]["runs"]} == {"plain plan", "plan with caps", everything}


def test_limits_are_measured_for_accounts_restored_and_for_the_largest_facts(bench, broker):
    sizes = ("--accounts", "60", "--partitions", "2", "--rounds", "1", "--largest", "20")
    none = ("--account_calls", "0", "--letters", "0")
    done, results = bench("limits", *sizes, *none, CALLMETER_KAFKA_BOOTSTRAP=broker.bootstrap)
    runs = {run["what"]: run for run in results["limits"]["runs"]}
    restored = ["restored", "restored, with older snapshots"]
    assert list(runs) == [restored[0], "a call of each", "all periods end", restored[1], "calls of 262,144 bytes"]
    assert all(runs[name]["seconds"] > 0 and runs[name]["memory MiB"] > 20 for name in restored)
    assert all(run["peak MiB"] >= run["memory MiB"] for run in runs.values())
    assert re.search(r"(?m)^limits_peak_mib \d+$", done.stdout)


def test_a_close_raises_every_request(bench, broker):
    sizes = ("--few", "20", "--many", "60", "--partitions", "2", "--rounds", "1")
    done, results = bench("close", *sizes, CALLMETER_KAFKA_BOOTSTRAP=broker.bootstrap)
    assert "close_growth" in done.stdout
    assert [run["what"] for run in results["close"]["runs"]] == ["20 subscriptions", "60 subscriptions"]


def test_stages(bench):
    _, results = bench("stages", "--calls", "20000", "--accounts", "100", "--rounds", "1")
    runs = {run["what"]: run["us/call"] for run in results["stages"]["runs"]}
    assert len(runs) == 10
    assert 0 < runs.pop("of rate and encode: the record alone") < runs["rate and encode"]
    assert runs["all of them"] == pytest.approx(sum(runs.values()) / 2)


def test_scale(bench, broker):
    sizes = ("--calls", "40000", "--points", "1", "--rounds", "1")
    _, results = bench("scale", *sizes, CALLMETER_KAFKA_BOOTSTRAP=broker.bootstrap)
    (run,) = results["scale"]["runs"]
    assert run["what"] == "1,000 accounts"
    assert run["calls/s"] > 0


def test_ticks_and_questions(bench):
    _, results = bench("ticks", "clickhouse", "--few", "10", "--many", "100", "--rounds", "2", "--calls", "20000")
    assert all(run["us/tick"] > 0 for run in results["ticks"]["runs"])
    assert len(results["clickhouse"]["runs"]) == 8


def test_the_faust_peer_prices_like_the_fold():
    fold = Fold(0, None, SeenInMemory())
    facts = [subscription(number, PLAIN) for number in range(5)] + [value for _, value in calls(500, 5)]
    for offset, fact in enumerate(facts):
        fold.fold(fact, offset)
    ours = [json.loads(value) for topic, _, value in fold.outputs if topic == "rated-calls"]
    accounts = {fact["account_id"]: faust_agent.subscribed(fact) for fact in map(json.loads, facts[:5])}
    for rated, call in zip(ours, map(json.loads, facts[5:]), strict=True):
        theirs = faust_agent.rated_call(call, accounts[call["account_id"]], 0, rated["source_offset"])
        assert theirs.keys() == rated.keys()
        texts = ("started_at", "answered_at", "ended_at")
        assert {k: v for k, v in theirs.items() if k not in texts} == {k: v for k, v in rated.items() if k not in texts}
