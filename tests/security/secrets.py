"""The secrets of these tests, in every spelling that a log or a message could have them in."""

from __future__ import annotations

import base64
from urllib.parse import quote

from tests.security.broker import PASSWORD, USER
from tests.security.certificates import KEY_PASSWORD
from tests.security.conftest import CLICKHOUSE_PASSWORD

WRONG_PASSWORD = "wr0ng+but/secret?"


def spellings() -> set[str]:
    """As it is, in an address, in a header, as Python or JSON would show it."""
    found = set()
    for user, secret in (
        (USER, PASSWORD),
        ("callmeter", CLICKHOUSE_PASSWORD),
        ("", KEY_PASSWORD),
        (USER, WRONG_PASSWORD),
    ):
        found |= {secret, quote(secret), quote(secret, safe=""), repr(secret)[1:-1], secret.replace("/", "\\/")}
        found |= {base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, f"{user}:{secret}")}
    return found


def assert_no_secret(*texts: str) -> None:
    """None of the texts holds a secret; a failure says which text, and not the secret."""
    for text in texts:
        for number, spelling in enumerate(sorted(spellings())):
            at = text.find(spelling)
            assert at < 0, f"spelling {number} of a secret, after: {text[max(0, at - 300) : at]}"
