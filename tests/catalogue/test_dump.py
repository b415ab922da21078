"""A catalogue written as a file and applied again changes nothing."""

from hypothesis import HealthCheck, given, settings

from catalogue.diff import changes
from catalogue.dump import dumps
from catalogue.load import loads
from catalogue.store import decode, encode
from tests.catalogue.strategies import catalogues
from tests.catalogue.test_load import GOOD

many = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@many
@given(catalogues())
def test_export_then_apply_changes_nothing(catalogue):
    again = loads(dumps(catalogue))
    assert again.entries == catalogue.entries
    assert changes(catalogue, again) == []


@many
@given(catalogues())
def test_a_record_gives_its_entry_back(catalogue):
    for key, entry in catalogue.entries.items():
        assert decode(key.encode(), encode(entry)) == entry


def test_a_file_is_written_as_people_write_it():
    assert (
        dumps(loads(GOOD))
        == """\
agencies:
  acme:
    name: Acme Voice
    currency: USD
    timezone: America/New_York
plans:
  starter:
    agency: acme
    price: 49.00
    every: 1 month
    included_minutes: 100
    overage: 0.12 per minute
    increments: 60/6
    packs: [boost-60]
    grace_days: 7
packs:
  boost-60:
    agency: acme
    minutes: 60
    price: 9.00
accounts:
  acct_1:
    agency: acme
    name: Jane Dental
    email: billing@example.com
    country: US
    postal_code: '10001'
"""
    )


def test_names_that_two_agencies_share_are_written_as_addresses_also_in_one_agencys_file():
    text = (
        "agencies: {acme: {name: A, currency: USD}, beta: {name: B, currency: EUR}}\n"
        "plans:\n  acme/starter: {every: month}\n  beta/starter: {every: month}\n"
    )
    catalogue = loads(text)
    assert "acme/starter:" in dumps(catalogue)
    assert "beta" not in dumps(catalogue, "acme")
    assert "\n  starter:" in dumps(catalogue, "acme")
