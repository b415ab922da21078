"""Packs, top-ups and the catalogue's caps by command: what is written, shown and refused."""

from streams.topics import AGENCY_EVENTS
from tests.broker import process, produce, read_values, wait_until
from tests.cli.commands import facts
from tests.rating.builders import call, encode

SHOP = """\
agencies:
  acme: {name: Acme Voice, timezone: America/New_York, currency: USD}
plans:
  starter: {agency: acme, price: 49.00, every: 1 month, included_minutes: 10, overage: 0.12 per minute, \
packs: [boost-60, money]}
packs:
  boost-60: {agency: acme, minutes: 60, price: 9.00}
  money: {agency: acme, credit: 5, price: 4.50}
  other: {agency: acme, minutes: 10, price: 1.00}
  euros: {agency: acme, currency: EUR, minutes: 10, price: 5}
accounts:
  acct_1: {agency: acme, name: Jane Dental}
  acct_2: {agency: acme, name: Joe, packs: [boost-60]}
"""
BOOST = {"pack": "boost-60", "minutes": 60, "credit_micros": 0, "price_micros": 9_000_000, "currency": "USD"}


async def test_packs_that_an_account_may_buy_are_listed(shop, callmeter):
    assert (await callmeter("packs list acct_2 --json")).json == [BOOST]
    listed = (await callmeter("packs list acct_1 --json")).json
    assert [one["pack"] for one in listed] == ["boost-60", "euros", "money", "other"]
    shown = (await callmeter("packs list acct_1")).out
    for text in ("Packs of acct_1", "boost-60", "9.00 USD", "5.00 EUR", "4.50 USD"):
        assert text in shown, text
    assert (await callmeter("packs list acct_9")).error == (
        "there is no account 'acct_9' in the catalogue; did you mean acct_2?"
    )


async def test_a_top_up_is_set_bought_and_cleared(shop, callmeter):
    await callmeter("subscribe acct_1 starter --at 2026-11-01")
    ran = await callmeter("top-up set acct_1 acme/boost-60 --below-minutes 10 --most-per-month 3 --id t1")
    assert ran.out == "acct_1 buys pack boost-60 below 10 minutes, at most 3 times a month\nfact t1\n"
    again = await callmeter("top-up set acct_1 boost-60 --below-minutes 10 --most-per-month 3 --id t1")
    assert again.out == "nothing to do: this fact was applied before\nfact t1\n"
    credit = await callmeter("top-up set acct_1 money --below-credit 2.50 --most-per-month 1 --at 2026-11-02 --json")
    assert credit.json["fact"]["top_up"] == {
        "pack": "money", "minutes": 0, "credit_micros": 5_000_000, "price_micros": 4_500_000, "currency": "USD",
        "below_micros": 2_500_000, "most_per_month": 1,
    }  # fmt: skip
    await callmeter("top-up set acct_1 boost-60 --below-minutes 10 --most-per-month 1 --id t2")
    cleared = await callmeter("top-up clear acct_1 --id t3")
    assert cleared.out == "acct_1: no top-up\nfact t3\n"
    written = (await facts(shop))[1:]
    assert [fact["type"] for fact in written] == ["top_up.set"] * 4
    assert [written[0]["top_up"]["below_s"], written[-1]["top_up"]] == [600, None]


async def test_the_meter_buys_what_was_set(shop, callmeter):
    await callmeter("subscribe acct_1 starter --at 2026-11-01")
    await callmeter("top-up set acct_1 boost-60 --below-minutes 10 --most-per-month 3 --at 2026-11-01")
    # Eleven minutes of ten.
    await produce(shop, encode([{**call(1, "2026-11-03T10:11:00Z"), "agency_id": "acme"}]))
    with process(shop, "meter"):

        async def bought():
            events = await read_values(shop, "billing-events")
            return [one for one in events if one["type"] == "pack.credited"]

        [event] = await wait_until(bought, 60, "the top-up")
    assert (event["pack"], event["automatic"], event["wallet_left_s"]) == ("boost-60", True, 3_600)


NO_TOP_UPS = [
    ("set acct_1 boost-60 --most-per-month 3", "say when: --below-minutes or --below-credit, one of them"),
    ("set acct_1 boost-60 --below-minutes 1 --below-credit 1 --most-per-month 3", "say when: --below-minutes or"),
    ("set acct_1 boost-60 --below-credit x --most-per-month 3", "--below-credit must be an amount such as 49.00"),
    (
        "set acct_1 boost-60 --below-credit 1 --most-per-month 3",
        "pack boost-60 has no credit, so it would not",
    ),
    ("set acct_1 money --below-minutes 1 --most-per-month 3", "pack money has no minutes, so it would not fill"),
    ("set acct_1 boost --below-minutes 1 --most-per-month 3", "agency acme has no pack 'boost'; did you mean"),
    ("set acct_2 money --below-credit 1 --most-per-month 3", "packs_not_allowed: pack money is not assigned to"),
    ("set acct_1 other --below-minutes 1 --most-per-month 3", "packs_not_allowed: the terms do not allow pack"),
    ("set acct_1 euros --below-minutes 1 --most-per-month 3", "wrong_currency: the account is in USD"),
    ("set acct_2 boost-60 --below-minutes 1 --most-per-month 3", "no_subscription: account acct_2 was never"),
    ("clear acct_2", "no_subscription: account acct_2 was never subscribed"),
]


