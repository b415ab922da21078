"""Puts two runs of one log side by side: per topic and account, the outputs in order."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import zip_longest
from typing import Any

Output = dict[str, Any]
TOPICS = (
    "rated-calls",
    "billing-events",
    "alerts",
    "access-events",
    "duplicates",
    "dead-letters",
    "payment-requests",
)
# Words meant for people, and positions in a log the oracle knows nothing of.
FREE_IN_LINES = {"line_id", "description", "unit"}


def comparable(output: Output) -> Output:
    """The part of an output's value that must be equal."""
    value = output["value"]
    if output["topic"] == "dead-letters":
        return {"reason": value["reason"], "value": value["value"]}
    kept = {name: item for name, item in value.items() if not name.startswith("source_")}
    if output["topic"] == "billing-events" and "lines" in kept:
        kept["lines"] = [
            {name: item for name, item in line.items() if name not in FREE_IN_LINES} for line in kept["lines"]
        ]
    return kept


def by_topic_and_account(outputs: Iterable[Output]) -> dict[tuple[str, str | None], list[Output]]:
    grouped = defaultdict(list)
    for output in outputs:
        if output["topic"] in TOPICS:
            # The key of a payment request is the request; its partition is the account's.
            account = output["value"]["account_id"] if output["topic"] == "payment-requests" else output["key"]
            grouped[output["topic"], account].append(comparable(output))
    return dict(grouped)


def _agree(ours: Output | None, theirs: Output | None) -> bool:
    """More fields may be added to an output; those the oracle knows must be there and equal."""
    if ours is None or theirs is None:
        return False
    return all(name in theirs and theirs[name] == item for name, item in ours.items())


def first_difference(expected: Iterable[Output], found: Iterable[Output]) -> str | None:
    """One line per differing field of the first output that differs, None if all agree."""
    ours, theirs = by_topic_and_account(expected), by_topic_and_account(found)
    for topic, account in sorted(ours.keys() | theirs.keys(), key=str):
        one, other = ours.get((topic, account), []), theirs.get((topic, account), [])
        place = next((i for i, pair in enumerate(zip_longest(one, other)) if not _agree(*pair)), None)
        if place is None:
            continue
        a, b = (side[place] if place < len(side) else {} for side in (one, other))
        names = [name for name in a or b if a.get(name, "-") != b.get(name, "-")]
        shown = "\n".join(f"  {name}: oracle {a.get(name, '-')!r}, core {b.get(name, '-')!r}" for name in names)
        return f"{topic} of {account}, output {place}:\n{shown}"
    return None


def smallest(lines: list[bytes], fails: Callable[[list[bytes]], bool]) -> list[bytes]:
    """A log that still fails and no longer does when any one of its lines goes."""
    step = max(1, len(lines) // 2)
    while True:
        start, shorter = 0, False
        while start < len(lines):
            candidate = lines[:start] + lines[start + step :]
            if fails(candidate):
                lines, shorter = candidate, True
            else:
                start += step
        if step == 1 and not shorter:
            return lines
        step = max(1, step // 2)
