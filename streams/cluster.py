"""Two questions that the client library does not ask: which Kafka a broker is, and what time it is there.

Neither changes anything. The messages are those of https://kafka.apache.org/protocol; what Kafka's versions are called
is in its `MetadataVersion`.
"""

from __future__ import annotations

import io
from bisect import bisect_right
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

# The first level of the metadata of each Kafka.
LEVELS = {
    7: "3.3", 8: "3.4", 9: "3.5", 12: "3.6", 15: "3.7", 20: "3.8", 21: "3.9", 22: "4.0", 26: "4.1", 28: "4.2",
    30: "4.3", 31: "4.4",
}  # fmt: skip
# The last level that is known here.
LAST_LEVEL = 33
SUPPORTED_FEATURES = 0
METADATA = "__cluster_metadata"


class _VersionsResponse(Response):
    API_KEY = 18
    API_VERSION = 3
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "api_versions",
            CompactArray(("api_key", Int16), ("min_version", Int16), ("max_version", Int16), ("tags", TaggedFields)),
        ),
        ("throttle_time_ms", Int32),
        ("tags", TaggedFields),
    )


class _VersionsStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 18
    API_VERSION = 3
    RESPONSE_TYPE = _VersionsResponse
    SCHEMA = Schema(
        ("software_name", CompactString("utf-8")),
        ("software_version", CompactString("utf-8")),
        ("tags", TaggedFields),
    )

    def parse_response_header(self, read_buffer: io.BytesIO | bytes) -> ResponseHeader_v0:
        """The one answer whose header is of the old kind always, so that old clients can read it."""
        return ResponseHeader_v0.decode(read_buffer)


class _Versions(Request[_VersionsStruct]):
    API_KEY = 18

    def build(self, request_struct_class: type[_VersionsStruct]) -> _VersionsStruct:
        return request_struct_class("callmeter", "1", {})


_FEATURES = CompactArray(
    ("name", CompactString("utf-8")), ("min_version", Int16), ("max_version", Int16), ("tags", TaggedFields)
)


class _QuorumResponse(Response):
    API_KEY = 55
    API_VERSION = 1
    SCHEMA = Schema(
        ("error_code", Int16),
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                (
                    "partitions",
                    CompactArray(
                        ("partition", Int32),
                        ("error_code", Int16),
                        ("leader_id", Int32),
                        ("leader_epoch", Int32),
                        ("high_watermark", Int64),
                        (
                            "voters",
                            CompactArray(
                                ("replica_id", Int32),
                                ("log_end_offset", Int64),
                                ("last_fetch_ms", Int64),
                                ("last_caught_up_ms", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        (
                            "observers",
                            CompactArray(
                                ("replica_id", Int32),
                                ("log_end_offset", Int64),
                                ("last_fetch_ms", Int64),
                                ("last_caught_up_ms", Int64),
                                ("tags", TaggedFields),
                            ),
                        ),
                        ("tags", TaggedFields),
                    ),
                ),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _QuorumStruct(RequestStruct):
    FLEXIBLE_VERSION = True
    API_KEY = 55
    API_VERSION = 1
    RESPONSE_TYPE = _QuorumResponse
    SCHEMA = Schema(
        (
            "topics",
            CompactArray(
                ("name", CompactString("utf-8")),
                ("partitions", CompactArray(("partition", Int32), ("tags", TaggedFields))),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Quorum(Request[_QuorumStruct]):
    API_KEY = 55

    def build(self, request_struct_class: type[_QuorumStruct]) -> _QuorumStruct:
        return request_struct_class([(METADATA, [(0, {})], {})], {})


async def kafka_version(admin: AIOKafkaAdminClient) -> str | None:
    """Which Kafka a broker is, ``4.1`` or ``4.5 or newer``; None if it is older than 3.3, or no Kafka of Apache's.

    Raises:
        KafkaError: it does not answer.
    """
    answer = await _ask(admin, _Versions())
    features = answer["tags"].get(SUPPORTED_FEATURES)
    if answer["error_code"] or features is None:
        return None
    levels = {name: most for name, _, most, _ in _FEATURES.decode(io.BytesIO(features)) or ()}
    return _named(levels.get("metadata.version", 0))


def _named(level: int) -> str | None:
    if level > LAST_LEVEL:
        return "newer than 4.4"
    at = bisect_right(list(LEVELS), level)
    return list(LEVELS.values())[at - 1] if at else None


async def controller_time_ms(admin: AIOKafkaAdminClient) -> int | None:
    """What time it is now at the active controller of the cluster, in unix milliseconds; None if it does not tell.

    Of itself it reports, as the moment when it was last up to date, just now.

    Raises:
        KafkaError: it does not answer, or refuses (``DESCRIBE`` on the cluster is needed).
    """
    answer = await _ask(admin, _Quorum())
    if answer["error_code"]:
        raise for_code(answer["error_code"])
    for topic in answer["topics"]:
        for partition in topic["partitions"]:
            for voter in partition["voters"]:
                if voter["replica_id"] == partition["leader_id"] and voter["last_fetch_ms"] > 0:
                    return int(voter["last_fetch_ms"])
    return None


async def _ask(admin: AIOKafkaAdminClient, request: Request[Any]) -> dict[str, Any]:
    client = admin._client
    node = client.get_random_node()
    if node is None:
        raise IncompatibleBrokerVersion("the cluster lists no broker")
    try:
        answer: dict[str, Any] = (await client.send(node, request)).to_object()
    except NotImplementedError:
        raise IncompatibleBrokerVersion(f"the broker does not know {type(request).__name__[1:]}") from None
    return answer
