"""Rate cards as files: every mistake is named with its line, and what is read is what was written."""

import json
from pathlib import Path

import pytest

from catalogue.card_file import CardFileError, as_json, read_card
from rating.cards import Row
from streams.errors import CallmeterError

GOOD = """\
prefix,direction,tier,rate,increments,connection_fee,pools
,,,0.60,,,
+1,,,0.05,6/6,,
1900,,,2.40,60/60,0.50,no
49,outbound,,0.12,,0,
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="retail.csv"):
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def problems(path, **options):
    with pytest.raises(CardFileError) as error:
        read_card(path, **{"currency": "USD", **options})
    return [(problem.line, problem.message) for problem in error.value.problems]


@pytest.mark.parametrize(
    "text", [GOOD, GOOD.replace(",", ";"), "\ufeff" + GOOD.replace(",", "\t").replace("\n", "\r\n")]
)
def test_a_card_is_read_whatever_separates_its_cells(file, text):
    card = read_card(file(text), currency="usd").card
    assert (card.name, card.currency) == ("retail", "USD")
    assert card.rows == (
        Row("", None, None, 600_000),
        Row("1", None, None, 50_000, "6/6"),
        Row("1900", None, None, 2_400_000, "60/60", 500_000, pools=False),
        Row("49", "outbound", None, 120_000, None, 0),
    )


def test_the_order_of_rows_and_columns_does_not_change_a_card_but_its_name_does(file):
    one = read_card(file("prefix,rate\n49,0.12\n1,0.1\n"), currency="USD").card
    same = read_card(file("Rate,Description,prefix\n0.10,USA,1\n\n0.120,Germany,49\n", "x.csv"), "retail", "USD").card
    assert one.card_id == same.card_id
    assert read_card(file("prefix,rate\n49,0.12\n1,0.1\n"), "other", "USD").card.card_id != one.card_id


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("49,0.12\n49,0.13", [(3, "prefix 49 is on line 2 already")]),
        ("49,0.12\n+49,0.12", [(3, "prefix 49 is on line 2 already")]),
        (",0.12\n,0.13", [(3, "any prefix is on line 2 already")]),
        ("4x9,0.12", [(2, 'prefix: must be digits such as 4930, or empty for any number (got "4x9")')]),
        ("1234567890123456,1", [(2, 'prefix: has at most 15 digits (got "1234567890123456")')]),
        (
            "49,1.0000001",
            [(2, 'rate: must be an amount such as 49.00, with at most six decimal places (got "1.0000001")')],
        ),
        ("49,-1", [(2, 'rate: must not be negative (got "-1")')]),
        ("49,", [(2, 'rate: must be an amount such as 49.00, with at most six decimal places (got "")')]),
        ("49", [(2, "1 cells under 2 columns")]),
        ("", [(1, "there is no row")]),
    ],
)
def test_a_mistake_is_named_with_its_line(file, rows, expected):
    assert problems(file(f"prefix,rate\n{rows}\n")) == expected


@pytest.mark.parametrize("prefix", ["0049", "030"])
def test_a_prefix_begins_with_the_countrys_code(file, prefix):
    [(line, message)] = problems(file(f"prefix,rate\n{prefix},1\n"))
    assert (line, message.split(":")[1]) == (2, " must begin with the country's code, and none begins with 0")


def test_all_mistakes_are_found_at_once(file):
    text = "prefix,direction,rate,increments,pools\nx,up,1,5,maybe\n49,inbound,1,,\n49,inbound,2,,\n"
    assert [line for line, _ in problems(file(text))] == [2, 2, 2, 2, 4]


def test_columns_that_are_none_are_named(file):
    assert problems(file("prefix,rates\n49,1\n")) == [
        (1, "'rates' is no column of a rate card; did you mean rate?"),
        (1, "there is no column rate; the first line names the columns: prefix, direction, tier, rate, increments, "
            "connection_fee, pools, currency, description"),
    ]  # fmt: skip


def test_a_card_has_one_currency(file):
    text = "prefix,rate,currency\n49,1,USD\n1,1,EUR\n"
    assert problems(file(text), currency=None) == [(3, "currency: a card has one, and this is EUR beside USD")]
    assert read_card(file("prefix,rate,currency\n49,1,eur\n")).card.currency == "EUR"
    with pytest.raises(CallmeterError, match="in which currency"):
        read_card(file("prefix,rate\n49,1\n"))
    assert problems(file("prefix,rate\n49,1\n"), currency="XYZ")[0][1].startswith(
        "currency: must be a currency's ISO 4217 code"
    )


def test_overlaps_and_rows_that_change_nothing_are_worth_a_look(file):
    text = "prefix,direction,tier,rate\n49,outbound,,1\n49,,gold,2\n4930,outbound,,1\n1,,,3\n1,outbound,,3\n"
    assert [(one.line, one.message) for one in read_card(file(text), currency="USD").warnings] == [
        (3, "overlaps with line 2: outbound calls of tier gold match both; the row for outbound counts (line 2)"),
        (4, "says the same as line 2 (prefix 49, outbound)"),
    ]
    settled = text + "49,outbound,gold,5\n"
    assert [one.line for one in read_card(file(settled), currency="USD").warnings] == [4]


def test_a_card_shown_as_json_is_read_back(file):
    card = read_card(file(GOOD), currency="USD").card
    shown = json.dumps(as_json(card))
    assert read_card(file(shown, "x.json")).card.card_id == card.card_id
    with pytest.raises(CallmeterError, match="its content is card"):
        read_card(file(shown.replace("600000", "600001"), "x.json"))
    with pytest.raises(CallmeterError, match="no rate card"):
        read_card(file('{"rows": [{}]}', "x.json"))


def test_a_file_that_is_not_there_is_one_line():
    with pytest.raises(CallmeterError, match="there is no file"):
        read_card(Path("/nowhere/x.csv"))
