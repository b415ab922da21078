"""Versions of state: what an older Callmeter wrote is read on, what a newer one wrote is refused.

Every record of state begins with a version byte, counted for each kind of record on its own. Whatever changes a layout
is a new version with a function that turns the one before into it, a new field at the end too: an older Callmeter would
drop it without a word. So a layout's second version is::

    ACCOUNT_STATE = Layout("account", version=2, upgrades={1: with_a_ceiling})

A record is written anew only when it changes. So no upgrade may ever go: records of its version may still be there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


class StateError(ValueError):
    """A record of state that this Callmeter cannot read. Its reader must not go on without it."""


class NewerState(StateError):
    """A record of state that a newer Callmeter wrote."""


class Layout:
    """How one kind of record is laid out behind its version byte.

    Attributes:
        kind: its name, for people.
        version: what is written now, 1 to 255.
        prefix: the version byte of what is written now.
    """

    __slots__ = ("_unversioned", "_upgrades", "kind", "prefix", "version")

    def __init__(
        self,
        kind: str,
        version: int = 1,
        upgrades: Mapping[int, Callable[[bytes], bytes]] | None = None,
        unversioned: Callable[[bytes], bool] | None = None,
    ) -> None:
        """Name the versions that can be read.

        Args:
            kind: see above.
            version: see above.
            upgrades: for each version before, what turns the rest of its records (behind the version byte) into the
                rest of the version after it.
            unversioned: tells records from before this kind had a version byte: version 1 as a whole.
        """
        self.kind = kind
        self.version = version
        self.prefix = bytes([version])
        self._upgrades = dict(upgrades or {})
        self._unversioned = unversioned
        assert set(self._upgrades) == set(range(1, version)), f"{kind}: an upgrade for each version before {version}"

    def upgraded(self, value: bytes) -> bytes:
        """A record as it is written now, its version byte included; itself if it is so already.

        Raises:
            NewerState: a newer Callmeter wrote it.
            StateError: it has no version that ever was.
        """
        found = self.version_of(value)
        if found == self.version:
            return value
        if found > self.version:
            raise NewerState(
                f"{self.kind} state of version {found}; this Callmeter reads versions 1 to {self.version}. A newer one "
                "has been at work here: start that one again, or a newer one still"
            )
        if found < 1:
            raise StateError(f"{self.kind} state of version {found}, which there never was")
        rest = value if self._unversioned and self._unversioned(value) else value[1:]
        for version in range(found, self.version):
            rest = self._upgrades[version](rest)
        return self.prefix + rest

    def version_of(self, value: bytes) -> int:
        """The version that a record is of.

        Raises:
            StateError: it is empty.
        """
        if not value:
            raise StateError(f"an empty record of {self.kind} state")
        return 1 if self._unversioned and self._unversioned(value) else value[0]


def same(rest: bytes) -> bytes:
    """The upgrade for a version that reads the one before as it is: a new field at the end, with a default."""
    return rest
