"""Plug-ins by name: what ships with Firedamp, entry points, and `package.module:Name`.

A plug-in is a frozen dataclass; its name and fields are its configuration and its identity in the store.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import inspect
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from attacks.base import OMITTED
from canaries.errors import InputError


@dataclass(frozen=True)
class Kind:
    """A kind of plug-in.

    Attributes:
        label: what messages call it.
        module: the module that holds the base class.
        base: the base class's name.
        package: the package whose modules hold the plug-ins that ship with Firedamp.
        group: the entry-point group for third parties.
    """

    label: str
    module: str
    base: str
    package: str
    group: str

    def base_class(self) -> type[Any]:
        """The base class; imports the module that holds it."""
        return cast(type[Any], getattr(importlib.import_module(self.module), self.base))


DESIGNS = Kind("canary design", "canaries.base", "CanaryDesign", "canaries", "firedamp.canaries")
ATTACKS = Kind("attack", "attacks.base", "Attack", "attacks", "firedamp.attacks")
ESTIMATORS = Kind("estimator", "audit.estimators.base", "Estimator", "audit.estimators", "firedamp.estimators")
TRAINERS = Kind("trainer", "audit.training.base", "SweepTrainer", "audit.training", "firedamp.trainers")
MODELS = Kind("model", "audit.training.models", "Architecture", "audit.training", "firedamp.models")
DATASETS = Kind("data set", "audit.training.datasets", "DatasetSource", "audit.training.datasets", "firedamp.datasets")
LABEL = r"[A-Za-z0-9][A-Za-z0-9._-]*"
KINDS = (DESIGNS, ATTACKS, ESTIMATORS, TRAINERS, MODELS, DATASETS)


@cache
def available(kind: Kind) -> Mapping[str, type[Any]]:
    """Every plug-in of this kind that ships with Firedamp or has an entry point, by name, sorted."""
    package = importlib.import_module(kind.package)
    for info in pkgutil.walk_packages(getattr(package, "__path__", []), kind.package + "."):
        importlib.import_module(info.name)
    found = {cls.name: cls for cls in _concrete(kind.base_class()) if _inside(cls, kind.package)}
    for entry in entry_points(group=kind.group):
        found[entry.name] = entry.load()
    return dict(sorted(found.items()))


def summary(plugin: type[Any]) -> str:
    """The first sentence of a plug-in's docstring."""
    return (inspect.getdoc(plugin) or "").split("\n\n")[0].replace("\n", " ")


def resolve(kind: Kind, name: str) -> type[Any]:
    """The class called `name`.

    Raises:
        InputError: if there is none; the sentence lists what there is.
    """
    if ":" in name:
        return _third_party(kind, name)
    plugins = available(kind)
    if name not in plugins:
        close = difflib.get_close_matches(name, plugins, n=1)
        hint = f" (did you mean '{close[0]}'?)" if close else ""
        raise InputError(f"Unknown {kind.label} '{name}'{hint}; allowed: {', '.join(plugins)}, or package.module:Name.")
    return plugins[name]


def build(kind: Kind, spec: object) -> Any:
    """A plug-in from its name, or from a table with its name and fields.

    Raises:
        InputError: for an unknown name or field, a wrong type or an impossible value.
    """
    if isinstance(spec, kind.base_class()):
        return spec
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping) or not isinstance(spec.get("name"), str):
        article = "an" if kind.label[0] in "aeiou" else "a"
        raise InputError(
            f"Expected the name of {article} {kind.label}, or a table with its name and fields, got {_toml(spec)}."
        )
    fields = {key: _frozen(value) for key, value in spec.items() if key != "name"}
    cls = resolve(kind, spec["name"])
    allowed = {f.name for f in dataclasses.fields(cls) if f.init}
    for key in fields:
        if key not in allowed:
            raise InputError(unknown_key(key, allowed, f"{kind.label} '{spec['name']}'"))
    where = f"{kind.label.capitalize()} '{spec['name']}'"
    if missing := [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in fields]:
        raise InputError(f"{where}: Key '{missing[0]}' is missing.")
    try:
        return cls(**{key: _field(cls, key, value) for key, value in fields.items()})
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except TypeError as error:  # An abstract class.
        raise InputError(f"{where}: {error}.") from None


