"""Writing facts into the log from outside the meter: commands, the clock, tools.

What is sent waits in one batch per partition. While a round of batches is on its way, the next one fills: a single
fact leaves at once, a million leave in large batches, and memory stays bounded because a full batch holds its sender
back until the round is acknowledged. Order within a partition is the order of sending.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import TracebackType
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, KafkaTimeoutError

from rating.partitioner import partition_of
from streams.administration import check_topics, unreachable
from streams.errors import BrokerUnreachable, CallmeterError
from streams.settings import Settings
from streams.topics import ACCOUNT_EVENTS

# Facts of every partition, without a key.
EVERYWHERE = frozenset(("tick", "rules.set", "agency.access", "wholesale.set"))

# Below every broker's default limit of 1,048,588 bytes a batch; and all partitions' batches together, which travel in
# one request, well below its limit of 100 MiB.
MOST_BATCH_BYTES = 1_000_000
MOST_REQUEST_BYTES = 50_000_000

DELIVERY_TIMEOUT_S = 30.0


class _Address(msgspec.Struct):
    """The two fields that say where a fact goes."""

    type: str
    account_id: str | None = None


_address = msgspec.json.Decoder(_Address).decode


class FactProducer:
    """Sends facts to the partitions of their accounts; idempotent, acknowledged by all replicas.

    Use it as an asynchronous context manager: leaving it without an error waits until everything is acknowledged.
    After a failed delivery it raises that failure for ever; sending the same facts again is safe (their ids are
    known), so make a new one and do so.
    """

    def __init__(self, settings: Settings, topic: str = ACCOUNT_EVENTS) -> None:
        self.acknowledged = 0
        """How many records the broker has acknowledged; a fact for every partition counts once for each."""
        self._settings = settings
        self._name = topic
        self._topic = settings.topic(topic)
        self._partitions = 0
        self._batches: dict[int, Any] = {}
        self._sent = 0
        self._something_waits = asyncio.Event()
        self._failure: Exception | None = None
        self._under_way: list[asyncio.Future[Any]] = []

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
            BrokerUnreachable: no broker answers.
            TopicMissing: ``account-events`` does not exist.
        """
        self._partitions = await check_topics(self._settings, [self._name])
        self._place = lru_cache(1 << 17)(self._place_of)
        self._producer = AIOKafkaProducer(
            **self._settings.kafka_client(),
            acks="all",
            enable_idempotence=True,
            max_batch_size=min(MOST_BATCH_BYTES, MOST_REQUEST_BYTES // self._partitions),
            request_timeout_ms=int(DELIVERY_TIMEOUT_S * 1000),
        )
        try:
            # The library itself would ask for a producer id for ever.
            async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise unreachable(self._settings, error) from None
        self._round = asyncio.get_running_loop().create_future()
        self._deliverer = asyncio.create_task(self._deliver())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what was sent, unless an error ends it; disconnect."""
        try:
            if error is None:
                await self.flush()
        finally:
            self._deliverer.cancel()
            with suppress(asyncio.CancelledError):
                await self._deliverer
            await self._abandon()
            await self._producer.stop()

    async def send(self, account_id: str | None, value: bytes) -> None:
        """Send a fact of an account; returns before it is acknowledged.

        Args:
            account_id: decides the partition. None: unkeyed, to partition 0 (what nobody can read).
            value: the encoded fact.

        Raises:
            CallmeterError: an earlier delivery failed.
        """
        key, partition = self._place(account_id)
        await self._append(key, value, partition)

    async def send_everywhere(self, value: bytes) -> None:
        """Send a ``tick`` or ``rules.set`` to every partition; like ``send``."""
        for partition in range(self._partitions):
            await self._append(None, value, partition)

    async def send_to(self, partition: int, value: bytes) -> None:
        """Send a ``tick`` to one partition, whose clock differs from the others'; like ``send``."""
        await self._append(None, value, partition)

    async def put(self, value: bytes) -> None:
        """Send whatever this is to where it belongs, as its own fields say; like ``send``."""
        try:
            address = _address(value)
        except ValueError:
            await self.send(None, value)
            return
        if address.type in EVERYWHERE:
            await self.send_everywhere(value)
        else:
            await self.send(address.account_id, value)

    async def publish(self, *facts: bytes | msgspec.Struct | Mapping[str, Any]) -> None:
        """Send a few facts, and return when they are acknowledged.

        Raises:
            BrokerUnreachable: no acknowledgement within 30 s; the facts may or may not be in the log.
            CallmeterError: the broker refuses them.
        """
        for fact in facts:
            await self.put(fact if isinstance(fact, bytes) else msgspec.json.encode(fact))
        await self.flush()

    async def flush(self) -> None:
        """Return when everything sent so far is acknowledged; raises like ``publish``."""
        sent = self._sent
        while self.acknowledged < sent:
            await self._end_of_round()

    async def _append(self, key: bytes | None, value: bytes, partition: int) -> None:
        if self._failure:
            raise self._failure
        while True:
            batch = self._batches.get(partition)
            if batch is None:
                batch = self._batches[partition] = self._producer.create_batch()
                self._something_waits.set()
            # The first record of a batch always fits.
            if batch.append(key=key, value=value, timestamp=None) is not None:
                self._sent += 1
                return
            await self._end_of_round()

    async def _end_of_round(self) -> None:
        await asyncio.shield(self._round)
        if self._failure:
            raise self._failure

    async def _deliver(self) -> None:
        while True:
            await self._something_waits.wait()
            self._something_waits.clear()
            batches, self._batches = self._batches, {}
            try:
                for batch in batches.values():
                    batch.close()
                # An idempotent producer tries again for ever. The batches are waited for without being cancelled.
                async with asyncio.timeout(DELIVERY_TIMEOUT_S):
                    for partition, batch in batches.items():
                        future = await self._producer.send_batch(batch, self._topic, partition=partition)
                        self._under_way.append(future)
                    done, _ = await asyncio.wait(self._under_way, return_when=asyncio.FIRST_EXCEPTION)
                if refused := [error for future in done if (error := future.exception())]:
                    raise refused[0]
                self._under_way.clear()
            except Exception as error:
                self._failure = self._explain(error)
            else:
                self.acknowledged += sum(batch.record_count() for batch in batches.values())
            ended, self._round = self._round, asyncio.get_running_loop().create_future()
            ended.set_result(None)
            if self._failure:
                return

    async def _abandon(self) -> None:
        """Give up what is under way, if it does not arrive: the library would wait however long the broker is away."""
        if self._under_way and not self._failure:
            await asyncio.wait(self._under_way, timeout=DELIVERY_TIMEOUT_S)
        if all(future.done() for future in self._under_way):
            return
        sender = self._producer._sender.sender_task
        # Each turn ends one of its requests.
        while not sender.done():
            sender.cancel()
            await asyncio.sleep(0)
        for future in self._under_way:
            future.cancel()
        self._producer._message_accumulator.fail_all(KafkaTimeoutError())

    def _explain(self, error: Exception) -> Exception:
        if not isinstance(error, KafkaError | OSError):
            return error
        if isinstance(error, OSError | KafkaTimeoutError) or error.retriable:
            told = f" within {DELIVERY_TIMEOUT_S:.0f} s" if isinstance(error, TimeoutError) else f": {error!r}"
            return BrokerUnreachable(
                f"the Kafka broker at {self._settings.bootstrap} does not acknowledge what was sent{told}; whether it "
                "is in the log is not known, and sending it again is safe"
            )
        return CallmeterError(f"the Kafka broker at {self._settings.bootstrap} refuses facts: {error}")

    def _place_of(self, account_id: str | None) -> tuple[bytes | None, int]:
        if account_id is None:
            return None, 0
        # A lone surrogate is possible in JSON, and no reason to stop: the meter says what is wrong with it.
        key = account_id.encode("utf-8", "surrogatepass")
        return key, partition_of(key, self._partitions)
