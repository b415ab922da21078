"""What the oracle has said so far, and the shapes of what it says."""

from datetime import UTC, datetime
from typing import Any

from tests.oracle import named
from tests.oracle.anchored import in_ids
from tests.oracle.book import Account, Period, Subscription

Output = dict[str, Any]
# Which reason an access event names, of all that hold.
ACCESS_ORDER = ("canceled", "blocked", "past_due", "cap_reached", "agency_cap_reached", "pools_empty", "paused")


def encoded(value: Any) -> Any:
    """The JSON form; times stay in the zone they have."""
    if value is None or isinstance(value, str | int):
        return value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, dict):
        return {name: encoded(item) for name, item in value.items()}
    return [encoded(item) for item in value] if isinstance(value, list) else value


class Journal:
    """Every output so far, in order, as {"topic", "key", "value"}."""

    def __init__(self) -> None:
        self.outputs: list[Output] = []
        # Of the record at hand in the log; only what is bought by itself is named by it.
        self.partition = 0
        self.position = -1

    def write(self, topic: str, key: str | None, value: dict[str, Any]) -> None:
        self.outputs.append({"topic": topic, "key": key, "value": encoded(value)})

    def billing(self, account: Account, subscription: Subscription, kind: str, at: datetime, **fields: Any) -> None:
        value = {
            "type": kind,
            "account_id": account.account_id,
            "agency_id": account.agency_id,
            "subscription_id": subscription.subscription_id,
            "at": at.astimezone(UTC),
            **fields,
        }
        self.write("billing-events", account.account_id, value)

    def access(self, account: Account, at: datetime) -> None:
        """Says so when the reasons to be off are others than last time; asked once after every fact."""
        named.say(self, account, at)
        reasons = account.reasons_now()
        if reasons == account.reasons:
            return
        account.reasons = reasons
        value = {
            "type": "access.changed",
            "account_id": account.account_id,
            "agency_id": account.agency_id,
            "at": at.astimezone(UTC),
            "allowed": not reasons,
            "reasons": sorted(reasons),
            "reason": next((reason for reason in ACCESS_ORDER if reason in reasons), "ok"),
        }
        self.write("access-events", account.account_id, value)

    def alert(
        self,
        account: Account,
        period: Period,
        kind: str,
        level: int,
        at: datetime,
        used: int,
        limit: int,
        once_for: str | None = None,
        **more: Any,
    ) -> None:
        """Once per kind, level and period, unless it is once for something that the caller looks after."""
        about = str(level) if once_for is None else once_for
        if once_for is None and (kind, level) in period.fired:
            return
        period.fired.add((kind, level))
        subscription_id = period.subscription.subscription_id
        value = {
            "type": kind,
            "alert_id": f"{account.account_id}:{subscription_id}:{in_ids(period.start)}:{kind}:{about}",
            "level": level,
            "account_id": account.account_id,
            "agency_id": account.agency_id,
            "subscription_id": subscription_id,
            "period_start": period.start,
            "at": at.astimezone(UTC),
            "used": used,
            "limit": limit,
            **more,
        }
        self.write("alerts", account.account_id, value)
