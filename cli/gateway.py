"""`callmeter gateway`: who asks an agency's accounts for money."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import output
from cli.writing import read_catalogue

if TYPE_CHECKING:
    from catalogue.model import GatewayLink
    from jobs.gateways.base import Step
    from jobs.gateways.reconcile import Reconciled
    from streams.settings import Settings

AgencyArgument = Annotated[str, typer.Argument(metavar="AGENCY", help="An agency of the catalogue.")]


def register(app: typer.Typer) -> None:
    """Adds the group ``gateway``."""
    group = typer.Typer(help="Who asks an agency's accounts for money.", no_args_is_help=True)
    group.command("link")(link)
    group.command("show")(show)
    group.command("unlink")(unlink)
    group.command("reconcile")(reconcile)
    app.add_typer(group, name="gateway")


def link(
    agency: AgencyArgument,
    stripe_account: Annotated[
        str | None, typer.Option(metavar="acct_...", help="The agency's Stripe account, connected to the platform's.")
    ] = None,
    platform_fee: Annotated[
        str | None, typer.Option(metavar="FEE", help="What the platform keeps: 2.5%, or an amount such as 0.50.")
    ] = None,
    collection: Annotated[
        str | None,
        typer.Option(metavar="charge|invoice", help="Charge what is on file, or email an invoice (default)."),
    ] = None,
    tax: Annotated[
        str | None,
        typer.Option(
            metavar="TAX",
            help="Stripe Tax: off (default); default, as Stripe's tax settings say; exclusive; inclusive; "
            "inferred_by_currency.",
        ),
    ] = None,
    tax_code: Annotated[
        str | None, typer.Option(metavar="txcd_...", help="Of plans without a tax_code; default: Stripe's preset one.")
    ] = None,
    gateway: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another gateway than Stripe, of an installed package.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="An option of that gateway; may be repeated.")
    ] = None,
    json: output.JsonOption = False,
) -> None:
    """Have an agency's payment requests asked for by Stripe, or by another gateway, from now on.

    Requests that were raised before stay as they are. What is still missing is shown, as by `tax check`. Secrets are no
    part of a link: the platform's key is CALLMETER_STRIPE_KEY, of this process and of the billing job.
    """
    import uvloop

    from catalogue.model import GatewayLink
    from streams.errors import CallmeterError

    if (stripe_account is None) == (gateway is None):
        raise CallmeterError("say who asks: --stripe-account acct_..., or --gateway NAME of an installed package")
    of_stripe = {
        "account": stripe_account,
        "platform_fee": platform_fee,
        "collection": collection,
        "tax": tax,
        "tax_code": tax_code,
    }
    given = {name: value for name, value in of_stripe.items() if value is not None}
    if gateway is not None and given:
        name = next(iter(given)).replace("_", "-")
        raise CallmeterError(f"--{name} is an option of the gateway stripe; give {gateway}'s as --option NAME=VALUE")
    for one in option or ():
        name, equals, value = one.partition("=")
        if not (name and equals and value):
            raise CallmeterError(f"--option {one!r} is no NAME=VALUE")
        given[name] = value
    new = GatewayLink(agency=agency, gateway=gateway or "stripe", options=given)
    steps, problem = uvloop.run(_link(output.settings(), agency, new))
    _show(agency, new, steps, problem, json)


def show(agency: AgencyArgument, json: output.JsonOption = False) -> None:
    """Show who asks an agency's accounts for money."""
    import uvloop

    catalogue = uvloop.run(read_catalogue(output.settings()))
    catalogue.agency(agency)
    _show(agency, catalogue.gateway(agency), None, None, json)


def unlink(agency: AgencyArgument, json: output.JsonOption = False) -> None:
    """Have an agency collect its money by itself again.

    What was sent stays at its gateway. What waits to be sent goes on waiting until the agency is linked again, or
    somebody settles it.
    """
    import uvloop

    uvloop.run(_unlink(output.settings(), agency))
    _show(agency, None, None, None, json)


