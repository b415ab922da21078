"""Reading a catalogue file: every mistake in it is found, with its line, its key and what is allowed there."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from catalogue.collection import MODELS, Catalogue, Entry, Kind
from catalogue.kinds import identifier, name
from catalogue.model import Agency, AgencyCap, Body, Cap, NamedCap, Outcomes, Pack, Plan, Wholesale
from catalogue.nodes import Document, Problem, read
from catalogue.nodes import Path as KeyPath
from catalogue.spelling import hint
from catalogue.terms import currency_of
from streams.errors import CallmeterError

SECTIONS: dict[str, Kind] = {"agencies": "agency", "plans": "plan", "packs": "pack", "accounts": "account"}
NESTED: dict[str, type[BaseModel]] = {"cap": Cap, "outcomes": Outcomes, "wholesale": Wholesale}
ARTICLES = {"agency": "an agency", "plan": "a plan", "pack": "a pack", "account": "an account"}


class CatalogueError(CallmeterError):
    """A file cannot be used. ``problems`` holds every mistake; the text is one line for each."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = sorted(set(problems))
        lines = [
            f"{file}:{problem.line}: {problem.key + ': ' if problem.key else ''}{problem.message}"
            for problem in self.problems
        ]
        head = "" if len(lines) == 1 else f"{len(lines)} mistakes in {file}\n"
        super().__init__(head + "\n".join(lines))


