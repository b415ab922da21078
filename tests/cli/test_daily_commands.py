"""The daily commands on the real broker: what they write, what they refuse, and that repeating them is safe."""

from catalogue.collection import Entry
from catalogue.load import loads
from catalogue.model import Assignment
from catalogue.store import editing, read
from streams.accounts import account_state, running_subscriptions
from streams.topics import ACCOUNT_EVENTS, BILLING_EVENTS, DEAD_LETTERS
from tests.broker import command, process, produce, read_topic, read_values, wait_until
from tests.catalogue.test_load import GOOD
from tests.cli.commands import facts

SHOP = """\
agencies:
  acme: {name: Acme Voice, timezone: America/New_York, currency: USD}
  beta: {name: Beta, currency: EUR}
plans:
  starter: {agency: acme, price: 49.00, every: 1 month, included_minutes: 100, packs: [boost-60], \
description: One line}
  euro: {agency: acme, currency: EUR, every: month}
  basic: {agency: beta, every: week}
packs:
  boost-60: {agency: acme, minutes: 60, price: 9.00}
  other: {agency: acme, minutes: 10, price: 1.00}
  euros: {agency: acme, currency: EUR, credit: 5, price: 5}
accounts:
  acct_1: {agency: acme, name: Jane Dental}
  acct_2: {agency: acme, name: Joe}
  acct_3: {agency: beta, name: Bob}
"""


REFUSED_AS_GIVEN = [
    ("subscribe acct_9 starter", "there is no account 'acct_9' in the catalogue; did you mean acct_3?"),
    ("subscribe acct_1 startr", "agency acme has no plan 'startr'; did you mean starter?"),
    ("subscribe acct_1 beta/basic", "wrong_agency: beta/basic is a plan of beta, but the account belongs to acme"),
    ("subscribe acct_1 starter --at 2026-11-01T00:00", "'2026-11-01T00:00' is no time; write a date such as "
        "2026-11-01 (midnight in America/New_York) or a time with its zone such as 2026-11-01T00:00:00-05:00"),
    ("subscribe acct_1 starter --id=", "--id '': an id has 1 to 128 bytes and no white space"),
    ("apply-pack acct_1 boost", "agency acme has no pack 'boost'; did you mean boost-60?"),
    ("apply-pack acct_1 boost-60", "no_subscription: account acct_1 was never subscribed"),
    ("wallet adjust acct_1 --minutes 5 --reason x", "no_subscription: account acct_1 was never subscribed"),
    ("wallet adjust acct_1 --reason x", "say what to adjust: --minutes, --credit or both"),
    ("wallet adjust acct_1 --credit 1.5.5 --reason x", "--credit must be an amount such as 49.00, with at most six "
        "decimal places"),
    ("cancel acct_1", "no_subscription: acct_1 has no active subscription"),
    ("cancel acct_1 --when later", "--when must be now or period_end"),
]  # fmt: skip


async def test_subscribe_freezes_the_terms_into_a_fact_and_prints_its_id(shop, callmeter):
    ran = await callmeter("subscribe", "acct_1", "starter", "--at", "2026-11-01", "--id", "f1")
    [fact] = await facts(shop)
    assert ran.out == (
        f"acct_1 is on starter from 2026-11-01T04:00:00Z: subscription {fact['subscription_id']}\nfact f1\n"
    )
    assert (fact["type"], fact["fact_id"], fact["at"]) == ("subscription.started", "f1", "2026-11-01T04:00:00Z")
    assert fact["terms"]["price_micros"] == 49_000_000
    assert (await read(shop)).assignment("acct_1").plan == "starter"


async def test_assign_shows_the_plan_and_start_starts_it(shop, callmeter):
    refused = await callmeter("start", "acct_1")
    assert refused.error == (
        "no plan is assigned to acct_1; run `callmeter assign acct_1 PLAN`, or `callmeter subscribe`"
    )
    shown = await callmeter("assign", "acct_1", "starter")
    assert "acct_1 is offered starter" in shown.out
    assert "One line" in shown.out
    assert "49.00 USD every month" in shown.out
    assert await facts(shop) == []
    assert (await callmeter("start", "acct_1", "--id", "f1", "--json")).json["fact"]["terms"]["plan"] == "starter"


async def test_the_same_id_again_changes_nothing_whether_the_meter_runs_or_not(shop, callmeter):
    subscribe = ("subscribe", "acct_1", "starter", "--at", "2026-11-01", "--id", "f1")
    first = await callmeter(*subscribe, "--json")
    again = await callmeter(*subscribe)
    assert again.out == "nothing to do: this fact was applied before\nfact f1\n"
    # As if the first one had not been known: the very same bytes once more.
    await produce(shop, [first.json["fact"]])
    values = [record.value for record in await read_topic(shop, ACCOUNT_EVENTS)]
    assert len(values) == 2
    with process(shop, "meter"):
        await wait_until(lambda: account_state(shop, "acct_1"), what="the account")
        assert (await callmeter(*subscribe, "--json")).json["sent"] is False
        await callmeter("apply-pack", "acct_1", "boost-60", "--id", "p1", "--at", "2026-11-02")
        await callmeter("apply-pack", "acct_1", "boost-60", "--id", "p1", "--at", "2026-11-02")

        async def wallet():
            return (await account_state(shop, "acct_1"))["wallet_left_s"]

        await wait_until(wallet, what="the pack")
        assert await wallet() == 3_600
        assert (await running_subscriptions(shop)).keys() == {("acme", "starter")}
    events = [event["type"] for event in await read_values(shop, BILLING_EVENTS)]
    assert sorted(events) == ["cycle.opened", "pack.credited", "subscription.status_changed"]
    assert await read_values(shop, DEAD_LETTERS) == []


