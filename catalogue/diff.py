"""What applying a file would change. Only agencies that are in the file are looked at; nothing is ever deleted.

What is no longer in the file is retired: it can be bought no more, but the facts that name it still find it. Terms were
frozen when a subscription started, so a changed plan leaves running subscriptions as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from catalogue.collection import Catalogue, Entry
from catalogue.model import Account, Agency, Plan
from catalogue.terms import named_caps, terms_of
from streams.errors import Refused

Action = Literal["add", "change", "retire", "restore"]
OF_A_FILE = ("agency", "plan", "pack", "account")


@dataclass(frozen=True)
class Change:
    """One entry that changes.

    Attributes:
        entry: as it will stand in the topic.
        fields: old and new spelling of each field that changes, None where it was or will be the default.
        new_terms: a plan's ``plan_version`` from now on, where it changes; empty if retired. Running subscriptions
            stay on the terms they have.
        subscriptions: how many those are; filled in by `count_subscriptions`.
        caps: all caps with a name that an agency or account has from now on, as facts have them; None where they stay.
        caps_wait: the account was never subscribed, so its caps are set when it is; filled in by `find_waiting`.
    """

    action: Action
    entry: Entry
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    new_terms: str | None = None
    subscriptions: int = 0
    caps: list[dict[str, Any]] | None = None
    caps_wait: bool = False

    @property
    def address(self) -> str:
        """How the entry is named to people: ``acme/starter``, or an account's or agency's id alone."""
        entry = self.entry
        return f"{entry.agency}/{entry.id}" if entry.kind in ("plan", "pack") else entry.id

    def as_dict(self) -> dict[str, Any]:
        """The change as JSON shows it."""
        told = {
            "action": self.action,
            "kind": self.entry.kind,
            "agency": self.entry.agency,
            "id": self.entry.id,
            "fields": {name: {"old": old, "new": new} for name, (old, new) in self.fields.items()},
            "subscriptions_on_old_terms": self.subscriptions,
        }
        return told if self.caps is None else {**told, "caps": "when_subscribed" if self.caps_wait else "at_once"}


def changes(current: Catalogue, wanted: Catalogue) -> list[Change]:
    """What has to change so that the agencies of ``wanted`` are as it says, in the order in which files are written.

    Raises:
        Refused: ``wrong_agency``, an account would change its agency.
    """
    found = []
    owners = {entry.id: entry.agency for entry in current.of_kind("account")}
    for key, new in wanted.entries.items():
        old = current.entries.get(key)
        if new.kind == "account" and owners.get(new.id, new.agency) != new.agency:
            message = f"account {new.id} belongs to {owners[new.id]} for ever; give {new.agency}'s another id"
            raise Refused(f"wrong_agency: {message}")
        if old is None:
            found.append(Change("add", new, _fields_written(new), caps=_new_caps(None, new)))
            continue
        changed, terms = _fields_changed(old, new), _new_terms(current, wanted, new)
        if old.retired or changed or terms:
            found.append(Change("restore" if old.retired else "change", new, changed, terms, caps=_new_caps(old, new)))
    agencies = wanted.agencies()
    for key, old in current.entries.items():
        if old.agency in agencies and old.kind in OF_A_FILE and not old.retired and key not in wanted.entries:
            retired = Entry(old.agency, old.kind, old.id, old.body, retired=True)
            found.append(Change("retire", retired, new_terms="" if old.kind == "plan" else None))
    return sorted(found, key=lambda change: OF_A_FILE.index(change.entry.kind))


def count_subscriptions(found: list[Change], running: Mapping[tuple[str, str], Mapping[str, int]]) -> list[Change]:
    """Say for each plan that changes how many subscriptions stay on other terms than its new ones.

    Args:
        found: the changes.
        running: active subscriptions by (agency, plan), then by ``plan_version``.
    """
    counted = []
    for one in found:
        if one.new_terms is not None:
            versions = running.get((one.entry.agency, one.entry.id), {})
            staying = sum(count for version, count in versions.items() if version != one.new_terms)
            one = replace(one, subscriptions=staying)
        counted.append(one)
    return counted


def find_waiting(found: list[Change], subscribed: Set[str]) -> list[Change]:
    """Say of each account whose caps change whether that has to wait until it is subscribed.

    Args:
        found: the changes.
        subscribed: those of `accounts_with_new_caps` that ever were.
    """
    waiting = accounts_with_new_caps(found) - subscribed
    return [replace(one, caps_wait=one.entry.kind == "account" and one.entry.id in waiting) for one in found]


def accounts_with_new_caps(found: list[Change]) -> set[str]:
    """Ids of the accounts whose caps change."""
    return {one.entry.id for one in found if one.entry.kind == "account" and one.caps is not None}


def _new_caps(old: Entry | None, new: Entry) -> list[dict[str, Any]] | None:
    """Caps from now on, where the file says others than the one before it; none where it says nothing any more."""
    before, after = _caps_of(old) if old is not None else None, _caps_of(new)
    if before == after:
        return None
    return after if after is not None else []


def _caps_of(entry: Entry) -> list[dict[str, Any]] | None:
    body = entry.body
    if not isinstance(body, Agency | Account) or body.caps is None:
        return None
    return named_caps(dict(sorted(body.caps.items())), body if isinstance(body, Agency) else None)


def _fields_written(new: Entry) -> dict[str, tuple[Any, Any]]:
    """What was written of a new entry, but for its agency."""
    spelled = new.body.model_dump(mode="json")
    return {name: (None, spelled[name]) for name in spelled if name in new.body.model_fields_set - {"agency"}}


def _fields_changed(old: Entry, new: Entry) -> dict[str, tuple[Any, Any]]:
    before, after = old.body.model_dump(mode="json"), new.body.model_dump(mode="json")
    return {name: (before[name], after[name]) for name in after if getattr(old.body, name) != getattr(new.body, name)}


def _new_terms(current: Catalogue, wanted: Catalogue, entry: Entry) -> str | None:
    """A plan's new version, where it is another one: terms change with the plan and with what its agency lends it."""
    if not isinstance(entry.body, Plan):
        return None
    old = current.entries[entry.key].body
    assert isinstance(old, Plan)
    before = terms_of(entry.id, old, current.agency(entry.agency))["plan_version"]
    after: str = terms_of(entry.id, entry.body, wanted.agency(entry.agency))["plan_version"]
    return after if after != before else None