def load(file: str | Path) -> Catalogue:
    """Read and check a catalogue file.

    Raises:
        CatalogueError: with every mistake in it.
        CallmeterError: it cannot be read.
    """
    try:
        content = Path(file).read_bytes()
    except FileNotFoundError:
        raise CallmeterError(f"there is no file {file}; `callmeter catalogue init {file}` writes an example") from None
    except OSError as error:
        raise CallmeterError(f"cannot read {file}: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CatalogueError(str(file), [Problem(line, "", "not UTF-8 text")]) from None
    return loads(text, str(file))


def loads(text: str, file: str = "catalogue") -> Catalogue:
    """Check a catalogue given as text; ``file`` is its name in errors. Raises CatalogueError."""
    document = read(text)
    if document.problems and document.value is None:
        raise CatalogueError(file, document.problems)
    loader = _Loader(document)
    entries = loader.load()
    if document.problems:
        raise CatalogueError(file, document.problems)
    return Catalogue.of(entries)


def _nested(kind: Kind, path: KeyPath) -> tuple[type[BaseModel], str]:
    """The model of a mapping inside of an entry, and what it is called."""
    if len(path) > 3 and path[2] == "caps":
        return AgencyCap if kind == "agency" else NamedCap, "a cap"
    return NESTED[str(path[-1])], str(path[-1])


def shown(value: Any) -> str:
    """A value as it is quoted in an error."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:59] + "…"


class _Loader:
    """The sections of one document, checked entry by entry, then against each other."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.paths: dict[str, KeyPath] = {}
        self.bodies: dict[str, Body] = {}
        self.names: dict[tuple[Kind, str], set[str]] = defaultdict(set)
        self.named_packs: list[tuple[str, KeyPath, list[Any]]] = []
        self.agencies: tuple[str, ...] = ()

    def load(self) -> list[Entry]:
        sections = self._sections()
        self.agencies = tuple(sections.get("agencies", {}))
        if not self.agencies and not self.document.problems:
            self.document.problem(
                ("agencies",), "there must be at least one agency, such as acme: {currency: USD, ...}"
            )
        entries = []
        for section, kind in SECTIONS.items():
            for key, raw in sections.get(section, {}).items():
                entry = self._entry(kind, (section, key), raw)
                if entry:
                    entries.append(entry)
        for agency, path, packs in self.named_packs:
            self._check_packs(agency, path, packs)
        return entries

    def _sections(self) -> dict[str, dict[str, Any]]:
        content = self.document.value
        if content is None:
            content = {}
        if not isinstance(content, dict):
            self.document.problem((), f"must be a mapping with {', '.join(SECTIONS)}")
            return {}
        sections = {}
        for section, entries in content.items():
            if section not in SECTIONS:
                allowed = ", ".join(SECTIONS)
                self.document.problem((section,), f"not a section{hint(section, SECTIONS)}; allowed: {allowed}")
            elif entries is None:
                continue
            elif not isinstance(entries, dict):
                self.document.problem((section,), f"must be a mapping of names (got {shown(entries)})")
            else:
                sections[section] = entries
        return sections

    def _entry(self, kind: Kind, path: KeyPath, raw: Any) -> Entry | None:
        key = str(path[1])
        agency, _, own = key.rpartition("/") if kind in ("plan", "pack") else ("", "", key)
        try:
            identifier(own) if kind == "account" else name(own)
        except ValueError as error:
            self.document.problem(path, str(error))
            return None
        if not isinstance(raw, dict):
            state = "is empty; must" if raw is None else "must"
            self.document.problem(path, f"{state} be a mapping with {', '.join(MODELS[kind].model_fields)}")
            return None
        if kind != "agency":
            agency = self._agency(kind, path, raw, agency)
            raw = {**raw, "agency": agency or self.agencies[0]} if self.agencies else raw
        else:
            agency = own
        if agency:
            self.names[kind, agency].add(own)
            if isinstance(raw.get("packs"), list):
                self.named_packs.append((agency, path, raw["packs"]))
        body = self._body(kind, path, raw)
        if body is None or not agency:
            return None
        entry = Entry(agency, kind, own, body)
        if entry.key in self.paths:
            first = self.document.line(self.paths[entry.key])
            self.document.problem(path, f"{kind} {own} of {agency} is there twice; first in line {first}")
            return None
        self.paths[entry.key] = path
        self.bodies[entry.key] = body
        return entry

    def _agency(self, kind: Kind, path: KeyPath, raw: dict[str, Any], addressed: str) -> str:
        """The agency that an entry belongs to; empty where it cannot be told, which is noted."""
        here = (*path, "agency")
        written = raw.get("agency", addressed or None)
        known = ", ".join(self.agencies[:5]) + (", ..." if len(self.agencies) > 5 else "")
        if written is None:
            state = "is empty" if "agency" in raw else "is missing"
            self.document.problem(here, f"{state}; must be one of the agencies of this file: {known}")
        elif written not in self.agencies:
            near = hint(str(written), self.agencies)
            self.document.problem(
                here, f"must be one of the agencies of this file: {known}{near} (got {shown(written)})"
            )
        elif addressed and written != addressed:
            self.document.problem(here, f"must be {addressed}, as in {path[1]} (got {shown(written)})")
        else:
            return str(written)
        return ""

    def _body(self, kind: Kind, path: KeyPath, raw: dict[str, Any]) -> Body | None:
        model = MODELS[kind]
        required = {key: None for key, field in model.model_fields.items() if field.is_required() and key not in raw}
        try:
            return model.model_validate({**raw, **required})
        except ValidationError as error:
            for one in error.errors(include_url=False):
                self._explain(kind, path, (*path, *one["loc"]), one)
            return None

    def _explain(self, kind: Kind, path: KeyPath, here: KeyPath, error: Any) -> None:
        if here[-1] == "[key]":
            # Of a name that cannot be one.
            here = here[:-1]
        if error["type"] == "extra_forbidden":
            nested = here[:-1] != path
            owner, of = _nested(kind, here[:-1]) if nested else (MODELS[kind], ARTICLES[kind])
            allowed = ", ".join(owner.model_fields)
            key = str(here[-1])
            self.document.problem(here, f"not a key of {of}{hint(key, owner.model_fields)}; allowed: {allowed}")
            return
        if error["type"] == "value_error":
            message = str(error["ctx"]["error"])
        elif error["type"] == "model_type":
            message = f"must be a mapping with {', '.join(_nested(kind, here)[0].model_fields)}"
        elif error["type"] == "dict_type":
            message = "must be a mapping of names, such as daily: {minutes: 120, per: day}"
        else:
            message = error["msg"][0].lower() + error["msg"][1:]
        if error["input"] is None:
            state = "is empty" if here in self.document.lines else "is missing"
            self.document.problem(here, f"{state}; {message}")
        elif isinstance(error["input"], dict) and error["type"] == "value_error":
            self.document.problem(here, message)
        else:
            self.document.problem(here, f"{message} (got {shown(error['input'])})")

    def _check_packs(self, agency: str, path: KeyPath, packs: list[Any]) -> None:
        """The packs that are named must be there, and be sold in the currency of the plan that names them."""
        known = self.names["pack", agency]
        seller = self.bodies.get(f"{agency}/agency/{agency}")
        of_plan = path[0] == "plans"
        plan = self.bodies.get(f"{agency}/plan/{str(path[1]).rpartition('/')[2]}") if of_plan else None
        for index, pack in enumerate(packs):
            here = (*path, "packs", index)
            body = self.bodies.get(f"{agency}/pack/{pack}")
            if isinstance(pack, str) and pack not in known:
                message = f"agency {agency} has no pack {shown(pack)} in this file{hint(pack, known)}"
                self.document.problem(here, message)
            elif isinstance(body, Pack) and isinstance(plan, Plan) and isinstance(seller, Agency):
                theirs, ours = currency_of(body, seller), currency_of(plan, seller)
                if theirs != ours:
                    self.document.problem(here, f"pack {pack} is sold in {theirs}, but the plan in {ours}")