def identity(plugin: Any) -> dict[str, Any]:
    """A plug-in as plain data, from which `build` makes it again: its name and every field, nested ones likewise."""
    cls = type(plugin)
    ours = any(_inside(cls, package) for package in ("canaries", "attacks", "audit"))
    values = {
        f.name: getattr(plugin, f.name) for f in dataclasses.fields(plugin) if f.init and not _left_out(plugin, f)
    }
    return {"name": plugin.name if ours else f"{cls.__module__}:{cls.__qualname__}"} | {
        key: identity(value) if dataclasses.is_dataclass(value) else _plain(value) for key, value in values.items()
    }


def attack_titles(attacks: Sequence[Any]) -> tuple[str, ...]:
    """What each attack of an audit is called.

    Raises:
        InputError: for a title that two have, or for a label that is no plain name, or another attack's name.
    """
    for attack in attacks:
        if not attack.label:
            continue
        if not re.fullmatch(LABEL, attack.label):
            raise InputError(f"Expected a label that matches {LABEL} for attack '{attack.name}', got {attack.label!r}.")
        if attack.label != attack.name and attack.label in available(ATTACKS):
            raise InputError(f"'{attack.label}' cannot be the label of attack '{attack.name}': it is another's name.")
    titles = tuple(attack.title for attack in attacks)
    if len(set(titles)) != len(titles):
        raise InputError(f"Expected attacks of different names, got {', '.join(titles)}; give one a label of its own.")
    return titles


def unknown_key(key: str, allowed: set[str], where: str) -> str:
    """The sentence for a key that is not there."""
    close = difflib.get_close_matches(key, sorted(allowed), n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"Unknown key '{key}' in {where}{hint}; allowed: {', '.join(sorted(allowed)) or 'none'}."


def sentence(error: ValidationError, prefix: str = "") -> str:
    """The first of pydantic's errors as one sentence with the key, the value and what is allowed."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in ((prefix,) if prefix else ()) + first["loc"])
    raised = first.get("ctx", {}).get("error")
    if isinstance(raised, InputError):
        return f"{where}: {raised}" if where else str(raised)
    if first["type"] == "missing":
        return f"Key '{where}' is missing."
    return f"Key '{where}': expected {_expected(first)}, got {_toml(first['input'])}."


def _expected(error: ErrorDetails) -> str:
    """What pydantic would have allowed, in the words of a TOML file."""
    ctx = error.get("ctx", {})
    words = {
        "too_short": f"at least {ctx.get('min_length')} entries" if ctx.get("min_length") != 1 else "at least 1 entry",
        "string_too_short": "a string that is not empty",
        "string_pattern_mismatch": f"a string that matches {ctx.get('pattern')}",
        "tuple_type": "a list",
        "dict_type": "a table",
        "model_type": "a table",
    }
    return words.get(error["type"]) or error["msg"].removeprefix("Input should be ")


def _toml(value: Any) -> str:
    """A value as a user wrote it: lists, which were made tuples, are lists again."""
    return repr(_plain(value))


def _field(cls: type[Any], key: str, value: Any) -> Any:
    """A field's value, checked against its type, strictly; a plug-in of its own is built."""
    hint = get_type_hints(cls)[key]
    if isinstance(hint, type) and hint.__name__ == MODELS.base:
        return build(MODELS, value)
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise InputError(sentence(error, key)) from None


def _third_party(kind: Kind, name: str) -> type[Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module: ModuleType = importlib.import_module(module_name)
        cls = getattr(module, attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # The last two: no module's name.
        raise InputError(f"Cannot load {kind.label} '{name}': {error}.") from None
    if not (isinstance(cls, type) and issubclass(cls, kind.base_class()) and dataclasses.is_dataclass(cls)):
        raise InputError(
            f"'{name}' is no {kind.label}: expected a dataclass that subclasses {kind.module}.{kind.base}."
        )
    return cls


def _concrete(base: type[Any]) -> list[type[Any]]:
    found = [] if inspect.isabstract(base) or "name" not in base.__dict__ else [base]
    for subclass in base.__subclasses__():
        found += _concrete(subclass)
    return found


def _left_out(plugin: Any, field: dataclasses.Field[Any]) -> bool:
    """Whether a field is at its default and marked as no part of the identity then."""
    return bool(field.metadata.get(OMITTED)) and getattr(plugin, field.name) == field.default


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _inside(cls: type[Any], package: str) -> bool:
    return cls.__module__ == package or cls.__module__.startswith(package + ".")


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