async def test_apply_says_how_many_subscriptions_stay_on_old_terms(shop, callmeter, tmp_path):
    for account in ("acct_1", "acct_2"):
        await callmeter("subscribe", account, "starter", "--at", "2026-11-01")
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.replace("49.00", "59.00"))
    with process(shop, "meter"):
        for account in ("acct_1", "acct_2"):
            await wait_until(lambda account=account: account_state(shop, account), what=account)
    ran = await callmeter("catalogue", "apply", str(file), "--yes")
    assert "2 running subscriptions stay on old terms" in ran.out
    assert (await callmeter("catalogue", "apply", str(file), "--yes")).out == "nothing to change\n"


async def test_what_is_known_to_be_wrong_is_refused_before_it_is_sent(shop, callmeter):
    for arguments, error in REFUSED_AS_GIVEN:
        ran = await callmeter(*arguments.split())
        assert (ran.code, ran.error) == (1, error)
    assert await facts(shop) == []


async def test_what_the_accounts_state_forbids_is_refused_in_the_meters_words(shop, callmeter):
    started = (await callmeter("subscribe", "acct_1", "starter", "--at", "2026-11-01", "--json")).json["fact"]
    sub = started["subscription_id"]
    for arguments, error in [
        ("subscribe acct_1 starter --at 2026-12-01", f"already_subscribed: subscription {sub} is active"),
        ("subscribe acct_1 euro --at 2026-12-01", "wrong_currency: the account is in USD, the terms are in EUR"),
        ("apply-pack acct_1 other", "packs_not_allowed: the terms do not allow pack 'other'"),
        ("apply-pack acct_1 euros", "wrong_currency: the account is in USD, the pack in EUR"),
        (
            "wallet adjust acct_1 --minutes -5 --reason x",
            "illegal_change: wallet (-300 s) or credit (0 micros) would be",
        ),
        ("cancel acct_1 --when now --at 2026-10-01", "illegal_change: at is before the start"),
    ]:
        ran = await callmeter(*arguments.split())
        assert ran.code == 1
        assert ran.error.startswith(error)
    assert len(await facts(shop)) == 1
    assert (await read(shop)).assignment("acct_1").plan == "starter"


async def test_an_account_of_another_agency_in_the_log_is_refused(shop, callmeter):
    await callmeter("subscribe", "acct_3", "basic", "--at", "2026-11-01")
    [fact] = await facts(shop)
    stolen = {**fact, "account_id": "acct_1", "fact_id": "x"}
    await produce(shop, [stolen])
    ran = await callmeter("cap", "set", "acct_1", "--minutes", "5")
    assert ran.error == "wrong_agency: the account belongs to another agency"


async def test_packs_wallet_and_cancellation_write_their_facts(shop, callmeter):
    await callmeter("subscribe", "acct_1", "starter", "--at", "2026-11-01")
    at = ("--at", "2026-11-02")
    pack = await callmeter("apply-pack", "acct_1", "acme/boost-60", *at, "--id", "p1")
    assert pack.out == "acct_1 gets pack boost-60, 60 minutes, for 9.00 USD\nfact p1\n"
    moved = ("--minutes", "-5", "--credit", "2.50", "--reason", "goodwill")
    adjusted = await callmeter("wallet", "adjust", "acct_1", *moved, *at, "--id", "w1")
    assert adjusted.out == "acct_1: wallet -5 minutes, credit 2.50; now 55:00 and 2.50 USD\nfact w1\n"
    ended = await callmeter("cancel", "acct_1", "--when", "now", "--at", "2026-11-20", "--json")
    written = (await facts(shop))[1:]
    assert [fact["type"] for fact in written] == [
        "pack.applied", "wallet.adjusted", "subscription.canceled",
    ]  # fmt: skip
    assert (written[0]["price_micros"], written[0]["currency"]) == (9_000_000, "USD")
    assert (written[1]["minutes"], written[1]["credit_micros"], written[1]["reason"]) == (-5, 2_500_000, "goodwill")
    assert written[2] == ended.json["fact"]
    assert (written[2]["when"], written[2]["at"]) == ("now", "2026-11-20T05:00:00Z")
    again = await callmeter("subscribe", "acct_1", "starter", "--at", "2026-11-20", "--json")
    assert again.json["fact"]["subscription_id"] != written[2]["subscription_id"]


async def test_a_retired_plan_is_not_started(shop, callmeter):
    offered = Entry("acme", "assignment", "acct_1", Assignment(agency="acme", plan="starter"))
    plan = loads(SHOP).entries["acme/plan/starter"]
    async with editing(shop) as editor:
        await editor.write([offered, Entry("acme", "plan", "starter", plan.body, retired=True)])
    assert (await callmeter("start", "acct_1")).error == "retired: plan acme/starter is no longer sold"


def test_help_comes_at_once_and_a_refusal_is_one_line_of_the_real_command(settings):
    assert "apply-pack" in command(settings, "--help").stdout
    ran = command(settings, "subscribe", "acct_1", "starter")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert (
        ran.stderr
        == "error: there is no account 'acct_1' in the catalogue; add it with `callmeter catalogue apply FILE`\n"
    )


def test_the_example_of_the_issue_is_one_that_can_be_subscribed_to():
    assert loads(GOOD).plan("starter", "acme")[0] == "starter"
