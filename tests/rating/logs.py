"""A log with everything in it, and outputs of the core made comparable."""

import random
from collections import defaultdict

from rating.outputs import DeadLetter
from tests.rating.builders import call, pack, subscription, tick

ACCOUNTS = [f"acct_{n}" for n in range(12)]


def a_log(seed, calls=400):
    """Facts of twelve accounts over two months, with late calls, duplicates, packs, bad records and ticks."""
    rnd = random.Random(seed)
    cap = {"minutes": 30, "spend_micros": None, "mode": "hard", "alerts_percent": [50, 100]}
    for n, account in enumerate(ACCOUNTS):
        late = ["next_period", "adjust", "write_off"][n % 3]
        yield subscription(
            account=account, sub=f"sub_{n}", late_calls=late, late_window_s=900 * (n % 2),
            cap=cap if n % 4 == 0 else None,
            interval="week" if n % 5 == 0 else "month", overage="blocked" if n % 3 == 0 else "billed",
        )  # fmt: skip
    for number in range(calls):
        day, second = divmod(number * 60 * 86_400 // calls, 86_400)
        month, day = (11, day + 1) if day < 30 else (12, day - 29)
        time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        account = rnd.choice(ACCOUNTS)
        answered = f"2026-{month}-{max(day - rnd.choice([0, 0, 0, 0, 9]), 1):02d}T{time}Z"
        ended = answered[:17] + "59.5Z"
        yield call(rnd.randrange(calls), ended, answered, account, outcome=rnd.choice(["answered", "busy"]))
        if number % 37 == 0:
            yield pack(number, account=account)
        if number % 20 == 0:
            yield tick(f"2026-{month}-{day:02d}T{time}Z")
        if number % 50 == 0:
            yield b"\xff not a fact"
    yield tick("2027-01-01T00:00:00Z")


def by_topic_and_account(pairs):
    found = defaultdict(list)
    for topic, key, value in pairs:
        if isinstance(value, DeadLetter):
            value = (value.reason, value.value)
        else:
            value = value[: value.index(b',"source_')]
        found[topic, key].append(value)
    return found
