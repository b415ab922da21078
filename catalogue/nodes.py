"""YAML as plain values that remember their lines, before anything is believed of them.

Scalars stay the text that was written (``49.00`` is never a float, ``10001`` keeps its zeros), but for true, false and
null. A key that occurs twice in a mapping is a problem, not a silent winner.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
DEEPEST = 6
TRUE_WORDS = frozenset(("true", "yes", "on", "y"))


@dataclass(frozen=True, order=True)
class Problem:
    """One mistake in a file.

    Attributes:
        line: counted from 1.
        key: where in the document, such as ``plans.starter.price``; empty for the whole of it.
        message: what is wrong and what is allowed.
    """

    line: int
    key: str
    message: str


def dotted(path: Path) -> str:
    """A path as people write it: ``plans.starter.packs[0]``."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


@dataclass
class Document:
    """A YAML document.

    Attributes:
        value: mappings, lists, text, booleans and None.
        lines: line of each key and list item, by its path.
        problems: what is wrong with it as YAML.
    """

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line(self, path: Path) -> int:
        """The line of a key, or of the nearest key around it that is there."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def problem(self, path: Path, message: str) -> None:
        """Note a mistake."""
        self.problems.append(Problem(self.line(path), dotted(path), message))


def read(text: str) -> Document:
    """Read one YAML document; mistakes are in its ``problems``."""
    document = Document()
    try:
        root = YAML(typ="rt", pure=True).compose(io.StringIO(text))
        if root is not None:
            document.value = _plain(root, (), document)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.problems.append(Problem(line, "", f"not YAML: {error.problem or error.context}"))
    except YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        document.problems.append(Problem(line, "", f"not YAML: {str(error).splitlines()[0]}"))
    return document


def _plain(node: Node, path: Path, document: Document) -> Any:
    document.lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, ScalarNode):
        return _scalar(node)
    if len(path) > DEEPEST:
        document.problem(path[:-1], "is nested too deeply")
        return None
    if isinstance(node, SequenceNode):
        return [_item(one, (*path, index), document) for index, one in enumerate(node.value)]
    assert isinstance(node, MappingNode)
    return _mapping(node, path, document)


def _item(node: Node, path: Path, document: Document) -> Any:
    document.lines[path] = node.start_mark.line + 1
    return _plain(node, path, document)


def _scalar(node: ScalarNode) -> str | bool | None:
    tag = str(node.tag)
    if tag.endswith(":null"):
        return None
    if tag.endswith(":bool"):
        return node.value.lower() in TRUE_WORDS
    return str(node.value)


def _mapping(node: MappingNode, path: Path, document: Document) -> dict[str, Any]:
    values: dict[str, Any] = {}
    merged: list[Node] = []
    if path.count("<<") > DEEPEST:
        return values
    for key, value in node.value:
        line = key.start_mark.line + 1
        if str(key.tag).endswith(":merge"):
            merged.extend(value.value if isinstance(value, SequenceNode) else [value])
            continue
        if not isinstance(key, ScalarNode):
            document.problems.append(Problem(line, dotted(path), "a key must be plain text"))
            continue
        here = (*path, str(key.value))
        if key.value in values:
            first = document.lines[here]
            document.problems.append(Problem(line, dotted(here), f"this key is there twice; first in line {first}"))
            continue
        document.lines[here] = line
        values[key.value] = _plain(value, here, document)
    for one in merged:
        if isinstance(one, MappingNode):
            for name, value in _mapping(one, (*path, "<<"), Document()).items():
                if name not in values:
                    document.lines[(*path, name)] = node.start_mark.line + 1
                    values[name] = value
        else:
            document.problem(path, "<< must name a mapping")
    return values
