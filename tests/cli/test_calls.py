"""`callmeter calls` on the real broker: what a correction writes, shows before it is sent, and refuses."""

import json

import pytest

from streams.accounts import account_state
from streams.topics import DEAD_LETTERS, RATED_CALLS
from tests.broker import process, produce, read_values, wait_until
from tests.cli.commands import facts
from tests.rating.builders import call, encode, subscription, tick

SHOP = "agencies: {ag_1: {name: Acme Voice, currency: USD}}\n"
# Ten minutes of the ten that are included, and two of overage at 0.12.
FIRST = call(1, "2026-11-03T10:10:00Z", "2026-11-03T10:00:00Z", campaign_id="camp_1", to_number="+4930123")
SECOND = call(2, "2026-11-03T11:02:00Z", "2026-11-03T11:00:00Z", cost_micros=50_000)


@pytest.fixture
async def rated(shop):
    """Two calls, rated by a meter that has ended since."""
    await produce(shop, encode([subscription(), FIRST, SECOND]))
    with process(shop, "meter"):

        async def both():
            return len(await read_values(shop, RATED_CALLS)) == 2

        await wait_until(both, 60, "rated calls")
    return shop


async def ratings(settings):
    return [one for one in await read_values(settings, RATED_CALLS) if "correction" in one]


async def test_only_what_changes_is_named_and_the_rest_is_as_it_was_reported(rated, callmeter):
    shorter = "calls correct acct_1 call_1 --ended-at 2026-11-03T10:04:00Z --id k1 --at 2026-11-04"
    dry = await callmeter(f"{shorter} --dry-run --json")
    assert (dry.json["sent"], dry.json["dry_run"]) == (False, True)
    assert (dry.json["refund"]["allowance_s"], dry.json["rerated"]["allowance_s"]) == (-600, 240)
    assert dry.json["rerated"]["allowance_left_s"] == 360
    shown = await callmeter(f"{shorter} --dry-run")
    for text in ("until now", "refund", "new rating", "10:00", "-10:00", "4:00", "would be: acct_1: call call_1 is"):
        assert text in shown.out, text
    assert shown.out.endswith("nothing was sent\n")
    assert len(await facts(rated)) == 3
    sent = await callmeter(shorter)
    assert sent.out.endswith("acct_1: call call_1 is corrected\nfact k1\n")
    fact = (await facts(rated))[-1]
    assert fact == {
        "type": "call.corrected", "fact_id": "k1", "account_id": "acct_1", "agency_id": "ag_1",
        "at": "2026-11-04T00:00:00Z", "corrects": "call_1", "campaign_id": "camp_1", "direction": "outbound",
        "to_number": "+4930123", "started_at": "2026-11-03T10:00:00Z", "answered_at": "2026-11-03T10:00:00Z",
        "ended_at": "2026-11-03T10:04:00Z", "outcome": "answered",
    }  # fmt: skip
    # What was shown is what the meter makes of it, to the byte.
    with process(rated, "meter"):
        await wait_until(lambda: ratings(rated), 60, "the correction")
    refund, rerated = await ratings(rated)
    assert refund == dry.json["refund"]
    assert rerated == dry.json["rerated"]
    again = await callmeter(shorter)
    assert again.out == "nothing to do: this fact was applied before\nfact k1\n"
    assert await read_values(rated, DEAD_LETTERS) == []


async def test_a_call_is_voided_and_comes_back_while_the_meter_is_away(rated, callmeter):
    voided = await callmeter('calls void acct_1 call_2 --reason "a test" --id v1')
    assert "acct_1: call call_2 is voided\nfact v1\n" in voided.out
    assert (await facts(rated))[-1]["reason"] == "a test"
    # The meter has rated neither yet: what is on its way counts.
    assert (await callmeter("calls void acct_1 call_2")).error == "illegal_change: call call_2 is voided already"
    back = await callmeter("calls correct acct_1 call_2 --id b1 --json")
    assert (back.json["refund"], back.json["rerated"]["overage_s"]) == (None, 120)
    other = await callmeter("calls correct acct_1 call_2 --cost 0.07 --tier gold --test --id b2 --json")
    assert (other.json["rerated"]["cost_micros"], other.json["rerated"]["billed_s"]) == (70_000, 0)
    assert other.json["fact"]["tier"] == "gold"
    with process(rated, "meter"):

        async def usage():
            return (await account_state(rated, "acct_1"))["calls"] == 2 and len(await ratings(rated)) == 4

        await wait_until(usage, 60, "the corrections")
    assert (await account_state(rated, "acct_1"))["usage_micros"] == 0
    assert await read_values(rated, DEAD_LETTERS) == []


async def test_a_call_that_the_meter_has_yet_to_rate_can_be_corrected(shop, callmeter):
    await produce(shop, encode([subscription(), FIRST]))
    ran = await callmeter("calls correct acct_1 call_1 --outcome no_answer --answered-at= --campaign= --json")
    assert (ran.json["rerated"]["billed_s"], ran.json["rerated"]["campaign_id"]) == (0, None)
    assert (ran.json["fact"]["answered_at"], ran.json["fact"]["campaign_id"]) == (None, None)


