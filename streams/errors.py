"""Errors that a person can act on: each becomes one line and an exit code, never a traceback."""

from __future__ import annotations


class CallmeterError(Exception):
    """Something the user can mend. ``str()`` is one line that names the thing and the fix."""

    exit_code = 1


class SettingsError(CallmeterError):
    """A setting is unknown or has a bad value; the message names its key."""

    exit_code = 2


class BrokerUnreachable(CallmeterError):
    """No Kafka broker answers at the configured address."""


class TopicMissing(CallmeterError):
    """A topic that is needed does not exist, or has other partitions than its peers."""


class ClickHouseUnreachable(CallmeterError):
    """ClickHouse does not answer, or refuses the data source name."""


class Refused(CallmeterError):
    """A command would break a rule of the domain; the message starts with the reason's name."""
