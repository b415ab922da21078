"""Invoices of the double: draft, open, paid, void; tax; credit notes and refunds. Amounts in minor units, as Stripe's.

Tax is a percentage by country, collected where the account has an active registration; enough to tell exclusive from
inclusive, and a tax of nothing from a tax that was reckoned.
"""

from __future__ import annotations

from tests.stripe_double.description import Refused
from tests.stripe_double.state import Account, Object

# In thousandths.
TAX_RATES = {"US": 89, "DE": 190, "GB": 200, "CA": 130, "JP": 100}
THREE_DECIMALS = ("bhd", "jod", "kwd", "omr", "tnd")
# A charge by the second one is disputed at once.
PAYS, PAYS_AND_DISPUTES = "pm_card_visa", "pm_card_createDispute"
EVIDENCE = {"winning_evidence": "won", "losing_evidence": "lost"}
RETRY_S = 3 * 86_400


def create(account: Account, given: Object) -> Object:
    """``POST /v1/invoices``."""
    customer = account.find("customer", account.customers, given["customer"])
    method = given.get("collection_method", "charge_automatically")
    if method == "send_invoice" and not {"days_until_due", "due_date"} & set(given):
        raise Refused(
            400, "You must provide `days_until_due` or `due_date` when `collection_method` is `send_invoice`."
        )
    if method != "send_invoice" and {"days_until_due", "due_date"} & set(given):
        raise Refused(400, "You can only set `days_until_due` or `due_date` if `collection_method` is `send_invoice`.")
    taxed = given.get("automatic_tax", {}).get("enabled", False)
    if taxed:
        _must_tax(account, customer)
    now = account.now()
    due = now + 86_400 * given["days_until_due"] if "days_until_due" in given else given.get("due_date")
    made: Object = {
        "id": account.new_id("in"),
        "object": "invoice",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_paid_off_stripe": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": given.get("auto_advance", False),
        "automatic_tax": {
            "enabled": taxed,
            "disabled_reason": None,
            "liability": {"type": "self"} if taxed else None,
            "provider": "stripe" if taxed else None,
            "status": "complete" if taxed else None,
        },
        "collection_method": method,
        "created": now,
        "currency": given.get("currency", "usd"),
        "customer": customer["id"],
        "default_tax_rates": [],
        "description": given.get("description"),
        "discounts": [],
        "due_date": due,
        "hosted_invoice_url": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "livemode": False,
        "metadata": dict(given.get("metadata", {})),
        "next_payment_attempt": None,
        "number": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "_application_fee": given.get("application_fee_amount"),
    }
    account.invoices[made["id"]] = made
    account.tell("invoice.created", shown(account, made))
    return made


def _must_tax(account: Account, customer: Object) -> None:
    if account.tax_settings()["status"] != "active":
        raise Refused(
            400,
            "You must have a valid head office address to enable automatic tax calculation. Visit "
            "https://dashboard.stripe.com/settings/tax to update it.",
        )
    address = customer["address"] or {}
    country = address.get("country")
    if not country or (country in ("US", "CA") and not (address.get("postal_code") or address.get("state"))):
        raise Refused(
            400,
            "The customer's location isn't recognized. Set a valid customer address in order to automatically "
            "calculate tax.",
            code="customer_tax_location_invalid",
        )


def add_item(account: Account, given: Object) -> Object:
    """``POST /v1/invoiceitems``, on an invoice that is named."""
    customer = account.find("customer", account.customers, given["customer"])
    invoice = account.find("invoice", account.invoices, given["invoice"])
    if invoice["status"] != "draft":
        raise Refused(400, "The invoice is no longer editable.", code="invoice_not_editable")
    if given["currency"] != invoice["currency"]:
        raise Refused(400, f"The currency of this item must be that of the invoice ({invoice['currency']}).")
    if given["currency"] in THREE_DECIMALS and given["amount"] % 10:
        raise Refused(400, f"Amounts in {given['currency']} must be multiples of 10.", param="amount")
    if invoice["automatic_tax"]["enabled"] and given["amount"] < 0:
        raise Refused(400, "Automatic tax is not supported with negative amounts; use a credit note.", param="amount")
    own = [item for item in account.items.values() if item["invoice"] == invoice["id"]]
    if len(own) >= 250:
        raise Refused(400, "An invoice has at most 250 items.", code="invoice_too_many_items")
    now = account.now()
    made = {
        "id": account.new_id("ii"),
        "object": "invoiceitem",
        "amount": given["amount"],
        "currency": given["currency"],
        "customer": customer["id"],
        "date": now,
        "description": given.get("description"),
        "discountable": given.get("discountable", True),
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": dict(given.get("metadata", {})),
        "period": given.get("period", {"start": now, "end": now}),
        "proration": False,
        "quantity": 1,
        "quantity_decimal": "1",
        "_behavior": given.get("tax_behavior") or account.tax["tax_behavior"],
        "_tax_code": given.get("tax_code") or account.tax["tax_code"],
    }
    account.items[made["id"]] = made
    return made


