"""`callmeter catalogue`: from a file into the topic and back, on the real broker."""

import json

import pytest
from aiokafka import AIOKafkaProducer

from catalogue.collection import Entry
from catalogue.load import loads
from catalogue.model import Agency
from catalogue.store import editing, read
from streams.errors import CallmeterError
from streams.topics import CATALOGUE
from tests.broker import command, read_topic
from tests.catalogue.test_load import GOOD
from tests.cli.commands import as_settings, run


@pytest.fixture
def shop(tmp_path):
    file = tmp_path / "shop.yaml"
    file.write_text(GOOD)
    return file


def test_init_writes_an_example_that_is_valid_and_never_overwrites(tmp_path):
    file = tmp_path / "mine.yaml"
    assert run("catalogue", "init", str(file)).out == f"wrote {file}; next: callmeter catalogue validate {file}\n"
    assert run("catalogue", "validate", str(file)).out == (
        f"{file} is valid: 1 agencies, 2 plans, 1 packs, 1 accounts\n"
    )
    file.write_text("mine")
    refused = run("catalogue", "init", str(file))
    assert (refused.code, refused.error) == (1, f"{file} is there already; say --force to overwrite it")
    assert file.read_text() == "mine"
    assert run("catalogue", "init", str(file), "--force").code == 0
    entries = dict(loads(file.read_text()).entries)
    assert entries.pop("acme/plan/growth").body.price == 99
    described = "{agency: acme, description: For a practice with one line, price"
    assert entries == loads(GOOD.replace("{agency: acme, price", described)).entries


def test_validate_gives_every_mistake_as_text_and_as_json(shop):
    shop.write_text(GOOD.replace("49.00", "x").replace("9.00}", "y}"))
    ran = run("catalogue", "validate", str(shop))
    assert ran.code == 1
    assert ran.error.splitlines()[0] == f"2 mistakes in {shop}"
    listed = run("catalogue", "validate", str(shop), "--json")
    assert listed.code == 1
    problems = json.loads(listed.out)["problems"]
    assert [(one["line"], one["key"]) for one in problems] == [(4, "plans.starter.price"), (6, "packs.boost-60.price")]


def test_apply_shows_what_changes_writes_it_and_then_has_nothing_to_do(settings, shop):
    with as_settings(settings):
        dry = run("catalogue", "apply", str(shop), "--dry-run")
        assert "acme/starter" in dry.out
        assert "4 added" in dry.out
        assert dry.out.endswith("nothing was written\n")
        done = run("catalogue", "apply", str(shop), "--yes", "--json").json
        assert done["applied"]
        assert [(one["action"], one["kind"], one["id"]) for one in done["changes"]] == [
            ("add", "agency", "acme"), ("add", "plan", "starter"), ("add", "pack", "boost-60"),
            ("add", "account", "acct_1"),
        ]  # fmt: skip
        assert run("catalogue", "apply", str(shop), "--yes").out == "nothing to change\n"
        shop.write_text(GOOD.replace("49.00", "59.00").replace("boost-60", "boost-90"))
        text = run("catalogue", "apply", str(shop), "--yes").out
        assert "price 49.00 -> 59.00" in text
        assert "1 added, 1 changed, 1 retired" in text
        assert "no running subscriptions stay on old terms" in text


def test_apply_asks_and_without_anybody_to_ask_says_so(settings, shop):
    with as_settings(settings):
        ran = run("catalogue", "apply", str(shop), stdin="y\n")
        assert (ran.code, ran.error) == (
            1, "there is nobody to ask here; say --yes to apply, or --dry-run to look",
        )  # fmt: skip


def test_export_gives_a_file_that_changes_nothing(settings, shop, tmp_path):
    copy = tmp_path / "copy.yaml"
    with as_settings(settings):
        assert run("catalogue", "apply", str(shop), "--yes").code == 0
        assert run("catalogue", "export", str(copy)).out == f"wrote {copy}\n"
        assert loads(copy.read_text()).entries == loads(GOOD).entries
        assert run("catalogue", "apply", str(copy), "--yes").out == "nothing to change\n"
        assert run("catalogue", "export", "-").out == copy.read_text()
        assert run("catalogue", "export", "-", "--agency", "acne").error == (
            "there is no agency 'acne' in the catalogue; did you mean acme?"
        )


async def test_a_file_is_written_in_one_transaction_to_the_partitions_of_its_keys(settings, shop):
    wanted = loads(GOOD)
    async with editing(settings) as editor:
        await editor.write(wanted.entries.values())
    assert (await read(settings)).entries == wanted.entries
    assert {record.key.decode() for record in await read_topic(settings, CATALOGUE)} == set(wanted.entries)


async def test_of_two_who_change_the_catalogue_at_once_the_earlier_one_is_refused(settings):
    async with editing(settings) as first:
        async with editing(settings) as second:
            await second.write(loads(GOOD).entries.values())
        with pytest.raises(CallmeterError, match="somebody else is changing the catalogue"):
            await first.write([Entry("acme", "agency", "acme", Agency(name="Stale", currency="USD"))])
    assert (await read(settings)).agency("acme").name == "Acme Voice"


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        (b"acme/plan/p", b"{", "Expecting property name"),
        (b"acme/plan/p", b'{"agency":"acme"}', "not an object with retired: true or false"),
        (b"acme/plan/p", b'{"agency":"acme","every":"soon","retired":false}', "every: Value error, must be a period"),
        (b"acme/planet/p", b"{}", "'planet' is no kind of entry"),
        (b"acme", b"{}", "not enough values"),
    ],
)
async def test_a_record_that_cannot_be_read_is_named(make_settings, key, value, why):
    settings = make_settings(partitions=1)
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        await producer.send_and_wait(settings.topic(CATALOGUE), value, key)
    with pytest.raises(CallmeterError) as error:
        await read(settings)
    start = f"{settings.topic(CATALOGUE)}-0: the record at offset 0, key {key!r}, cannot be read: "
    assert str(error.value).startswith(start)
    assert why in str(error.value)


def test_without_topics_or_a_broker_there_is_one_line(make_settings, shop):
    settings = make_settings(topics=False)
    missing = command(settings, "catalogue", "apply", str(shop), "--yes")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.splitlines() == [
        f"error: there is no topic {settings.topic(CATALOGUE)} at {settings.bootstrap}; run `callmeter topics create`"
    ]
    nowhere = settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    away = command(nowhere, "catalogue", "export", "-")
    assert away.returncode == 1
    assert away.stderr.startswith("error: no Kafka broker answers at 127.0.0.1:1")
    assert len(away.stderr.splitlines()) == 1
