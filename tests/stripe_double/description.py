"""Holds requests and answers against Stripe's published description, as Stripe does with requests."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qsl

from jsonschema import Draft202012Validator

from tests.stripe_double.cut import CUT

_described = json.loads(CUT.read_text())
OPERATIONS: dict[str, Any] = _described["operations"]
VERSION: str = _described["version"]
_paths = [
    (method, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)).fullmatch, f"{method} {path}")
    for method, path in (operation.split(" ", 1) for operation in OPERATIONS)
]
_validators: dict[str, Draft202012Validator] = {}


class Refused(Exception):
    """An answer that is an error of Stripe's.

    Attributes:
        status: of HTTP.
        error: its object.
    """

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **fields: Any) -> None:
        super().__init__(message)
        self.status = status
        self.error = {"type": kind, "message": message, **fields}


def operation_of(method: str, path: str) -> tuple[str, dict[str, str]]:
    """The described operation of a request, and what its path names.

    Raises:
        Refused: there is none.
    """
    # What is spelled out comes before what a name stands for: /v1/invoices/search is no invoice.
    for described, match, name in sorted(_paths, key=lambda one: one[2].count("{")):
        if described == method.lower() and (found := match(path)):
            return name, found.groupdict()
    raise Refused(404, f"Unrecognized request URL ({method}: {path}).")


def parameters(text: str) -> dict[str, Any]:
    """Nested parameters of a form: ``a[b]=1&c[0][d]=2`` is ``{"a": {"b": "1"}, "c": [{"d": "2"}]}``."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        keys = [name.partition("[")[0], *re.findall(r"\[([^\]]*)\]", name)]
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
        last = keys[-1]
        node[str(len(node)) if last == "" else last] = value
    return {key: _lists(value) for key, value in tree.items()}


def _lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    inner = {key: _lists(value) for key, value in node.items()}
    return list(inner.values()) if inner and all(key.isdigit() for key in inner) else inner


def check_request(operation: str, given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a request with their types.

    Raises:
        Refused: one is unknown, missing, or of another type.
    """
    schema = OPERATIONS[operation]["request"]
    typed: dict[str, Any] = _typed(schema, given)
    problem = next(iter(sorted(_validator(operation, "request").iter_errors(typed), key=str)), None)
    if problem is None:
        return typed
    where = "".join(f"[{part}]" if number else str(part) for number, part in enumerate(problem.absolute_path))
    if problem.validator == "additionalProperties":
        extra = sorted(set(problem.instance) - set(problem.schema["properties"]))[0]
        name = f"{where}[{extra}]" if where else extra
        raise Refused(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    if problem.validator == "required":
        missing = sorted(set(problem.validator_value) - set(problem.instance))[0]
        name = f"{where}[{missing}]" if where else missing
        raise Refused(400, f"Missing required param: {name}.", code="parameter_missing", param=name)
    raise Refused(400, f"Invalid {where}: {problem.message}", param=where)


def check_response(operation: str, answer: dict[str, Any]) -> None:
    """Fail the test whose double answers what Stripe's description does not allow."""
    problems = [
        f"{list(one.absolute_path)}: {one.message}" for one in _validator(operation, "response").iter_errors(answer)
    ]
    assert not problems, f"{operation} would answer what Stripe never does: {problems[:3]}"


def _validator(operation: str, side: str) -> Draft202012Validator:
    name = f"{side} {operation}"
    if name not in _validators:
        _validators[name] = Draft202012Validator({**OPERATIONS[operation][side], "schemas": _described["schemas"]})
    return _validators[name]


def _typed(schema: dict[str, Any], value: Any) -> Any:
    """Text of a form as its schema means it; what does not fit stays text, and is found by the validator."""
    for choice in schema.get("anyOf", ()):
        typed = _typed(choice, value)
        if Draft202012Validator(choice).is_valid(typed):
            return typed
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        others = schema.get("additionalProperties")
        rest = others if isinstance(others, dict) else {}
        return {key: _typed(inner.get(key, rest), one) for key, one in value.items()}
    if isinstance(value, list):
        return [_typed(schema.get("items", {}), one) for one in value]
    if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", value):
        return int(value)
    if schema.get("type") == "boolean" and value in ("true", "false"):
        return value == "true"
    return value
