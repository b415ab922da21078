"""The meter: facts in, rated calls and everything that follows from them out, each exactly once.

Run it with ``callmeter meter``, or with Faust's own command: ``faust -A streams.meter worker -l info``.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from faust.types import TP

from streams.administration import check_topics
from streams.cards import CardShelf
from streams.ledger import NEEDS, LedgerPartition
from streams.process import collect_seldom
from streams.settings import Settings, load_settings
from streams.topics import ACCOUNT_EVENTS
from streams.transport import RoleApp, Workers, make_app, runs


class Ledgers(Workers):
    """The partitions of the log that are ours to rate."""

    def __init__(self, settings: Settings) -> None:
        """Start without partitions."""
        super().__init__(self._ledger, settings.flight_records, settings.batch_records)
        self._settings = settings
        self._partitions = 0
        self._shelf: CardShelf | None = None

    async def assigned(self, partitions: Set[TP]) -> Mapping[TP, int]:
        """Open and close ledgers as partitions come and go."""
        self._partitions = await check_topics(self._settings, NEEDS)
        self._shelf = self._shelf or CardShelf(self._settings, self._partitions)
        positions = await super().assigned(partitions)
        collect_seldom()
        return positions

    def _ledger(self, tp: TP) -> LedgerPartition:
        return LedgerPartition(tp, self._settings, self._partitions, self._shelf)


def make_meter(settings: Settings) -> RoleApp:
    """The meter as a Faust app: account-events go, partition by partition, through a ledger."""
    ledgers = Ledgers(settings)
    app = make_app("meter", settings, ledgers, NEEDS)

    @app.agent(runs(app, ACCOUNT_EVENTS))
    async def rate(stream: Any) -> None:
        async for run in stream:
            await ledgers.put(run)

    return app


def __getattr__(name: str) -> Any:
    """``app``, made when Faust's command asks for it: settings must not be read by an import."""
    if name == "app":
        app = globals()["app"] = make_meter(load_settings())
        return app
    raise AttributeError(name)
