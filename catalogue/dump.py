"""A catalogue as a file again, as a person would have written it: defaults left out, amounts with their decimals."""

from __future__ import annotations

import io
from decimal import Decimal
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.representer import RoundTripRepresenter

from catalogue.collection import Catalogue, Entry
from catalogue.load import SECTIONS
from catalogue.model import Agency, Model
from catalogue.spelling import amount_text

WIDTH = 4_096


class _Plain(str):
    """Text to be written as it is, without quotes: an amount."""


class _Representer(RoundTripRepresenter):
    """The library's representer, which also knows amounts."""


def _represent_plain(representer: _Representer, text: _Plain) -> ScalarNode:
    tag = "tag:yaml.org,2002:float" if "." in text else "tag:yaml.org,2002:int"
    return representer.represent_scalar(tag, str(text))


_Representer.add_representer(_Plain, _represent_plain)


def dumps(catalogue: Catalogue, agency: str | None = None) -> str:
    """A catalogue as YAML that `load.loads` reads back to the same entries.

    Args:
        catalogue: what to write; what is retired is left out.
        agency: only this agency's, or everybody's.
    """
    document = CommentedMap()
    for section, kind in SECTIONS.items():
        entries = sorted(
            (entry for entry in catalogue.of_kind(kind, agency) if not entry.retired), key=lambda entry: entry.key
        )
        names = [entry.id for entry in entries]
        written = CommentedMap()
        for entry in entries:
            name = f"{entry.agency}/{entry.id}" if names.count(entry.id) > 1 else entry.id
            written[name] = _fields(entry.body, _currency(catalogue, entry))
        if written:
            document[section] = written
    yaml = YAML(typ="rt", pure=True)
    yaml.Representer = _Representer
    yaml.width = WIDTH
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _currency(catalogue: Catalogue, entry: Entry) -> str:
    agency: Agency = catalogue.agency(entry.agency)
    return getattr(entry.body, "currency", None) or agency.currency


def _fields(model: Model, currency: str) -> CommentedMap:
    """The fields that are not as by default, nested ones on one line."""
    written = CommentedMap()
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        if not field.is_required() and value == field.default:
            continue
        if name in ("overage", "rate"):
            rate = f"{amount_text(value, currency)} per minute" if isinstance(value, Decimal) else value
            written[name] = "blocked" if rate is None else rate
        else:
            written[name] = _value(value, currency)
    return written


def _value(value: Any, currency: str) -> Any:
    if isinstance(value, Decimal):
        return _Plain(amount_text(value, currency))
    if isinstance(value, tuple):
        listed = CommentedSeq(value)
        listed.fa.set_flow_style()
        return listed
    if isinstance(value, dict):
        named = CommentedMap(
            (name, _value(one, getattr(one, "currency", None) or currency)) for name, one in value.items()
        )
        if not named:
            named.fa.set_flow_style()
        return named
    if isinstance(value, Model):
        nested = _fields(value, currency)
        nested.fa.set_flow_style()
        return nested
    return value
