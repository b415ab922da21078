"""The oracle on alerts, caps, empty pools and access, worked out by hand from domain.md."""

from tests.oracle.story import Told, call, capped, pack, started, tick


def test_allowance_alerts_fire_once_per_level_and_period() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", included_minutes=1),
            call("a", "2026-11-02T00:00:00Z", 47),
            call("b", "2026-11-02T00:00:00Z", 1),
            call("c", "2026-11-02T00:00:00Z", 0),
            call("d", "2026-11-02T00:00:00Z", 60),
            call("e", "2026-12-02T00:00:00Z", 54),
        ]
    )
    assert told.alerts == [("allowance", level) for level in (80, 90, 100, 80, 90)]
    first = told.on("alerts")[0]
    assert first["alert_id"] == "acct:sub:20261101T000000Z:allowance:80"
    assert (first["used"], first["limit"]) == (48, 60)


def test_a_hard_cap_pauses_until_it_is_raised_or_the_period_ends() -> None:
    cap = {"minutes": 1, "spend_micros": None, "mode": "hard", "alerts_percent": [100, 80]}
    told = Told(
        [
            started("2026-11-01T00:00:00Z", cap=cap),
            call("a", "2026-11-02T00:00:00Z", 48),
            call("b", "2026-11-02T00:00:00Z", 12),
            call("c", "2026-11-02T00:00:00Z", 30),
            capped("2026-11-03T00:00:00Z", 2),
            call("d", "2026-11-03T00:00:00Z", 30),
            tick("2026-12-01T00:00:00Z"),
        ]
    )
    assert told.alerts == [("cap", 80), ("cap", 100)]
    assert told.access == [["cap_reached"], [], ["cap_reached"], []]
    assert told.calls("overage_s") == [48, 12, 30, 30]
    soft = Told([started("2026-11-01T00:00:00Z", cap=cap | {"mode": "soft"}), call("a", "2026-11-02T00:00:00Z", 60)])
    assert (soft.alerts, soft.access) == ([("cap", 80), ("cap", 100)], [])


def test_a_cap_on_spend() -> None:
    told = Told(
        [
            started("2026-11-01T00:00:00Z", included_minutes=1, connection_fee_micros=1_000),
            capped("2026-11-01T00:00:00Z", None, spend_micros=5_000),
            *(call(f"c{i}", "2026-11-02T00:00:00Z", 10) for i in range(5)),
        ]
    )
    assert [
        (value["level"], value["used"], value["limit"]) for value in told.on("alerts") if value["type"] == "cap"
    ] == [
        (80, 4_000, 5_000),
        (100, 5_000, 5_000),
    ]
    assert told.access == [["cap_reached"]]


def test_an_account_stays_off_while_one_reason_is_left() -> None:
    terms = {"overage": "blocked", "included_minutes": 1, "allowance_alerts_percent": []}
    told = Told(
        [
            started("2026-11-01T00:00:00Z", **terms),
            capped("2026-11-01T00:00:00Z", 1),
            call("a", "2026-11-02T00:00:00Z", 70),
            capped("2026-11-03T00:00:00Z", 10),
            pack("2026-11-04T00:00:00Z", 1),
        ]
    )
    assert told.calls("allowance_s", "written_off_s", "amount_micros") == [(60, 10, 0)]
    assert told.access == [["cap_reached", "pools_empty"], ["pools_empty"], []]
    assert [value["reason"] for value in told.on("access-events")] == ["cap_reached", "pools_empty", "ok"]
    assert [value["allowed"] for value in told.on("access-events")] == [False, False, True]


def test_pools_are_empty_when_credit_cannot_pay_one_more_second() -> None:
    start = started("2026-11-01T00:00:00Z", overage="blocked")
    assert Told([start]).access == [["pools_empty"]]
    assert Told([start, pack("2026-11-02T00:00:00Z", 0, 1_999)]).access == [["pools_empty"]]
    assert Told([start, pack("2026-11-02T00:00:00Z", 0, 2_000)]).access == [["pools_empty"], []]
    assert Told([started("2026-11-01T00:00:00Z", overage="billed")]).access == []
