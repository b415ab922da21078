"""One question to a broker in Kafka's own protocol: who is in the cluster?

A port that accepts connections proves little: a starting broker does so while it is still fenced. The answer to a
Metadata request lists only brokers that serve. Asked over a plain socket, so that it works in any thread, with or
without an event loop, and costs no import.
"""

from __future__ import annotations

import socket
import struct

METADATA_KEY = 3
# The newest version without compact encodings: https://kafka.apache.org/protocol#The_Messages_Metadata
METADATA_VERSION = 8


def serving_brokers(host: str, port: int, timeout_s: float = 1.0) -> int:
    """How many brokers serve, according to the one at this address; 0 if it does not answer."""
    client = b"callmeter"
    # Header: key, version, correlation, client id. Body: no topics, do not create any, no authorized operations.
    request = struct.pack(
        f">hhih{len(client)}si???", METADATA_KEY, METADATA_VERSION, 1, len(client), client, 0, False, False, False
    )
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as connection:
            connection.settimeout(timeout_s)
            connection.sendall(struct.pack(">i", len(request)) + request)
            # Length, correlation, throttle time, number of brokers.
            with connection.makefile("rb") as answer:
                head = answer.read(16)
    except OSError:
        return 0
    if len(head) < 16:
        return 0
    correlation, _throttle_ms, brokers = struct.unpack_from(">iii", head, 4)
    return max(int(brokers), 0) if correlation == 1 else 0
