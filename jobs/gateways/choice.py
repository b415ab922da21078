"""Which gateway asks for an agency's money: the one that it is linked to, of ours or of somebody else's package.

A package offers a gateway by an entry point of the group ``callmeter.gateways``: its name is the gateway's, and it is
called with the agency's id, the options of the link and our settings, and gives a `Gateway` (docs/gateways.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import entry_points

from catalogue.model import GatewayLink
from catalogue.spelling import hint
from jobs.gateways.base import Gateway
from jobs.gateways.manual import ManualGateway
from streams.errors import CallmeterError
from streams.settings import Settings

GROUP = "callmeter.gateways"
MANUAL = ManualGateway()

MakeGateway = Callable[[str, Mapping[str, str], Settings], Gateway]


def _stripe(agency_id: str, options: Mapping[str, str], settings: Settings) -> Gateway:
    # Late: the SDK takes most of a second, and most agencies may not need it.
    from jobs.gateways.stripe import StripeGateway

    return StripeGateway(agency_id, options, settings)


def _manual(agency_id: str, options: Mapping[str, str], settings: Settings) -> Gateway:
    if options:
        raise CallmeterError(f"the gateway manual has no options, so no {next(iter(options))}")
    return MANUAL


@cache
def gateways() -> Mapping[str, MakeGateway]:
    """Every gateway there is, by its name."""
    found: dict[str, MakeGateway] = {point.name: point.load() for point in entry_points(group=GROUP)}
    return {**found, "manual": _manual, "stripe": _stripe}


def make_gateway(agency_id: str, link: GatewayLink | None, settings: Settings) -> Gateway:
    """The gateway of an agency.

    Args:
        agency_id: whose it is.
        link: to which it is linked; None: it collects its money by itself.
        settings: of this process.

    Raises:
        CallmeterError: no gateway has this name here, or its options are wrong.
    """
    if link is None:
        return MANUAL
    make = gateways().get(link.gateway)
    if make is None:
        known = ", ".join(sorted(gateways()))
        near = hint(link.gateway, gateways())
        raise CallmeterError(f"there is no gateway {link.gateway!r} here{near}; there are {known}")
    return make(agency_id, link.options, settings)
