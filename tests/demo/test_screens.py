"""The demo's screens: every figure whole, on a terminal of 80 columns and on a wider one."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from demo.platform import Platform
from demo.screens import Screen, show_end
from demo.view import LiveView
from tests.demo.month import proof_of, rated

WIDTHS = (80, 100, 120)


@pytest.fixture(scope="module")
def month():
    platform = Platform(60, 8_000, 7)
    observed = rated(platform)
    return platform, observed, proof_of(platform, observed)


def shown(what, width):
    """What is seen of something on a terminal so wide."""
    console = Console(file=io.StringIO(), width=width, highlight=False)
    what(console) if callable(what) else console.print(what)
    return console.file.getvalue()


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_on_the_last_screens_is_cut_or_wider_than_the_terminal(month, width):
    _, observed, proof = month
    text = shown(lambda console: show_end(console, observed, proof), width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_of_the_live_view_is_cut(month, width):
    platform, observed, _ = month
    view = LiveView(platform, observed)
    text = shown(view, width)
    assert "…" not in text
    assert f"{observed.done():,} of {platform.records:,}" in text
    assert len(text.splitlines()) <= 24


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_the_story_is_wrapped(month, width):
    _, observed, proof = month
    story = shown(lambda console: show_end(console, observed, proof), width).split("\n\n")[0]
    assert [line for line in story.splitlines()[2:] if not re.match(r"  \d\d \w{3}  \S", line)] == []


def test_where_there_is_no_room_for_all_columns_those_that_may_be_missing_are_left_out():
    screen = Screen("Calls", "account*", "calls", "overage?", "amount", "cost?")
    screen.add_row("nordlicht-043", "1,234,567", "1,234,567:00", "12,345,678.90", "12,345,678.90")
    assert "overage" in shown(screen, 80)
    narrow = shown(screen, 60)
    assert "overage" not in narrow
    assert "cost" in narrow
    assert "cost" not in shown(screen, 50)
    assert "12,345,678.90" in shown(screen, 50)


STORY_OF_DEBTS = """
01 Nov   bay-fitness   payment request (cycle): 490.00 USD, pending
01 Nov   harbor-taxi   payment request (cycle): 490.00 USD, pending
11 Nov   bay-fitness   payment request (cycle): 490.00 USD, overdue
11 Nov   bay-fitness   active -> past_due: 490 USD is past due since 2026-11-11.
Campaigns are paused until it is paid. From 2026-11-18 on the account is blocked.
11 Nov   bay-fitness   access off: past_due
11 Nov   harbor-taxi   payment request (cycle): 490.00 USD, overdue
11 Nov   harbor-taxi   active -> past_due: 490 USD is past due since 2026-11-11.
Campaigns are paused until it is paid. From 2026-11-18 on the account is blocked.
11 Nov   harbor-taxi   access off: past_due
14 Nov   bay-fitness   payment request (cycle): 490.00 USD, paid
14 Nov   bay-fitness   past_due -> active
14 Nov   bay-fitness   campaigns may run again
18 Nov   harbor-taxi   past_due -> blocked: 490 USD is past due since 2026-11-11.
The account is blocked until it is paid.
18 Nov   harbor-taxi   access off: blocked
"""
DEBTS_IN_SHORT = """
11 Nov  bay-fitness  490.00 USD overdue, past_due, campaigns stop
11 Nov  harbor-taxi  490.00 USD overdue, past_due, campaigns stop
14 Nov  bay-fitness  490.00 USD paid, active, campaigns run
18 Nov  harbor-taxi  blocked, campaigns stop
"""


def test_who_does_not_pay_is_followed_from_the_request_to_the_payment(month):
    _, observed, proof = month
    text = shown(lambda console: show_end(console, observed, proof), 80)
    story = text[text.index("Not paid in time") : text.index("Calls per account")]
    assert " ".join(STORY_OF_DEBTS.split()) in " ".join(story.split())


def test_the_live_view_tells_the_same_in_short(month):
    platform, observed, _ = month
    text = shown(LiveView(platform, observed), 80)
    assert [line for line in DEBTS_IN_SHORT.strip().splitlines() if line not in text] == []


def test_the_bill_shows_every_line_and_sums_up(month):
    _, observed, proof = month
    text = shown(lambda console: show_end(console, observed, proof), 80)
    bill = text[text.index("is asked to pay") : text.index("Calls per account")]
    lines = [line.split() for line in bill.splitlines()]
    assert ["Credit", "for", "the", "unused", "part", "of", "the", "period", "-16.31", "49.93", "pending"] in lines
    assert ["Number", "+14155550100,", "20", "of", "30", "days", "2.00", "2.06", "pending"] in lines
