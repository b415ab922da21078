"""A golden log and what comes of it, byte for byte: whoever changes what is rated sees it here.

``python -m tests.golden`` renews the files. It is a deliberate act: look at what changed, and say why in the commit.
"""

from __future__ import annotations

import json
from pathlib import Path

from rating.simulate import simulate_encoded
from tests.golden.cards import CARDS
from tests.golden.story import story

FOLDER = Path(__file__).parent
LOG = FOLDER / "log.jsonl"
OUTPUTS = FOLDER / "outputs.jsonl"


def written_log() -> bytes:
    """The log as the story tells it."""
    return b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in story())


def read_log() -> list[bytes]:
    """The log's records."""
    return LOG.read_bytes().split(b"\n")[:-1]


def outputs_of(lines: list[bytes]) -> list[bytes]:
    """What `callmeter simulate` prints for some records, line by line."""
    return list(simulate_encoded(lines, CARDS))
