"""The shape of the project: imports point one way, and the core is pure."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PURE = {"rating", "msgspec", "dateutil", "__future__"}
IMPURE_STANDARD_LIBRARY = {"asyncio", "os", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid"}
# Each package and those of ours that it may import.
MAY_IMPORT = {
    "rating": set(),
    "streams": {"rating"},
    "catalogue": {"rating", "streams"},
    "sinks": {"rating", "streams"},
    "jobs": {"rating", "streams", "sinks", "catalogue"},
    "deploy": {"streams"},
}
OURS = {*MAY_IMPORT, "cli"}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    for path in (ROOT / package).rglob("*.py"):
        wrong = set(imports_of(path)) & OURS - MAY_IMPORT[package] - {package}
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_rating_is_pure():
    import sys

    for path in (ROOT / "rating").glob("*.py"):
        for name in imports_of(path):
            assert name in PURE or name in sys.stdlib_module_names, f"{path.name} imports {name}"
            assert name not in IMPURE_STANDARD_LIBRARY, f"{path.name} imports {name}"
        assert ".now(" not in path.read_text()
