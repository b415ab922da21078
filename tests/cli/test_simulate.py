"""`callmeter simulate`: a file of facts in, everything that follows from it out, with no broker."""

import json

import pytest

from tests.catalogue.test_load import GOOD
from tests.cli.commands import run


def call(number, start="2026-11-03T10:15:30Z", answered="2026-11-03T10:15:36.5Z", end="2026-11-03T10:19:39.7Z", **more):
    return {
        "type": "call.completed", "call_id": f"c{number}", "account_id": "acct_1", "agency_id": "acme",
        "direction": "outbound", "started_at": start, "answered_at": answered, "ended_at": end, "outcome": "answered",
        **more,
    }  # fmt: skip


def lines(*facts):
    return "".join((fact if isinstance(fact, str) else json.dumps(fact)) + "\n" for fact in facts)


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture
def facts(tmp_path):
    def write(*facts):
        file = tmp_path / "facts.jsonl"
        file.write_text(lines(*facts))
        return str(file)

    return write


def outputs(ran, topic=None):
    assert ran.code == 0, ran.error
    printed = [json.loads(line) for line in ran.out.splitlines()]
    return [one["value"] for one in printed if one["topic"] == topic] if topic else printed


def test_every_output_is_a_json_line_in_order_and_a_bad_line_ends_nothing(shop, facts):
    ran = run(
        "simulate", facts(call(1), "not json", call(1), call(2)), "--catalogue", shop, "--subscribe", "acct_1=starter"
    )
    assert [one["topic"] for one in outputs(ran)] == [
        "billing-events", "billing-events", "rated-calls", "dead-letters", "duplicates", "rated-calls",
    ]  # fmt: skip
    assert all(set(one) == {"topic", "key", "value"} for one in outputs(ran))
    assert outputs(ran, "rated-calls")[0]["billed_s"] == 246
    assert outputs(ran, "dead-letters")[0]["value"] == "not json"


def test_without_a_catalogue_the_file_itself_says_who_is_subscribed(facts):
    ran = run("simulate", facts(call(1)))
    assert [one["reason"] for one in outputs(ran, "dead-letters")] == ["no_subscription"]


def test_a_subscription_without_a_time_starts_with_the_month_of_the_first_call_on_the_agencys_clock(shop):
    # 03:30 UTC on the first of November is still October in New York.
    first = call(1, "2026-11-01T03:30:00Z", None, "2026-11-01T03:31:00Z")
    ran = run("simulate", "-", "--catalogue", shop, "--subscribe", "acct_1=starter", stdin=lines(call(2), first, "{"))
    assert outputs(ran, "billing-events")[0]["at"] == "2026-10-01T04:00:00Z"
    assert len(outputs(ran, "rated-calls")) == 2


@pytest.mark.parametrize(
    ("time", "at"), [("2026-11-02", "2026-11-02T05:00:00Z"), ("2026-11-02T01:00:00+01:00", "2026-11-02T00:00:00Z")]
)
def test_a_subscription_starts_when_it_is_told_to(shop, facts, time, at):
    file = facts(call(1))
    ran = run("simulate", file, "--catalogue", shop, "--subscribe", f"acct_1=acme/starter@{time}")
    assert outputs(ran, "billing-events")[0]["at"] == at


def test_a_file_and_standard_input_give_the_same(shop, facts):
    file = facts(call(1), call(2))
    options = ["--catalogue", shop, "--subscribe", "acct_1=starter"]
    with open(file) as content:
        piped = run("simulate", "-", *options, stdin=content.read())
    assert run("simulate", file, *options).out == piped.out


def test_until_lets_periods_close_on_every_agencys_clock(shop, facts):
    file = facts(call(1))
    ran = run("simulate", file, "--catalogue", shop, "--subscribe", "acct_1=starter", "--until", "2027-01-01")
    kinds = [event["type"] for event in outputs(ran, "billing-events")]
    assert kinds.count("cycle.closed") == 2
    assert kinds.count("cycle.opened") == 3


def test_the_table_adds_up_per_account(shop, facts):
    many = [call(number) for number in range(30)]
    file = facts(*many, many[0], call(99, agency_id="other"))
    options = ["--catalogue", shop, "--subscribe", "acct_1=starter", "--until", "2026-12-01", "--table"]
    found = run("simulate", file, *options, "--json").json
    assert found["accounts"] == [
        {
            "account_id": "acct_1", "currency": "USD", "plan": "starter", "calls": 30, "billed_s": 7380,
            "allowance_s": 6000, "wallet_s": 0, "credit_s": 0, "overage_s": 1380, "written_off_s": 0,
            "amount_micros": 2_760_000, "alerts": ["allowance 80 %", "allowance 90 %", "allowance 100 %"],
        }
    ]  # fmt: skip
    assert [(one["kind"], one["total_micros"]) for one in found["requests"]] == [
        ("cycle", 49_000_000), ("cycle", 49_000_000), ("usage", 2_760_000),
    ]  # fmt: skip
    assert (found["duplicates"], found["dead_letters"], found["open_usage"]) == (1, {"wrong_agency": 1}, [])
    text = run("simulate", file, *options).out
    for shown in ("acct_1", "123:00", "100:00", "23:00", "2.76 USD", "49.00 USD", "alerts for acct_1: allowance 80 %"):
        assert shown in text
    assert "not rated: 1 wrong_agency" in text


def test_usage_of_an_open_period_is_shown_as_not_asked_for_yet(shop, facts):
    file = facts(*[call(number) for number in range(30)])
    text = run("simulate", file, "--catalogue", shop, "--subscribe", "acct_1=starter", "--table").out
    assert "not asked for yet: 2.76 USD of acct_1, whose period from 2026-11-01T04:00:00Z is open" in text


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--subscribe", "acct_1=starter"], "--subscribe needs the plans: --catalogue FILE"),
        (["--catalogue", "{shop}", "--subscribe", "acct_1"], "--subscribe 'acct_1': write ACCOUNT=PLAN or "
            "ACCOUNT=PLAN@TIME, such as acct_1=starter"),
        (["--catalogue", "{shop}", "--subscribe", "acct_2=starter"], "there is no account 'acct_2' in the catalogue; "
            "did you mean acct_1?"),
        (["--catalogue", "{shop}", "--subscribe", "acct_1=start"], "agency acme has no plan 'start'; did you mean "
            "starter?"),
        (["--until", "soon"], "'soon' is no time; write a date such as 2026-11-01 (midnight in UTC) or a time with its "
            "zone such as 2026-11-01T00:00:00-05:00"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(shop, facts, options, error):
    ran = run("simulate", facts(call(1)), *[option.format(shop=shop) for option in options])
    assert (ran.code, ran.out, ran.error) == (1, "", error)


def test_a_file_that_is_not_there_and_one_that_says_no_time_are_named(shop, facts):
    assert run("simulate", "nope.jsonl").error == "cannot read nope.jsonl: No such file or directory"
    ran = run("simulate", facts("x"), "--catalogue", shop, "--subscribe", "acct_1=starter")
    assert ran.error == ("no fact says when it was; say when the subscription starts: --subscribe ACCOUNT=PLAN@TIME")
