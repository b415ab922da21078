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


class PositionOutOfLog(CallmeterError):
    """The position that a result was stored with is not in the log: records were lost."""


class LedgerUnusable(CallmeterError):
    """A partition's ledger has an open transaction of somebody else's, or a record that cannot be read."""


class TakenOver(CallmeterError):
    """Another worker has fenced this one off a partition."""


class RecordRefused(CallmeterError):
    """A record does not fit into any batch that the broker would take."""


class FolderInUse(CallmeterError):
    """Another process holds a folder of the data folder that only one may hold."""


class FolderUnusable(CallmeterError):
    """A folder of the data folder cannot be read or written: its disk is full, broken, or not ours to write."""


class ClickHouseUnreachable(CallmeterError):
    """ClickHouse does not answer, or refuses the data source name."""


class Refused(CallmeterError):
    """A command would break a rule of the domain; the message starts with the reason's name."""
