"""Where an agency stands, read from the broker by someone who is not the meter: for commands, as `streams.accounts`."""

from __future__ import annotations

from datetime import datetime

from rating.agencies import AGENCY, AGENCY_HISTORY, POSITION, AgencyFold
from rating.agency import Agency, Span
from rating.agency_facts import AgencyCap
from rating.outputs import DeadLetter
from rating.partitioner import partition_of
from streams.administration import check_topics
from streams.restore import Restoring, read_to_end
from streams.settings import Settings
from streams.topics import AGENCY_EVENTS, AGENCY_LEDGER


class AgencyView:
    """An agency as of now; what is not added up yet counts."""

    def __init__(self, agency_id: str, fold: AgencyFold) -> None:
        self.agency_id = agency_id
        self._fold = fold

    @property
    def agency(self) -> Agency | None:
        """Its state; None before its first call or cap. Not to be changed."""
        return self._fold.agencies.get(self.agency_id)

    @property
    def clock(self) -> datetime | None:
        """The time that all accounts have reached, None before that is known."""
        return self._fold.clock

    @property
    def caps(self) -> tuple[AgencyCap, ...]:
        """Its caps, in the order they were set."""
        return self.agency.caps if self.agency is not None else ()

    def counted(self, cap: AgencyCap) -> Span | None:
        """The period or day that a cap looks at now, None where there is none yet."""
        agency, clock = self.agency, self.clock
        if agency is None:
            return None
        if cap.per == "period":
            return agency.newest
        return next((day for day in agency.days if clock is not None and day.start <= clock < day.end), None)

    def knows(self, fact_id: str) -> bool:
        """Whether a fact of this id was applied: another one would change nothing."""
        history = self._fold.histories.get(self.agency_id)
        return any(one is not None and fact_id in one.fact_ids for one in (self.agency, history))

    def refusal(self, fact: bytes) -> tuple[str, str] | None:
        """What would be said of a fact that came now: reason and detail of its dead letter, or None."""
        self._fold.outputs.clear()
        self._fold.fold(fact, self._fold.position)
        for _, _, value in self._fold.outputs:
            if isinstance(value, DeadLetter):
                return value.reason, value.detail
        return None


async def view_agency(settings: Settings, agency_id: str) -> AgencyView:
    """Read where an agency stands: its records of the ledger, then what was told since.

    Raises:
        BrokerUnreachable, TopicMissing: there is nothing to read from.
        LedgerUnusable: a record of the ledger cannot be read by this version.
    """
    partitions = await check_topics(settings, [AGENCY_LEDGER, AGENCY_EVENTS])
    partition = partition_of(agency_id.encode(), partitions)
    fold = AgencyFold(partition, partitions)
    restoring = Restoring(fold.restore)
    wanted = {AGENCY + agency_id.encode(), AGENCY_HISTORY + agency_id.encode(), POSITION}
    async for records in read_to_end(settings, settings.topic(AGENCY_LEDGER), partition):
        restoring.take(record for record in records if record.key in wanted)
    restoring.finish()
    fold.restored()
    async for records in read_to_end(settings, settings.topic(AGENCY_EVENTS), partition, fold.position):
        for record in records:
            fold.fold(record.value, record.offset, record.key)
    return AgencyView(agency_id, fold)