async def test_what_is_no_top_up_is_refused_before_it_is_sent(shop, callmeter):
    await callmeter("subscribe acct_1 starter --at 2026-11-01")
    for arguments, error in NO_TOP_UPS:
        ran = await callmeter(f"top-up {arguments}")
        assert (ran.code, ran.error[: len(error)]) == (1, error), arguments
    assert len(await facts(shop)) == 1


async def test_a_top_up_says_how_often_at_most(shop, callmeter):
    for arguments in ("--below-minutes 1", "--below-minutes 1 --most-per-month 0"):
        assert (await callmeter(f"top-up set acct_1 boost-60 {arguments}")).code == 2


CAPS = """\
  acct_1: {agency: acme, name: Jane Dental, caps: {daily: {minutes: 120, per: day}}}
  acct_2: {agency: acme, name: Joe, packs: [boost-60], caps: {loss: {margin: -5, mode: soft}}}
"""
DAILY = {"name": "daily", "on": "minutes", "limit": 120, "per": "day", "mode": "hard", "alerts_percent": [80, 100]}
LOSS = {"name": "loss", "on": "margin", "limit": -5_000_000, "per": "period", "mode": "soft",
        "alerts_percent": [80, 100]}  # fmt: skip


async def test_caps_of_the_catalogue_are_set_by_apply_or_by_the_first_subscription(shop, callmeter, tmp_path):
    await callmeter("subscribe acct_1 starter --at 2026-11-01")
    file = tmp_path / "shop.yaml"
    head = SHOP.partition("  acct_1")[0]
    all_caps = "currency: USD, caps: {all: {minutes: 9000}, spend: {spend: 100, per: day}}"
    file.write_text(head.replace("currency: USD", all_caps) + CAPS)
    dry = await callmeter("catalogue", "apply", str(file), "--dry-run")
    assert dry.out.count("caps are set at once") == 2
    assert "caps are set when it is subscribed" in dry.out
    assert len(await facts(shop)) == 1
    done = await callmeter("catalogue", "apply", str(file), "--yes", "--json")
    assert [(one["id"], one["caps"]) for one in done.json["changes"]] == [
        ("acme", "at_once"), ("acct_1", "at_once"), ("acct_2", "when_subscribed"),
    ]  # fmt: skip
    [agency] = await read_values(shop, AGENCY_EVENTS)
    assert (agency["type"], agency["agency_id"]) == ("agency.caps_set", "acme")
    assert [(cap["name"], cap.get("currency")) for cap in agency["caps"]] == [("all", None), ("spend", "USD")]
    own = [fact for fact in await facts(shop) if fact["account_id"] == "acct_1"][1:]
    assert [(fact["type"], fact["caps"]) for fact in own] == [("caps.set", [DAILY])]
    assert (await callmeter("catalogue", "apply", str(file), "--yes")).out == "nothing to change\n"
    # What a command sets stays until the file says something else.
    await callmeter("cap set acct_1 --name daily --minutes 300 --per day")
    assert (await callmeter("catalogue", "apply", str(file), "--yes")).out == "nothing to change\n"
    assert (await callmeter("cap list acct_1 --json")).json[0]["limit"] == 18_000
    # The first subscription brings the caps with it, a later one does not.
    started = (await callmeter("subscribe acct_2 starter --at 2026-11-01 --id s1 --json")).json
    assert [(fact["type"], fact["caps"]) for fact in started["also"]] == [("caps.set", [LOSS])]
    assert (await callmeter("subscribe acct_2 starter --at 2026-11-01 --id s1 --json")).json["sent"] is False
    await callmeter("cap clear acct_2 --all")
    await callmeter("cancel acct_2 --when now --at 2026-11-10")
    again = (await callmeter("subscribe acct_2 starter --at 2026-11-11 --json")).json
    assert "also" not in again
    # A file that says nothing of them any more takes them away.
    file.write_text(SHOP)
    await callmeter("catalogue", "apply", str(file), "--yes")
    assert (await callmeter("cap list acct_1 --json")).json == []
    assert (await callmeter("cap list --agency acme --json")).json == []
