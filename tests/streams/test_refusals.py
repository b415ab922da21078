"""What the meter cannot work with is said in one line, with an exit code and without a traceback."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import RecordsToDelete

from streams.administration import administration
from streams.topics import ACCOUNT_EVENTS, LEDGER, SEEN_CALLS
from tests.broker import command, process, produce, wait_until
from tests.streams.meters import calls, make_anew, rated, subscribed


def one_line(done) -> str:
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line


def last_words(meter) -> str:
    assert "Traceback" not in meter.output
    return meter.output.splitlines()[-1]


def test_no_broker(settings):
    done = command(settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"}), "meter")
    assert done.returncode == 1
    assert one_line(done).startswith("error: no Kafka broker answers at 127.0.0.1:1")


def test_a_missing_topic(make_settings):
    settings = make_settings(topics=False)
    done = command(settings, "meter")
    assert done.returncode == 1
    assert one_line(done).startswith("error: there is no topic ")
    assert settings.topic(ACCOUNT_EVENTS) in done.stderr


def test_a_bad_setting(settings):
    done = command(settings.model_copy(update={"batch_records": -1}), "meter")
    assert done.returncode == 2
    assert one_line(done).startswith("error: CALLMETER_BATCH_RECORDS: ")


async def test_a_position_beyond_the_end_of_the_log(make_settings):
    settings = make_settings(partitions=1)
    topic = settings.topic(ACCOUNT_EVENTS)
    await produce(settings, subscribed(1) + calls(1, 0, 9))
    with process(settings, "meter") as meter:
        await rated(settings, 9)
        assert meter.stop() == 0
    await make_anew(settings, ACCOUNT_EVENTS)
    with process(settings, "meter") as meter:
        await wait_until(lambda: not meter.alive())
        assert meter.popen.returncode == 1
        assert f"{topic}-0: reading should go on at offset 10, but the log has 0 to 0" in last_words(meter)


async def test_a_position_before_the_start_of_the_log(make_settings):
    settings = make_settings(partitions=1)
    topic = settings.topic(ACCOUNT_EVENTS)
    await produce(settings, subscribed(1) + calls(1, 0, 9))
    async with administration(settings) as admin:
        await admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(before_offset=4)})
    with process(settings, "meter") as meter:
        await wait_until(lambda: not meter.alive())
        assert meter.popen.returncode == 1
        assert f"{topic}-0: reading should go on at offset 0, but the log has 4 to 10" in last_words(meter)


async def test_state_that_cannot_be_read(make_settings):
    settings = make_settings(partitions=1)
    topic = settings.topic(LEDGER)
    async with AIOKafkaProducer(**settings.kafka_client()) as producer:
        await producer.send_and_wait(topic, b"\xffnonsense", b"account\0acct_1", 0)
    with process(settings, "meter") as meter:
        await wait_until(lambda: not meter.alive())
        assert meter.popen.returncode == 1
        assert f"{topic}-0: the record at offset 0, key b'account\\x00acct_1', cannot be read" in last_words(meter)


async def test_a_lost_ledger(make_settings):
    settings = make_settings(partitions=1)
    await produce(settings, subscribed(1) + calls(1, 0, 9))
    with process(settings, "meter") as meter:
        await rated(settings, 9)
        assert meter.stop() == 0
    await make_anew(settings, LEDGER)
    with process(settings, "meter") as meter:
        await wait_until(lambda: not meter.alive())
        assert meter.popen.returncode == 1
        assert f"{settings.topic(SEEN_CALLS)}-0 tells of calls rated beyond offset 0" in last_words(meter)
    assert len(await rated(settings, 9)) == 9