def finalize(account: Account, invoice: Object, auto_advance: bool | None = None) -> Object:
    """``POST /v1/invoices/{invoice}/finalize``."""
    if invoice["status"] != "draft":
        raise Refused(400, "This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    sums = shown(account, invoice)
    invoice["status"] = "open"
    if auto_advance is not None:
        invoice["auto_advance"] = auto_advance
    invoice["number"] = f"{account.id[-4:].upper()}-{len(account.events):04}"
    invoice["hosted_invoice_url"] = f"https://invoice.stripe.com/i/{account.id}/{invoice['id']}"
    invoice["status_transitions"]["finalized_at"] = account.now()
    account.tell("invoice.finalized", shown(account, invoice))
    if sums["total"] == 0:
        _paid(account, invoice, 0, out_of_band=False)
    return invoice


def send(account: Account, invoice: Object) -> Object:
    """``POST /v1/invoices/{invoice}/send``: an email to the customer; a draft is finalised first."""
    if invoice["collection_method"] != "send_invoice":
        raise Refused(400, "You can only manually send an invoice if its collection method is 'send_invoice'.")
    customer = account.customers[invoice["customer"]]
    if not customer["email"]:
        raise Refused(400, "The customer must have an email address to send an invoice.", code="missing_email")
    if invoice["status"] == "draft":
        finalize(account, invoice)
    account.tell("invoice.sent", shown(account, invoice))
    return invoice


def pay(account: Account, invoice: Object, given: Object) -> Object:
    """``POST /v1/invoices/{invoice}/pay``."""
    if invoice["status"] == "paid":
        raise Refused(400, "Invoice is already paid", code="invoice_already_paid")
    if invoice["status"] == "void":
        raise Refused(400, "This invoice can no longer be paid: it is void.", code="invoice_not_editable")
    if invoice["status"] == "draft":
        finalize(account, invoice)
    left = shown(account, invoice)["amount_remaining"]
    if given.get("paid_out_of_band"):
        return _paid(account, invoice, left, out_of_band=True)
    customer = account.customers[invoice["customer"]]
    method = given.get("payment_method") or customer["invoice_settings"]["default_payment_method"]
    if not method:
        raise Refused(
            400,
            "Cannot charge a customer that has no active card. Add a default payment method, or choose to send "
            "the invoice.",
            code="resource_missing",
        )
    invoice["attempted"] = True
    invoice["attempt_count"] += 1
    if method not in (PAYS, PAYS_AND_DISPUTES):
        invoice["next_payment_attempt"] = account.now() + RETRY_S if account.retries else None
        account.tell("invoice.payment_failed", shown(account, invoice))
        raise Refused(
            402, "Your card was declined.", "card_error", code="card_declined", decline_code="generic_decline"
        )
    _paid(account, invoice, left, out_of_band=False)
    if method == PAYS_AND_DISPUTES:
        dispute(account, invoice)
    return invoice


def _paid(account: Account, invoice: Object, amount: int, out_of_band: bool) -> Object:
    invoice["status"] = "paid"
    invoice["amount_paid"] += amount
    invoice["next_payment_attempt"] = None
    if out_of_band:
        invoice["amount_paid_off_stripe"] += amount
    else:
        payment = account.new_id("inpay")
        now = account.now()
        account.payments[payment] = {
            "id": payment,
            "object": "invoice_payment",
            "amount_paid": amount,
            "amount_requested": amount,
            "created": now,
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"type": "payment_intent", "payment_intent": account.new_id("pi")},
            "status": "paid",
            "status_transitions": {"canceled_at": None, "paid_at": now},
        }
    invoice["status_transitions"]["paid_at"] = account.now()
    account.tell("invoice.paid", shown(account, invoice))
    return invoice