async def test_a_wholesale_price_does_not_become_a_reported_cost(shop, callmeter):
    terms = {"currency": "USD", "rate_micros_per_minute": 30_000}
    wholesale = {"type": "wholesale.set", "fact_id": "w1", "agency_id": "ag_1", "at": "2026-11-01T00:00:00Z"}
    await produce(shop, encode([{**wholesale, "terms": terms}, subscription(), FIRST]))
    ran = await callmeter("calls correct acct_1 call_1 --ended-at 2026-11-03T10:05:00Z --json")
    assert "cost_micros" not in ran.json["fact"]
    assert (ran.json["refund"]["cost_micros"], ran.json["rerated"]["cost_micros"]) == (-300_000, 150_000)


async def test_what_falls_on_a_closed_period_is_said_to_wait(shop, callmeter):
    await produce(shop, encode([subscription(), FIRST, SECOND, tick("2026-12-01T00:00:01Z")]))
    ran = await callmeter("calls void acct_1 call_2 --dry-run")
    assert "its period is closed: what differs waits as lines for the next request" in ran.out


async def test_where_the_meter_is_far_behind_a_call_is_not_called_unknown(shop, callmeter, monkeypatch):
    await produce(shop, encode([subscription(), FIRST]))
    # One fact is few enough to be looked at; the second is too many.
    monkeypatch.setattr("streams.accounts.MOST_PENDING", 1)
    ran = await callmeter("calls void acct_1 call_1")
    assert ran.error == "the meter is far behind, and has not rated call call_1 yet; try again later"


async def test_a_file_has_the_whole_call(rated, callmeter, tmp_path):
    file = tmp_path / "call.json"
    whole = {**FIRST, "ended_at": "2026-11-03T10:01:00Z"}
    del whole["campaign_id"]
    file.write_text(json.dumps(whole))
    ran = await callmeter("calls", "correct", "acct_1", "call_1", "--file", str(file), "--json")
    assert (ran.json["rerated"]["billed_s"], ran.json["rerated"]["campaign_id"]) == (60, None)
    assert ran.json["fact"]["corrects"] == "call_1"
    piped = await callmeter("calls correct acct_1 call_1 --file - --json", stdin=json.dumps(FIRST))
    assert piped.json["rerated"]["billed_s"] == 600
    for content, error in [
        ("{", f"{file} is not JSON: "),
        ("[]", f"{file} is no call: a JSON object"),
        (json.dumps({**whole, "call_id": "call_2"}), f"{file} is of another call: call_id is 'call_2', not 'call_1'"),
        (json.dumps({"direction": "web"}), "malformed: Object missing required field"),
    ]:
        file.write_text(content)
        ran = await callmeter("calls", "correct", "acct_1", "call_1", "--file", str(file))
        assert ran.error.startswith(error), ran.error
    assert (await callmeter("calls correct acct_1 call_1 --file nowhere")).error.startswith("cannot read nowhere: ")


async def test_what_is_no_correction_is_refused_before_it_is_sent(rated, callmeter):
    for arguments, error in [
        ("void acct_9 call_1", "no_subscription: account acct_9 was never subscribed"),
        ("void acct_1 call_9", "unknown_call: call call_9 was not rated, or too long ago to be found"),
        ("correct acct_1 call_9 --ended-at 2026-11-03T10:01:00Z", "unknown_call: call call_9 was not rated"),
        ("correct acct_1 call_1", "call call_1 was reported like that: say what changes, such as --ended-at, or"),
        ("correct acct_1 call_1 --ended-at 2026-11-03T11:10:00+01:00", "call call_1 was reported like that"),
        ("correct acct_1 call_1 --ended-at 2026-11-03T09:59:00Z", "impossible_times: "),
        ("correct acct_1 call_1 --ended-at 2026-10-01T00:00:00Z --started-at 2026-10-01 --answered-at 2026-10-01",
            "no_subscription: "),
        ("correct acct_1 call_1 --ended-at noon", "--ended-at: 'noon' is no time; write a date"),
        ("correct acct_1 call_1 --ended-at=", "--ended-at: a call has one"),
        ("correct acct_1 call_1 --outcome lost", "malformed: Invalid enum value 'lost' - at `$.outcome`"),
        ("correct acct_1 call_1 --direction up", "malformed: Invalid enum value 'up' - at `$.direction`"),
        ("correct acct_1 call_1 --cost 1,5", "--cost must be an amount such as 49.00"),
        ("correct acct_1 call_1 --cost -1", "--cost must not be negative"),
        ("correct acct_1 call_1 --cost 1 --cost-currency x", "malformed: "),
        ("correct acct_1 call_1 --tier gold --file x", "--file has the whole call: say it alone, or only what changes"),
        ("correct acct_1 call_1 --tier gold --id=", "--id '': an id has 1 to 128 bytes and no white space"),
        ("correct acct_1 call_1 --tier gold --at noon", "'noon' is no time; write a date"),
    ]:  # fmt: skip
        ran = await callmeter(f"calls {arguments}")
        assert ran.code == 1, arguments
        assert ran.error.startswith(error), ran.error
    assert len(await facts(rated)) == 3
