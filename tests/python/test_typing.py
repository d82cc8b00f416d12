"""Types and docstrings: what editors and readers see is there and true."""

from __future__ import annotations

import ast
import importlib
import inspect
import pathlib
import re

import arfc
import pytest

PACKAGE = pathlib.Path(arfc.__file__).parent
PACKAGES = ("arfc.baselines", "arfc.datasets", "arfc.protocol")
MODULES = (
    "arfc",
    *PACKAGES,
    "arfc.collection",
    "arfc.compressor",
    "arfc.errors",
    "arfc.evaluate",
    "arfc.index",
)
ARRAYS = {"x", "q", "queries", "codes", "rows", "ids", "found", "truth", "relevant"}


def public_functions() -> list[tuple[str, object]]:
    """Returns every public function, method and property of the package, by its dotted name."""
    found = {}
    packages = [arfc, *(importlib.import_module(name) for name in PACKAGES)]
    exported = {name: getattr(package, name) for package in packages for name in package.__all__}
    for name, value in exported.items():
        if inspect.isclass(value) and value.__module__.startswith("arfc"):
            for member, inner in vars(value).items():
                if not member.startswith("_") and (
                    callable(inner) or isinstance(inner, property | classmethod)
                ):
                    found[f"{name}.{member}"] = inner
        elif inspect.isfunction(value):
            found[name] = value
    for name, value in vars(arfc.evaluate).items():
        if (
            inspect.isfunction(value)
            and value.__module__ == "arfc.evaluate"
            and not name.startswith("_")
        ):
            found[f"evaluate.{name}"] = value
    return sorted(found.items())


def unwrapped(value: object):
    if isinstance(value, property):
        return value.fget
    return value.__func__ if isinstance(value, classmethod) else value


def stub_names(path: pathlib.Path) -> dict[str, list[str] | None]:
    """Returns what a stub declares: a function's parameters, None for a property or a class."""
    names: dict[str, list[str] | None] = {}

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef):
                names[prefix + node.name] = None
                visit(node.body, prefix + node.name + ".")
            elif isinstance(node, ast.FunctionDef):
                is_property = any(getattr(d, "id", "") == "property" for d in node.decorator_list)
                names[prefix + node.name] = None if is_property else [a.arg for a in node.args.args]

    visit(ast.parse(path.read_text()).body, "")
    return names


def test_the_package_says_that_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_the_stub_declares_what_the_native_module_has():
    native = arfc._arfc
    declared = stub_names(PACKAGE / "_arfc.pyi")
    present = set()
    for name, value in vars(native).items():
        if name.startswith("_"):
            continue
        present.add(name)
        if inspect.isclass(value):
            present |= {f"{name}.{member}" for member in vars(value) if not member.startswith("_")}
    assert {name for name in declared if "__" not in name} == present
    assert declared["Compressor.score"] == ["self", "queries", "codes", "neural", "scores"]


def test_the_package_calls_only_what_the_stub_declares():
    declared = stub_names(PACKAGE / "_arfc.pyi")
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "_arfc":
                assert node.attr in declared, f"{path.name}: _arfc.{node.attr}"


def test_everything_in_all_is_there():
    assert len(set(arfc.__all__)) == len(arfc.__all__)
    for name in arfc.__all__:
        assert getattr(arfc, name) is not None


@pytest.mark.parametrize(
    ("name", "value"), public_functions(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_public_function_is_documented_and_annotated(name, value):
    function = unwrapped(value)
    if not inspect.isfunction(function):
        pytest.skip(f"{name} is native and documented by its stub")
    text = inspect.getdoc(function)
    assert text and text[0].isupper(), f"{name} has no docstring"
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty, (
        f"{name} does not say what it returns"
    )
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}: {parameter.name}"
        if parameter.name in ARRAYS:
            pattern = rf"\b{parameter.name}\b,?[\w, ]*\s+\[[mn]\b"
            assert re.search(pattern, text), f"{name}: no shape of {parameter.name}"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_begins_with_a_sentence(name):
    text = importlib.import_module(name).__doc__
    assert (
        text and text.strip().splitlines()[0].endswith((".", ":"))
    ) or text.strip().splitlines()[0][-1].isalpha()


def test_every_error_class_says_when_it_is_raised():
    for name in arfc.__all__:
        value = getattr(arfc, name)
        if inspect.isclass(value) and issubclass(value, arfc.ArfcError):
            assert value.__doc__ and value.__doc__.endswith("."), name
