"""The golden log gives the golden outputs: by the core, by `callmeter simulate`, and by the meter on the broker."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from difflib import SequenceMatcher
from pathlib import Path

from rating.facts import TYPES
from streams.cards import put_card
from streams.topics import DEAD_LETTERS, PAYMENT_REQUESTS
from tests.broker import process, produce, read_topic, wait_until
from tests.golden import LOG, OUTPUTS, outputs_of, read_log, written_log
from tests.golden.cards import CARDS

RATING = Path(__file__).parents[2] / "rating"
# Needs partitions; and a dead letter that was sent again.
NOT_OF_A_SIMULATION = {"misrouted", "expired"}
SHOWN = 5
RENEW = "If it is meant: python -m tests.golden, read the diff, and say in the commit why bills change."


def first_differences(golden: list[bytes], found: list[bytes]) -> str:
    """The first outputs that differ, field by field; empty if none does."""
    told = []
    for change, a, b, c, d in SequenceMatcher(None, golden, found, autojunk=False).get_opcodes():
        if change == "equal":
            continue
        for at in range(max(b - a, d - c)):
            old, new = (golden[a + at] if a + at < b else None), (found[c + at] if c + at < d else None)
            told.append(_difference(old, new))
    more = [f"... and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
    return "\n".join([*told[:SHOWN], *more])


def _difference(old: bytes | None, new: bytes | None) -> str:
    if old is None or new is None:
        return f"{'new' if old is None else 'gone'}: {(new or old or b'')[:600].decode(errors='replace')}"
    was, now = json.loads(old), json.loads(new)
    if (was["topic"], was["key"]) != (now["topic"], now["key"]):
        return f"was: {old[:400].decode(errors='replace')}\nnow: {new[:400].decode(errors='replace')}"
    names = [*was["value"], *(name for name in now["value"] if name not in was["value"])]
    fields = [
        f"  {name}: was {_short(was['value'].get(name))}, now {_short(now['value'].get(name))}"
        for name in names
        if was["value"].get(name) != now["value"].get(name)
    ]
    where = was["value"].get("source_offset", was["value"].get("offset"))
    return "\n".join([f"{was['topic']} of {was['key']}, from line {where + 1} of the log:", *fields])


def _short(value: object) -> str:
    return repr(value)[:200]


def golden_outputs() -> list[bytes]:
    return OUTPUTS.read_bytes().split(b"\n")[:-1]


def test_the_log_is_the_story() -> None:
    assert LOG.read_bytes() == written_log(), "tests/golden/story.py tells another log. " + RENEW


def test_the_golden_log_gives_the_golden_outputs() -> None:
    found, golden = outputs_of(read_log()), golden_outputs()
    if found != golden:
        raise AssertionError(f"rating has changed:\n{first_differences(golden, found)}\n{RENEW}")


def test_the_log_has_every_type_of_fact_and_every_reason_of_a_dead_letter() -> None:
    outputs = [json.loads(line) for line in golden_outputs()]
    types = {fact.get("type") for line in story_facts() for fact in [line]}
    assert types >= TYPES
    source = "\n".join(path.read_text() for path in RATING.glob("*.py"))
    reasons = set(re.findall(r'(?:Refusal|Undecodable)\(\s*"([a-z_]+)"', source))
    assert len(reasons) > 10
    found = {output["value"]["reason"] for output in outputs if output["topic"] == DEAD_LETTERS}
    assert found == reasons - NOT_OF_A_SIMULATION
    topics = Counter(output["topic"] for output in outputs)
    assert set(topics) == {
        "rated-calls", "billing-events", "payment-requests", "alerts", "access-events", "duplicates", DEAD_LETTERS,
    }  # fmt: skip
    kinds = {output["value"].get("type") for output in outputs if output["topic"] == "billing-events"}
    assert kinds >= {"cycle.opened", "cycle.closed", "pack.credited", "usage.adjusted", "subscription.status_changed"}


def story_facts() -> list[dict[str, object]]:
    facts = []
    for line in read_log():
        try:
            fact = json.loads(line)
        except ValueError:
            continue
        if isinstance(fact, dict):
            facts.append(fact)
    return facts


def test_a_difference_is_told_field_by_field() -> None:
    golden = [b'{"topic":"rated-calls","key":"a","value":{"billed_s":5,"late":false,"source_offset":7}}']
    found = [golden[0].replace(b"5", b"6")]
    assert first_differences(golden, golden) == ""
    assert first_differences(golden, found) == ("rated-calls of a, from line 8 of the log:\n  billed_s: was 5, now 6")
    assert first_differences(golden, []).startswith("gone: ")


async def test_the_meter_gives_the_golden_outputs(make_settings) -> None:
    settings = make_settings(partitions=1)
    golden = by_topic(golden_outputs())
    for card in CARDS.values():
        await put_card(settings, card)
    await produce(settings, read_log())
    with process(settings, "meter"):

        async def complete():
            found = {name: await read_topic(settings, name) for name in golden}
            return found if all(len(found[name]) >= len(golden[name]) for name in golden) else None

        found = await wait_until(complete, 60, "the golden outputs")
    for name, records in found.items():
        if name == DEAD_LETTERS:
            letters = [{key: value.decode() for key, value in record.headers} for record in records]
            assert [(letter["reason"], letter["offset"]) for letter in letters] == [
                (value["reason"], str(value["offset"])) for value in map(json.loads, golden[name])
            ]
        else:
            own = [value for value in golden[name] if not of_an_agency(value)]
            told = [record.value for record in records if not of_an_agency(record.value)]
            # Behind the log there are numbers of payment requests: the pipeline gives them, not a simulation.
            assert (told[: len(own)] if name == PAYMENT_REQUESTS else told) == own, name
            # Of agencies, the position is that in another topic.
            assert [without_position(record.value) for record in records if of_an_agency(record.value)] == [
                without_position(value) for value in golden[name] if of_an_agency(value)
            ], name


def of_an_agency(value: bytes) -> bool:
    return b'"account_id":""' in value


def without_position(value: bytes) -> dict[str, object]:
    return {name: item for name, item in json.loads(value).items() if name != "source_offset"}


def by_topic(lines: list[bytes]) -> dict[str, list[bytes]]:
    """The values as they stand in the outputs, by topic."""
    found = defaultdict(list)
    for line in lines:
        found[json.loads(line)["topic"]].append(line.partition(b',"value":')[2][:-1])
    return dict(found)