def reconcile(
    agency: AgencyArgument,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Write down what the gateway knows and the log does not, where that is safe."),
    ] = False,
    json: output.JsonOption = False,
) -> None:
    """Compare an agency's payment requests with what its gateway says, both ways: amounts, states, refunds.

    Nothing is changed at the gateway. Exit code 1 if any difference is left.
    """
    import uvloop

    found = uvloop.run(_reconcile(output.settings(), agency, repair))
    if json:
        output.print_json({"agency_id": agency, **{name: _plain(value) for name, value in found._asdict().items()}})
    else:
        _show_differences(agency, found)
    if found.left:
        raise typer.Exit(1)


async def _reconcile(settings: Settings, agency_id: str, repair: bool) -> Reconciled:
    from jobs.gateways.base import Listing
    from jobs.gateways.choice import make_gateway
    from jobs.gateways.reconcile import reconcile
    from streams.errors import Refused

    catalogue = await read_catalogue(settings)
    catalogue.agency(agency_id)
    link = catalogue.gateway(agency_id)
    if link is None:
        raise Refused(f"not_linked: agency {agency_id} collects its money by itself: there is nothing to compare with")
    gateway = make_gateway(agency_id, link, settings)
    if not isinstance(gateway, Listing):
        raise Refused(f"not_listed: the gateway {link.gateway} cannot say what it was asked for")
    try:
        with _progress() as show:
            return await reconcile(settings, agency_id, link.gateway, gateway, repair, show)
    finally:
        await gateway.close()


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error; invisible where that is no terminal. Gives the function that updates it."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = output.console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("requests at the gateway", total=None)

        def show(listed: int, requests: int) -> None:
            progress.update(task, completed=listed, total=max(listed, requests))

        yield show


def _plain(value: Any) -> Any:
    return value if isinstance(value, int) else [{**one._asdict(), "facts": list(one.facts)} for one in value]


def _show_differences(agency: str, found: Reconciled) -> None:
    for title, differences in (("Repaired", found.repaired), ("Differences", found.left)):
        if differences:
            output.print_table(
                f"{title} of {agency}",
                ["request", "account", "at the gateway", "what", "here", "there", "to do"],
                [
                    (one.payment_request_id, one.account_id, one.external_id, one.kind, one.here, one.there, one.todo)
                    for one in differences
                ],
            )
    told = f"{found.requests:,} requests here, {found.listed:,} at the gateway"
    left = len(found.left)
    typer.echo(f"{told}: {left or 'no'} difference{'s' * (left > 1)} left")


async def _link(settings: Settings, agency_id: str, new: GatewayLink) -> tuple[list[Step] | None, str | None]:
    """Write the link; what was found missing, or why nothing could be looked at."""
    from catalogue.collection import Catalogue, Entry
    from catalogue.store import put
    from jobs.gateways.base import Unavailable
    from jobs.gateways.choice import make_gateway
    from jobs.gateways.preflight import preflight

    catalogue = await read_catalogue(settings)
    catalogue.agency(agency_id)
    # Its options are looked at first.
    await make_gateway(agency_id, new, settings).close()
    entry = Entry(agency_id, "gateway", agency_id, new)
    await put(settings, entry)
    linked = Catalogue.of([*catalogue.entries.values(), entry])
    try:
        return await preflight(settings, linked, agency_id), None
    except Unavailable as problem:
        return None, str(problem)


async def _unlink(settings: Settings, agency_id: str) -> None:
    from catalogue.collection import Entry
    from catalogue.store import put
    from streams.errors import Refused

    catalogue = await read_catalogue(settings)
    catalogue.agency(agency_id)
    known = catalogue.gateway(agency_id)
    if known is None:
        raise Refused(f"not_linked: agency {agency_id} collects its money by itself already")
    await put(settings, Entry(agency_id, "gateway", agency_id, known, retired=True))


def _show(agency: str, link: GatewayLink | None, steps: list[Step] | None, problem: str | None, json: bool) -> None:
    from cli.tax import steps_table
    from jobs.gateways.preflight import describe

    if json:
        found: dict[str, Any] = {
            "agency_id": agency,
            "gateway": link.gateway if link else "manual",
            "options": dict(link.options) if link else {},
        }
        if steps is not None:
            found["steps"] = [step._asdict() for step in steps]
        output.print_json(found)
    else:
        typer.echo(f"{agency} is asked for by {describe(link)}" if link else f"{agency}: {describe(link)}")
        if steps:
            steps_table(f"What {agency} needs", steps)
    if problem:
        typer.echo(f"it was not looked at what is missing: {problem}", err=True)
