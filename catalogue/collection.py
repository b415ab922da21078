"""A catalogue in memory, from a file or from the topic alike, and how things in it are found by name.

Names of plans and packs are unique within their agency, so their full address is ``acme/starter``. A plain ``starter``
means the one of the account's agency. Accounts have one id each over all agencies, as in the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar, cast

from catalogue.model import Account, Agency, Assignment, Body, GatewayLink, Pack, Plan
from catalogue.spelling import hint
from streams.errors import CallmeterError, Refused

Kind = Literal["agency", "plan", "pack", "account", "assignment", "gateway"]
MODELS: dict[Kind, type[Body]] = {
    "agency": Agency,
    "plan": Plan,
    "pack": Pack,
    "account": Account,
    "assignment": Assignment,
    "gateway": GatewayLink,
}
Sold = TypeVar("Sold", Plan, Pack)


@dataclass(frozen=True)
class Entry:
    """One thing in a catalogue.

    Attributes:
        agency: the agency's id.
        id: name of the agency, plan or pack; id of the account that is described or assigned to; of a gateway's link
            the agency again.
        retired: it was in the agency's file once and is no more; kept, because facts name it.
    """

    agency: str
    kind: Kind
    id: str
    body: Body
    retired: bool = False

    @property
    def key(self) -> str:
        """``agency/kind/id``: the key of its record."""
        return f"{self.agency}/{self.kind}/{self.id}"


@dataclass
class Catalogue:
    """Entries by their key, with look-ups whose errors name what was likely meant."""

    entries: dict[str, Entry] = field(default_factory=dict)
    _accounts: dict[str, Entry] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for entry in self.of_kind("account"):
            self._accounts[entry.id] = entry

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Catalogue:
        """A catalogue of some entries; of two with the same key the later one counts."""
        return cls({entry.key: entry for entry in entries})

    def of_kind(self, kind: Kind, agency: str | None = None) -> Iterator[Entry]:
        """Entries of a kind, retired ones too, of one agency or of all."""
        for entry in self.entries.values():
            if entry.kind == kind and agency in (None, entry.agency):
                yield entry

    def agencies(self) -> set[str]:
        """Ids of the agencies."""
        return {entry.id for entry in self.of_kind("agency")}

    def agency(self, agency: str) -> Agency:
        """An agency by its id.

        Raises:
            CallmeterError: there is none.
        """
        found = self.entries.get(f"{agency}/agency/{agency}")
        if not found:
            raise CallmeterError(f"there is no agency {agency!r} in the catalogue{hint(agency, self.agencies())}")
        return cast(Agency, found.body)

    def account(self, account_id: str, even_retired: bool = False) -> Account:
        """An account by its id.

        Raises:
            CallmeterError: there is none.
            Refused: it is retired.
        """
        found = self._accounts.get(account_id)
        if not found:
            near = hint(account_id, self._accounts) or "; add it with `callmeter catalogue apply FILE`"
            raise CallmeterError(f"there is no account {account_id!r} in the catalogue{near}")
        if found.retired and not even_retired:
            raise Refused(f"retired: account {account_id} is no longer in {found.agency}'s catalogue")
        return cast(Account, found.body)

    def plan(self, address: str, agency: str) -> tuple[str, Plan]:
        """A plan by its name or address, as an account of ``agency`` means it.

        Returns:
            The plan's name and the plan.

        Raises:
            CallmeterError: the agency has none of this name.
            Refused: ``wrong_agency`` where the address names another one, ``retired``.
        """
        return self._sold("plan", Plan, address, agency)

    def plan_of_old(self, name: str, agency: str) -> Plan | None:
        """A plan by its name, whether it is still sold or not; None if it never was."""
        found = self.entries.get(f"{agency}/plan/{name}")
        return cast(Plan, found.body) if found else None

    def pack(self, address: str, agency: str) -> tuple[str, Pack]:
        """A pack by its name or address; like `plan`."""
        return self._sold("pack", Pack, address, agency)

    def sells_pack(self, name: str, account_id: str) -> bool:
        """Whether a pack is assigned to an account: by what is said of the account, else of its agency."""
        account = self.account(account_id, even_retired=True)
        packs = self.agency(account.agency).packs if account.packs is None else account.packs
        return packs if isinstance(packs, bool) else name in packs

    def packs_of(self, account_id: str) -> list[tuple[str, Pack]]:
        """The packs assigned to an account that are still sold, by name."""
        agency = self.account(account_id).agency
        sold = [(entry.id, cast(Pack, entry.body)) for entry in self.of_kind("pack", agency) if not entry.retired]
        return sorted(
            ((name, pack) for name, pack in sold if self.sells_pack(name, account_id)), key=lambda one: one[0]
        )

    def assignment(self, account_id: str) -> Assignment | None:
        """The plan on offer to an account, or None."""
        account = self.account(account_id)
        found = self.entries.get(f"{account.agency}/assignment/{account_id}")
        return cast(Assignment, found.body) if found else None

    def gateway(self, agency: str) -> GatewayLink | None:
        """The gateway that an agency is linked to; None where it collects its money by itself."""
        found = self.entries.get(f"{agency}/gateway/{agency}")
        return None if found is None or found.retired else cast(GatewayLink, found.body)

    def currencies(self, agency: str) -> set[str]:
        """The currencies that an agency sells in."""
        sold = [
            cast(Plan | Pack, entry.body).currency
            for entry in (*self.of_kind("plan", agency), *self.of_kind("pack", agency))
            if not entry.retired
        ]
        return {self.agency(agency).currency, *(currency for currency in sold if currency)}

    def _sold(self, kind: Kind, model: type[Sold], address: str, agency: str) -> tuple[str, Sold]:
        named, slash, name = address.rpartition("/")
        if slash and named != agency:
            if named not in self.agencies():
                self.agency(named)
            raise Refused(f"wrong_agency: {address} is a {kind} of {named}, but the account belongs to {agency}")
        found = self.entries.get(f"{agency}/{kind}/{name}")
        if not found:
            known = [entry.id for entry in self.of_kind(kind, agency) if not entry.retired]
            raise CallmeterError(f"agency {agency} has no {kind} {name!r}{hint(name, known)}")
        if found.retired:
            raise Refused(f"retired: {kind} {agency}/{name} is no longer sold")
        return name, cast(Sold, found.body)