def void(account: Account, invoice: Object) -> Object:
    """``POST /v1/invoices/{invoice}/void``."""
    if invoice["status"] != "open":
        raise Refused(400, f"You can only void an open invoice; this one is {invoice['status']}.")
    invoice["status"] = "void"
    invoice["status_transitions"]["voided_at"] = account.now()
    account.tell("invoice.voided", shown(account, invoice))
    return invoice


def delete(account: Account, invoice: Object) -> Object:
    """``DELETE /v1/invoices/{invoice}``."""
    if invoice["status"] != "draft":
        raise Refused(400, "You can only delete draft invoices.", code="invoice_not_editable")
    del account.invoices[invoice["id"]]
    for name in [name for name, item in account.items.items() if item["invoice"] == invoice["id"]]:
        del account.items[name]
    return {"id": invoice["id"], "object": "invoice", "deleted": True}


def shown(account: Account, invoice: Object) -> Object:
    """An invoice with its lines and sums, as answers have it."""
    lines = [_line(account, invoice, item) for item in account.items.values() if item["invoice"] == invoice["id"]]
    subtotal = sum(line["amount"] for line in lines)
    discount = subtotal * account.discount_percent // 100
    taxes = [tax for line in lines for tax in line["taxes"]]
    on_top = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
    within = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
    total = subtotal - discount + on_top
    credited = invoice["pre_payment_credit_notes_amount"]
    left = 0 if invoice["status"] in ("paid", "void") else total - credited - invoice["amount_paid"]
    name = invoice["id"]
    public = {key: value for key, value in invoice.items() if not key.startswith("_")}
    return {
        **public,
        "amount_due": total - credited,
        "amount_remaining": left,
        "lines": _list(lines, f"/v1/invoices/{name}/lines"),
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - within,
        "total": total,
        "total_discount_amounts": [{"amount": discount, "discount": "di_1"}] if discount else [],
        "total_excluding_tax": total - on_top - within,
        "total_taxes": taxes,
    }


def _line(account: Account, invoice: Object, item: Object) -> Object:
    return {
        "id": item["id"].replace("ii_", "il_"),
        "object": "line_item",
        "amount": item["amount"],
        "currency": item["currency"],
        "description": item["description"],
        "discount_amounts": [],
        "discountable": item["discountable"],
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": item["metadata"],
        "period": item["period"],
        "quantity": 1,
        "subtotal": item["amount"],
        "taxes": [_tax(account, invoice, item)] if invoice["automatic_tax"]["enabled"] else [],
    }


def _tax(account: Account, invoice: Object, item: Object) -> Object:
    country = (account.customers[invoice["customer"]]["address"] or {}).get("country")
    active = [one for one in account.registrations.values() if one["country"] == country and one["status"] == "active"]
    rate = TAX_RATES.get(country or "", 0) if active else 0
    behavior = item["_behavior"]
    if behavior == "inferred_by_currency":
        behavior = "exclusive" if item["currency"] in ("usd", "cad") else "inclusive"
    amount = item["amount"]
    if behavior == "exclusive":
        tax, taxable = (amount * rate + 500) // 1000, amount
    else:
        taxable = (amount * 2000 + 1000 + rate) // (2 * (1000 + rate))
        tax = amount - taxable
    return {
        "amount": tax,
        "tax_behavior": behavior,
        "tax_rate_details": None,
        "taxability_reason": "standard_rated" if rate else "not_collecting",
        "taxable_amount": taxable,
        "type": "tax_rate_details",
    }


