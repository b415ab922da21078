"""How an agency is linked to Stripe: its connected account, and how it wants to be paid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import NamedTuple

from jobs.gateways.stripe_money import steps_of
from streams.errors import CallmeterError

COLLECTIONS = ("charge", "invoice")
TAXES = ("off", "default", "exclusive", "inclusive", "inferred_by_currency")
OPTIONS = ("account", "platform_fee", "collection", "tax", "tax_code")

_account = re.compile(r"acct_\w+").fullmatch
_tax_code = re.compile(r"txcd_\d+").fullmatch
_percent = re.compile(r"(\d+(?:\.\d{1,4})?)\s*%").fullmatch
_amount = re.compile(r"\d+(?:\.\d{1,6})?").fullmatch


class StripeLink(NamedTuple):
    """An agency's link to Stripe.

    Attributes:
        account: the connected account, ``acct_...``.
        platform_fee: what the platform keeps of each request: ``2.5%``, or an amount in the request's currency such as
            ``0.50``; None for nothing.
        collection: ``charge`` the payment method on file, or email an ``invoice``.
        tax: ``off``; or on with what Stripe's tax settings say (``default``), or always ``exclusive`` (the tax comes on
            top), ``inclusive`` (it is in the price), or ``inferred_by_currency`` (on top in USD and CAD).
        tax_code: of what has no code of its own; None for the one of Stripe's tax settings.
    """

    account: str
    platform_fee: str | None = None
    collection: str = "invoice"
    tax: str = "off"
    tax_code: str | None = None

    def fee_minor(self, asked_micros: int, currency: str) -> int:
        """The platform's fee on an amount, in Stripe's minor units: rounded half up, at most the amount."""
        if self.platform_fee is None:
            return 0
        share = _percent(self.platform_fee)
        fee = Decimal(asked_micros) * Decimal(share[1]) / 100 if share else Decimal(self.platform_fee) * 1_000_000
        step = steps_of(currency)
        steps = min((2 * int(fee) + step.micros) // (2 * step.micros), asked_micros // step.micros)
        return steps * step.minor


def read_link(options: Mapping[str, str]) -> StripeLink:
    """The link that options say.

    Raises:
        CallmeterError: one is unknown or wrong; it is named.
    """
    for name in options:
        if name not in OPTIONS:
            raise CallmeterError(f"{name} is no option of the gateway stripe; there are {', '.join(OPTIONS)}")
    account = options.get("account", "")
    if not _account(account):
        raise CallmeterError(
            f"--stripe-account {account!r} is no connected account; one looks like acct_1AbC2dEf3GhI4jKl"
        )
    fee = options.get("platform_fee")
    if fee is not None and not _is_fee(fee):
        raise CallmeterError(f"--platform-fee {fee!r} is neither a share from 0% to 100% such as 2.5% nor an amount")
    link = StripeLink(
        account, fee, options.get("collection", "invoice"), options.get("tax", "off"), options.get("tax_code")
    )
    for option, value, allowed in (("collection", link.collection, COLLECTIONS), ("tax", link.tax, TAXES)):
        if value not in allowed:
            raise CallmeterError(f"--{option} {value!r} is none of {', '.join(allowed)}")
    if link.tax_code is not None and not _tax_code(link.tax_code):
        raise CallmeterError(f"--tax-code {link.tax_code!r} is no tax code of Stripe's; one looks like txcd_10000000")
    return link


def _is_fee(text: str) -> bool:
    share = _percent(text)
    try:
        return Decimal(share[1]) <= 100 if share else bool(_amount(text))
    except InvalidOperation:
        return False
