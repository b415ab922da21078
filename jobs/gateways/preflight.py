"""Before anything is sold: is all there that is needed to ask for the money?"""

from __future__ import annotations

from catalogue.collection import Catalogue
from catalogue.model import GatewayLink
from jobs.gateways.base import Step
from jobs.gateways.choice import make_gateway
from jobs.gateways.links import buyer
from streams.errors import Refused
from streams.settings import Settings

LINK = Step(
    "gateway_linked",
    "Gateway linked",
    "agency",
    "missing",
    "Nothing asks the agency's accounts; link Stripe with: callmeter gateway link {} --stripe-account acct_...",
    "https://dashboard.stripe.com/connect/accounts/overview",
)


async def preflight(
    settings: Settings, catalogue: Catalogue, agency_id: str, account_id: str | None = None, plan: str | None = None
) -> list[Step]:
    """Everything that an agency's gateway needs, done or missing; empty where the agency collects by itself.

    Args:
        settings: checked settings.
        catalogue: in force.
        agency_id: whose gateway is looked at.
        account_id: an account of it that is to buy; None: only the agency is looked at.
        plan: what it buys.

    Raises:
        CallmeterError: there is no such agency or account; its gateway cannot be asked.
    """
    currencies = catalogue.currencies(agency_id)
    link = catalogue.gateway(agency_id)
    gateway = make_gateway(agency_id, link, settings)
    who = None
    if account_id is not None:
        account = catalogue.account(account_id)
        if account.agency != agency_id:
            raise Refused(f"wrong_agency: account {account_id} belongs to {account.agency}, not to {agency_id}")
        sold = catalogue.plan_of_old(plan, agency_id) if plan else None
        who = buyer(account_id, agency_id, account, sold)
    try:
        return await gateway.preflight(currencies, who)
    finally:
        await gateway.close()


async def require_ready(settings: Settings, catalogue: Catalogue, account_id: str, plan: str | None = None) -> None:
    """See that an account can be asked for money, before it is sold anything.

    Raises:
        Refused: ``not_ready``, something is missing: what, and where to mend it.
        CallmeterError: the gateway cannot be asked.
    """
    agency_id = catalogue.account(account_id).agency
    if catalogue.gateway(agency_id) is None:
        return
    steps = await preflight(settings, catalogue, agency_id, account_id, plan)
    missing = [step for step in steps if step.state == "missing"]
    if missing:
        raise Refused("not_ready: nothing was sold, for it could not be asked for. " + "; ".join(map(text, missing)))


def text(step: Step) -> str:
    """A step that is missing, on one line."""
    return f"{step.title}: {step.todo} ({step.link})" if step.link else f"{step.title}: {step.todo}"


def unlinked(agency_id: str) -> Step:
    """The step that is missing where an agency is linked to no gateway."""
    return LINK._replace(todo=LINK.todo.format(agency_id))


def describe(link: GatewayLink | None) -> str:
    """A link as people read it."""
    if link is None:
        return "manual: the agency collects its money by itself"
    options = ", ".join(f"{name} {value}" for name, value in link.options.items())
    return f"{link.gateway}: {options}" if options else link.gateway