def create_credit_note(account: Account, given: Object) -> Object:
    """``POST /v1/credit_notes``: less is asked of an open invoice, money goes back of a paid one."""
    invoice = account.find("invoice", account.invoices, given["invoice"])
    if invoice["status"] not in ("open", "paid"):
        raise Refused(400, f"You can only credit an open or paid invoice; this one is {invoice['status']}.")
    amount = given["amount"]
    open_ = invoice["status"] == "open"
    left = (
        shown(account, invoice)["amount_remaining"]
        if open_
        else (invoice["amount_paid"] - invoice["post_payment_credit_notes_amount"])
    )
    if not 0 < amount <= left:
        raise Refused(400, f"The credit note amount must be between 1 and {left}.", param="amount")
    back, outside = given.get("refund_amount", 0), given.get("out_of_band_amount", 0)
    if not open_ and back + outside + given.get("credit_amount", 0) != amount:
        raise Refused(400, "The sum of credit amount, refund amount and out of band amount must equal the amount.")
    refunds = []
    if back:
        payment = next((one for one in account.payments.values() if one["invoice"] == invoice["id"]), None)
        if payment is None:
            raise Refused(400, "There is no payment of this invoice to refund.")
        refund = create_refund(account, {"payment_intent": payment["payment"]["payment_intent"], "amount": back})
        refunds.append(
            {"amount_refunded": back, "refund": refund["id"], "type": "refund", "payment_record_refund": None}
        )
    invoice["pre_payment_credit_notes_amount" if open_ else "post_payment_credit_notes_amount"] += amount
    made = {
        "id": account.new_id("cn"),
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": account.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "discount_amount": 0,
        "discount_amounts": [],
        "invoice": invoice["id"],
        "lines": _list([], "/v1/credit_notes/lines"),
        "livemode": False,
        "memo": given.get("memo"),
        "metadata": dict(given.get("metadata", {})),
        "number": f"{invoice['number']}-CN-{len(account.credit_notes) + 1:02}",
        "pdf": "https://pay.stripe.com/credit_notes",
        "post_payment_amount": 0 if open_ else amount,
        "pre_payment_amount": amount if open_ else 0,
        "pretax_credit_amounts": [],
        "refunds": refunds,
        "status": "issued",
        "subtotal": amount,
        "total": amount,
        "type": "pre_payment" if open_ else "post_payment",
    }
    account.credit_notes[made["id"]] = made
    account.tell("credit_note.created", made)
    if open_ and shown(account, invoice)["amount_remaining"] == 0:
        _paid(account, invoice, 0, out_of_band=False)
    return made


def create_refund(account: Account, given: Object) -> Object:
    """``POST /v1/refunds``."""
    intent = given["payment_intent"]
    payment = next((one for one in account.payments.values() if one["payment"]["payment_intent"] == intent), None)
    if payment is None:
        raise Refused(404, f"No such payment_intent: '{intent}'", code="resource_missing")
    before = sum(one["amount"] for one in account.refunds.values() if one["payment_intent"] == intent)
    amount = given.get("amount", payment["amount_paid"] - before)
    if not 0 < amount <= payment["amount_paid"] - before:
        raise Refused(400, "Refund amount is greater than unrefunded amount on charge.", code="amount_too_large")
    made = {
        "id": account.new_id("re"),
        "object": "refund",
        "amount": amount,
        "created": account.now(),
        "currency": payment["currency"],
        "metadata": dict(given.get("metadata", {})),
        "payment_intent": intent,
        "status": "succeeded",
    }
    account.refunds[made["id"]] = made
    account.tell("refund.created", made)
    return made


def dispute(account: Account, invoice: Object, amount: int | None = None) -> Object:
    """The customer's bank wants the money of a charge back, all of it unless told."""
    payment = next(one for one in account.payments.values() if one["invoice"] == invoice["id"])
    made: Object = {
        "id": account.new_id("dp"),
        "object": "dispute",
        "amount": payment["amount_paid"] if amount is None else amount,
        "balance_transactions": [],
        "charge": payment["payment"]["payment_intent"].replace("pi_", "ch_"),
        "created": account.now(),
        "currency": payment["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": account.now() + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {},
        "payment_intent": payment["payment"]["payment_intent"],
        "reason": "fraudulent",
        "status": "needs_response",
    }
    account.disputes[made["id"]] = made
    account.tell("charge.dispute.created", made)
    return made


def submit_evidence(account: Account, dispute: Object, evidence: Object) -> None:
    """``POST /v1/disputes/{dispute}``: Stripe's words for tests decide it."""
    close_dispute(account, dispute, EVIDENCE.get(evidence.get("uncategorized_text", ""), "under_review"))


def close_dispute(account: Account, dispute: Object, status: str) -> None:
    """The bank has decided: ``won`` or ``lost``."""
    dispute["status"] = status
    account.tell("charge.dispute.closed", dispute)


def _list(data: list[Object], url: str) -> Object:
    return {"object": "list", "url": url, "data": data, "has_more": False}
