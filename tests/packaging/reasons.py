"""The texts with which the agents' code can end an action, as its source has them: each with … where a value stands."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path

VALUE = "…"
# What makes an exit reason of a text, beside the classes of errors and a function that returns a sentence.
WORDED = ("__init__", "degraded", "fencing_needed", "incomplete", "silent")
SENTENCE = re.compile(r"[A-Za-z)]{2}[^ ]* ([^ ]+ )*[^ ]*[A-Za-z]{2}")  # Two words at least.
Names = dict[str, list[ast.expr]]


def subclasses(root: type[Exception]) -> set[str]:
    return {root.__name__}.union(*(subclasses(found) for found in root.__subclasses__()))


def texts(path: Path, errors: set[str]) -> set[tuple[str, str]]:
    """Return every sentence of a module that is given to one of `errors` or to one of WORDED, or that a function returns.

    Each comes with the function that it is in, as in "lvm.owner".
    """
    found: set[tuple[str, str]] = set()
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            where = f"{path.stem}.{function.name}"
            found.update((where, text) for text in texts_of(function, errors) if SENTENCE.search(text))
    return found


def texts_of(function: ast.FunctionDef, errors: set[str]) -> Iterator[str]:
    names = assigned(function)
    returns = ast.unparse(function.returns) if function.returns else ""
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and called(node) in {*errors, *WORDED}:
            for argument in node.args:
                yield from (complaint(text) if called(node) == "ValueError" else text for text in written(argument, names))
        elif isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == "reason" for target in node.targets):
            yield from written(node.value, names)
        elif isinstance(node, ast.Return) and node.value and returns in ("str", "str | None"):
            yield from (complaint(text) if "None" in returns else text for text in written(node.value, names))


def complaint(text: str) -> str:
    """Return what is shown of a parameter's value that is wrong (ocf_py.parameters.parse_all)."""
    return f"{VALUE}={VALUE} {text}"


def called(call: ast.Call) -> str:
    """Return the name of what is called, the first of them where that depends."""
    function = call.func.body if isinstance(call.func, ast.IfExp) else call.func
    return function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""


def assigned(function: ast.FunctionDef) -> Names:
    """Return what a function assigns to each of its names."""
    found: Names = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                pairs = zip(target.elts, node.value.elts) if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple) else ()
                for name, value in pairs or [(target, node.value)]:
                    if isinstance(name, ast.Name):
                        found.setdefault(name.id, []).append(value)
    return found


def written(value: ast.expr, names: Names) -> Iterator[str]:
    """Yield what an expression may be as a text.  A name is taken for what it was given where it stands alone or first."""
    if isinstance(value, ast.Constant):
        yield str(value.value)
    elif isinstance(value, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in value.values]
        rest = "".join(str(part.value) if isinstance(part, ast.Constant) else VALUE for part in parts[1:])
        yield from (first + rest for part in parts[:1] for first in written(part, names))
    elif isinstance(value, ast.BinOp):
        yield from map("".join, product(written(value.left, names), written(value.right, names)))
    elif isinstance(value, (ast.IfExp, ast.BoolOp)):
        for one in (value.body, value.orelse) if isinstance(value, ast.IfExp) else value.values:
            yield from written(one, names)
    elif isinstance(value, ast.Name) and value.id in names:
        others = {name: given for name, given in names.items() if name != value.id}
        for one in names[value.id]:
            yield from written(one, others)
    else:
        yield VALUE


def explains(form: str, text: str) -> bool:
    """Return whether a message of a table is the form of a text; how it begins and ends may be said elsewhere."""
    return bool(re.search(".*".join(map(re.escape, form.strip(f"{VALUE}:; ").split(VALUE))), text))
