"""The registry of methods: a table of names, imported only when they are used.

A preset is a method with other defaults under the name of a published system
(:class:`~napari_stomics.core.presets.Preset`) and stands in the same registry.

A method is a plain function ``f(inputs, params, ctx) -> Result`` that carries
its declaration (:class:`MethodSpec`), put there by :func:`method`. A table maps
``"task/name"`` to ``"module:function"``; third-party packages add lines through
the entry-point group ``napari_stomics.methods`` in the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from napari_stomics.core.errors import UserError
from napari_stomics.core.jobs import JobContext
from napari_stomics.core.params import Params
from napari_stomics.core.presets import Preset

ENTRY_POINT_GROUP = "napari_stomics.methods"

MethodFunction = Callable[[Any, Any, JobContext], Any]


@dataclass(frozen=True)
class MethodSpec:
    """Everything that the form, the command line, the recipe and the docs need of a method.

    Attributes
    ----------
    task
        ``registration``, ``alignment``, ``transfer``, ``fusion``, ``domains``, ``prediction`` ...
    name
        Name within the task, as a recipe writes it.
    title
        Human name.
    summary
        One sentence: what it does and what it assumes.
    params
        The parameter model.
    inputs
        The frozen input class it takes (see :mod:`napari_stomics.core.inputs`).
    result
        The frozen result class it returns (see :mod:`napari_stomics.core.results`).
    reference
        The paper or library behind it.
    """

    task: str
    name: str
    title: str
    summary: str
    params: type[Params]
    inputs: type
    result: type
    reference: str
    function: MethodFunction

    @property
    def key(self) -> str:
        """``task/name``."""
        return f"{self.task}/{self.name}"

    def run(self, inputs: Any, params: Params | None = None, ctx: JobContext | None = None) -> Any:
        """Run the method on inputs of its kind and return its result."""
        if not isinstance(inputs, self.inputs):
            raise TypeError(f"{self.key} takes {self.inputs.__name__}, not {type(inputs).__name__}")
        return self.function(inputs, params or self.params(), ctx or JobContext())


def method(
    *,
    task: str,
    name: str,
    title: str,
    summary: str,
    params: type[Params],
    inputs: type,
    result: type,
    reference: str,
) -> Callable[[MethodFunction], MethodFunction]:
    """Declare a function as a method; it stays callable as the plain function it is."""

    def decorate(function: MethodFunction) -> MethodFunction:
        spec = MethodSpec(
            task=task,
            name=name,
            title=title,
            summary=summary,
            params=params,
            inputs=inputs,
            result=result,
            reference=reference,
            function=function,
        )
        function.spec = spec  # type: ignore[attr-defined]
        return function

    return decorate


class Registry:
    """Methods by ``task/name``, imported when first asked for.

    Parameters
    ----------
    table
        ``{"task/name": "module:function"}``.
    presets
        Presets of these methods.
    """

    def __init__(self, table: dict[str, str], presets: Iterable[Preset] = ()) -> None:
        self._table: dict[str, str | Preset] = {**table}
        self._specs: dict[str, MethodSpec] = {}
        for preset in presets:
            self.add(preset.key, preset)

    def add(self, key: str, target: str | Preset) -> None:
        """Add one line; an existing name is refused rather than silently replaced."""
        if key in self._table:
            raise UserError(
                f"Two packages register the method {key!r} ({self._table[key]} and {target}).",
                "Uninstall one of them, or rename one.",
            )
        self._table[key] = target

    def keys(self, task: str | None = None) -> list[str]:
        """Registered keys, of one task or of all, in the table's order."""
        return [key for key in self._table if task is None or key.split("/")[0] == task]

    def tasks(self) -> list[str]:
        """Tasks in the table's order."""
        return list(dict.fromkeys(key.split("/")[0] for key in self._table))

    def get(self, key: str) -> MethodSpec:
        """Return the declaration of a method, importing its module now.

        Raises
        ------
        UserError
            If no such method is registered or its package cannot be imported.
        """
        if key not in self._specs:
            if key not in self._table:
                raise UserError(
                    f"There is no method {key!r}.",
                    f"Known methods: {', '.join(self._table)}.",
                )
            target = self._table[key]
            if isinstance(target, Preset):
                self._specs[key] = target.spec(self.get(target.method))
            else:
                self._specs[key] = _load(key, target)
        return self._specs[key]

    def preset(self, key: str) -> Preset | None:
        """Return the preset behind a key; None where it is a method of its own."""
        found = self._table.get(key)
        return found if isinstance(found, Preset) else None

    def specs(self, task: str | None = None) -> Iterable[MethodSpec]:
        """Yield the declarations of all methods of a task (or of every task)."""
        return (self.get(key) for key in self.keys(task))


def _load(key: str, target: str) -> MethodSpec:
    module_name, _, function_name = target.partition(":")
    try:
        function = getattr(import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"The method {key!r} could not be loaded from {target!r}: {error}.",
            "Reinstall the package that provides it.",
        ) from error
    spec: MethodSpec | None = getattr(function, "spec", None)
    if spec is None or spec.key != key:
        raise UserError(
            f"{target!r} is registered as {key!r} but declares "
            f"{spec.key if spec else 'no method'}.",
            "Decorate it with napari_stomics.core.registry.method under the same name.",
        )
    return spec


@cache
def registry() -> Registry:
    """Return the registry of built-in methods and of those that entry points add."""
    # The table lives with the methods; importing it by name keeps core free of them.
    table: dict[str, str] = import_module("napari_stomics.methods").TABLE
    presets: tuple[Preset, ...] = import_module("napari_stomics.methods.presets").PRESETS
    reg = Registry(table, presets)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        reg.add(point.name, point.value)
    return reg
