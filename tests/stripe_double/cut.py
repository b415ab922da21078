"""Cuts what the double needs out of Stripe's published OpenAPI description, which stripe-mock carries.

Run ``python -m tests.stripe_double.cut`` to make ``openapi.json`` anew; it takes the description out of the Go module
(``go mod download`` brings it). The cut is kept with the tests, so that they need no Go.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

STRIPE_MOCK = "github.com/stripe/stripe-mock@v0.203.0"
CUT = Path(__file__).with_name("openapi.json")

# What the gateway asks, and what tests set up. An operation that is not here does not exist for the double.
OPERATIONS = [
    ("get", "/v1/account"),
    ("get", "/v1/country_specs/{country}"),
    ("get", "/v1/customers"),
    ("post", "/v1/customers"),
    ("get", "/v1/customers/{customer}"),
    ("post", "/v1/customers/{customer}"),
    ("get", "/v1/customers/{customer}/tax_ids"),
    ("post", "/v1/customers/{customer}/tax_ids"),
    ("get", "/v1/invoices"),
    ("post", "/v1/invoices"),
    ("get", "/v1/invoices/search"),
    ("get", "/v1/invoices/{invoice}"),
    ("post", "/v1/invoices/{invoice}"),
    ("delete", "/v1/invoices/{invoice}"),
    ("post", "/v1/invoices/{invoice}/finalize"),
    ("post", "/v1/invoices/{invoice}/send"),
    ("post", "/v1/invoices/{invoice}/pay"),
    ("post", "/v1/invoices/{invoice}/void"),
    ("get", "/v1/invoiceitems"),
    ("post", "/v1/invoiceitems"),
    ("get", "/v1/invoice_payments"),
    ("get", "/v1/credit_notes"),
    ("post", "/v1/credit_notes"),
    ("get", "/v1/credit_notes/{id}"),
    ("get", "/v1/refunds"),
    ("post", "/v1/refunds"),
    ("get", "/v1/disputes"),
    ("get", "/v1/disputes/{dispute}"),
    ("post", "/v1/disputes/{dispute}"),
    ("get", "/v1/tax/settings"),
    ("post", "/v1/tax/settings"),
    ("get", "/v1/tax/registrations"),
    ("post", "/v1/tax/registrations"),
    ("post", "/v1/tax/registrations/{id}"),
]
# Objects that are described whole; what these refer to beyond them is taken as it comes.
OBJECTS = [
    "account",
    "account_requirements",
    "automatic_tax",
    "billing_bill_resource_invoicing_taxes_tax",
    "country_spec",
    "credit_note",
    "customer_tax",
    "customer_tax_location",
    "deleted_invoice",
    "dispute",
    "invoice",
    "invoice_line_item_period",
    "invoice_payment",
    "invoiceitem",
    "invoice_setting_customer_setting",
    "invoices_resource_status_transitions",
    "invoices_payments_invoice_payment_associated_payment",
    "line_item",
    "refund",
    "tax.registration",
    "tax.settings",
    "tax_id",
    "tax_product_resource_tax_settings_defaults",
    "tax_product_resource_tax_settings_head_office",
    "tax_product_resource_tax_settings_status_details",
    "tax_product_resource_tax_settings_status_details_resource_active",
    "tax_product_resource_tax_settings_status_details_resource_pending",
    "address",
    "customer",
    "error",
    "api_errors",
]
FORM = "application/x-www-form-urlencoded"
REFERENCE = "#/components/schemas/"


def published(module: str = STRIPE_MOCK) -> dict[str, Any]:
    """The whole description as stripe-mock carries it. Needs Go."""
    with tempfile.TemporaryDirectory() as folder:
        told = subprocess.run(["go", "mod", "download", "-json", module], cwd=folder, capture_output=True, check=True)
    whole: dict[str, Any] = json.loads(
        (Path(json.loads(told.stdout)["Dir"]) / "embedded/openapi/spec3.json").read_text()
    )
    return whole


def cut(whole: dict[str, Any]) -> dict[str, Any]:
    """The operations and objects above, without their texts.

    Returns:
        ``version``; ``operations``: by "post /v1/invoices" the JSON schemas ``request`` (parameters of the path left
        out) and ``response``; ``schemas``: what these refer to.
    """
    operations = {}
    for method, path in OPERATIONS:
        described = whole["paths"][path][method]
        body = described.get("requestBody", {}).get("content", {}).get(FORM, {}).get("schema", {"type": "object"})
        properties = {**body.get("properties", {})}
        required = list(body.get("required", []))
        for parameter in described.get("parameters", []):
            if parameter["in"] == "query":
                properties[parameter["name"]] = parameter["schema"]
                required += [parameter["name"]] * bool(parameter.get("required"))
        request = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        response = described["responses"]["200"]["content"]["application/json"]["schema"]
        operations[f"{method} {path}"] = {"request": _schema(request), "response": _schema(response)}
    schemas = {name: _schema(whole["components"]["schemas"][name]) for name in OBJECTS}
    return {"version": whole["info"]["version"], "operations": operations, "schemas": schemas}


def _schema(node: Any) -> Any:
    """A JSON schema out of OpenAPI's: ``nullable`` spelled out, references beyond our objects opened."""
    if isinstance(node, list):
        return [_schema(one) for one in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        name = node["$ref"].removeprefix(REFERENCE)
        return {"$ref": f"#/schemas/{name}"} if name in OBJECTS else {}
    kept = {}
    for key, value in node.items():
        if key == "properties":
            kept[key] = {name: _schema(one) for name, one in value.items()}
        elif key not in ("description", "title", "nullable", "format") and not key.startswith("x-"):
            kept[key] = value if key in ("enum", "required") else _schema(value)
    if node.get("type") == "object" and "properties" in kept and "additionalProperties" not in kept:
        kept["additionalProperties"] = False
    if node.get("x-stripeBypassValidation"):
        kept.pop("enum", None)
    return {"anyOf": [kept, {"type": "null"}]} if node.get("nullable") else kept


def main() -> None:
    """Make ``openapi.json`` anew."""
    CUT.write_text(json.dumps(cut(published()), separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
