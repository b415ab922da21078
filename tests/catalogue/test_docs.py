"""docs/catalogue.md says all that a file can say, and its examples are valid."""

import re
from pathlib import Path

import pytest

from catalogue.load import load, loads
from catalogue.model import Account, Agency, AgencyCap, Cap, Outcomes, Pack, Plan, Wholesale

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "catalogue.md").read_text()


EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_of_the_page_is_valid(example):
    assert loads(example).agencies()


@pytest.mark.parametrize("model", [Agency, Plan, Pack, Account, Cap, AgencyCap, Outcomes, Wholesale])
def test_every_key_is_on_the_page(model):
    for key in model.model_fields:
        assert re.search(rf"[`{{ ]{key}[`:]", PAGE), key


def test_the_example_that_init_writes_sells_what_the_page_sells():
    example, page = load(ROOT / "catalogue" / "example.yaml"), loads(EXAMPLES[0])
    assert example.entries.keys() == page.entries.keys()
    assert (
        example.plan("starter", "acme")[1].model_copy(update={"description": None}) == page.plan("starter", "acme")[1]
    )
