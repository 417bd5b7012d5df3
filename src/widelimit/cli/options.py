"""Tables of options for a file and for flags, made from the constructors that they are passed to.

Names, types and defaults are those of the constructor's signature; the help is the passage of its docstring that begins
with the parameter's name. What a class gains, its table gains.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from .. import checks
from ..checks import ArgumentError

_REQUIRED = inspect.Parameter.empty
_PLAIN = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", Path: "a file's name"}


@dataclasses.dataclass(frozen=True)
class Options:
    """The options of one table; [`table`] makes the classes that have any."""

    table: ClassVar[str]
    """The name of the table."""
    choice: ClassVar[str | None] = None
    """The option that names one of the constructors, where there are several."""
    makers: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    """The constructors by the name that chooses them."""
    owners: ClassVar[Mapping[str, list[str]]] = {}
    """Which of them take an option."""

    def build(self, **others: Any) -> Any:
        """What the chosen constructor makes of its options and of `others`, which no file can hold.

        None if an option is missing that it needs, and no other is given either.

        **Raises:** `ArgumentError` for an unknown choice, an option of another one, and one that is missing.
        """
        chosen = getattr(self, self.choice) if self.choice else self.table
        checks.known(f"{self.table}.{self.choice}", chosen, self.makers)
        for option, owners in self.owners.items():
            self.belongs(option, owners)
        taken = {option: getattr(self, option) for option, owners in self.owners.items() if chosen in owners}
        needed = required(self.makers[chosen]) - set(others)
        missing = sorted(option for option in needed if taken.get(option) is None)
        if missing and self == type(self)():
            return None
        if missing:
            where = f" where {self.table}.{self.choice} is {chosen}" if self.choice else ""
            raise ArgumentError(f"{self.table}.{missing[0]} must be given{where}.")
        given = {option: value for option, value in taken.items() if value is not None}
        return self.makers[chosen](**given, **others)

    def for_choice(self, chosen: str) -> Options:
        """These options where another choice is made: without those that belong to the choice that was made here."""
        if self.choice is None or chosen == getattr(self, self.choice):
            return self
        strangers = [option for option, owners in self.owners.items() if chosen not in owners]
        defaults = {option: getattr(type(self), option) for option in strangers}
        return dataclasses.replace(self, **defaults, **{self.choice: chosen})

    def belongs(self, option: str, owners: list[str]) -> None:
        """Raise if an option is given that belongs to other choices than the one that was made."""
        chosen = getattr(self, self.choice) if self.choice else self.table
        if chosen not in owners and getattr(self, option) != getattr(type(self), option):
            place = f"{self.table}.{self.choice}"
            raise ArgumentError(f"{self.table}.{option} belongs to {place} {' or '.join(owners)}; it is {chosen}.")


def table(
    name: str,
    makers: Callable[..., Any] | Mapping[str, Callable[..., Any]],
    about: str,
    /,
    *,
    choice: str | None = None,
    without: tuple[str, ...] = (),
    **defaults: Any,
) -> type[Any]:
    """The class of a table, with every parameter of its constructors that a file can hold.

    **Arguments:** `name` of the table; `makers`, one constructor or several by name; `about`, what the table is, in a
    sentence; `choice`, the option that names one of several; `without`, parameters that are left out; `defaults` of the
    choice, which is the first unless given, and of parameters that have none.
    """
    makers = makers if isinstance(makers, Mapping) else {name: makers}
    owners: dict[str, list[str]] = {}
    kinds: dict[str, Any] = {}
    texts: dict[str, str] = {}
    for owner, maker in makers.items():
        passages = passages_of(maker)
        for option, kind in _kinds(maker).items():
            if option not in without:
                owners.setdefault(option, []).append(owner)
                kinds[option] = kind
                texts[option] = texts.get(option) or passages.get(option, "")
    fields: list[tuple[str, Any, Any]] = []
    if choice is not None:
        fields.append((choice, one_of(makers), defaults.get(choice, next(iter(makers)))))
    for option, kind in kinds.items():
        shared, hint = len(owners[option]) == len(makers), None
        text = texts[option].removesuffix(".") + ("." if shared else f" ({' or '.join(owners[option])}).")
        own = {owner: inspect.signature(makers[owner]).parameters[option].default for owner in owners[option]}
        default = next(iter(own.values()))
        default = defaults.get(option, None if default is _REQUIRED else default)
        if not shared and kind is not bool:  # None until it is given, so that it is seen where it does not belong
            hint, default = _each(own), None
        kind = kind | None if default is None else kind
        fields.append((option, Annotated[kind, tyro.conf.arg(help=text, help_behavior_hint=hint)], default))
    return dataclasses.make_dataclass(
        f"{name.capitalize()}Options",
        fields,
        bases=(Options,),
        namespace={"__doc__": about, "table": name, "choice": choice, "makers": makers, "owners": owners},
        frozen=True,
    )


def _each(own: Mapping[str, Any]) -> str:
    """The default of an option for those that take it, in words."""
    first, *others = own.items()
    if first[1] is _REQUIRED:
        return "(has to be given)"
    words = [str(first[1]), *(f"{name}: {value}" for name, value in others if value != first[1])]
    return f"(default: {'; '.join(words)})"


def one_of(names: Iterable[str]) -> Any:
    """The type of an option that is one of several names."""
    *most, last = names
    return Annotated[str, tyro.conf.arg(help=f"{', '.join(most)} or {last}.")]


def passages_of(maker: Callable[..., Any]) -> dict[str, str]:
    """What a docstring says of each parameter: under **Arguments:**, from where its name stands first to the next."""
    arguments = re.search(r"\*\*Arguments:\*\*(.*?)(?=\n\s*\n\s*\*\*|\Z)", inspect.getdoc(maker) or "", re.S)
    text = " ".join(arguments.group(1).split()) if arguments else ""
    return {name: _in_words(rest) for name, rest in re.findall(r"(?:^|[-;:] )`(\w+)`(.*?)(?=[-;:] `\w+`|\Z)", text)}


def _in_words(passage: str) -> str:
    """A passage of a docstring without markup, as a sentence of its own."""
    plain = re.sub(r"\[?`([^`]*)`\]?", r"\1", passage).strip(" ,:;-")
    return plain[:1].upper() + plain[1:] if re.match("[a-z]{2}", plain) else plain


def required(maker: Callable[..., Any]) -> set[str]:
    """The parameters that have no default."""
    parameters = inspect.signature(maker).parameters.values()
    return {parameter.name for parameter in parameters if parameter.default is _REQUIRED}


def _kinds(maker: Callable[..., Any]) -> dict[str, Any]:
    """The parameters that can be written in a file, with that part of their type which can."""
    hints = typing.get_type_hints(maker.__init__ if isinstance(maker, type) else maker)
    hints.pop("return", None)
    kinds = {option: _plain(hint) for option, hint in hints.items()}
    return {option: kind for option, kind in kinds.items() if kind is not None}


def _plain(hint: Any) -> Any:
    """What of a type a file can hold, or None if there is no such part."""
    if _is_union(hint):
        parts = [_plain(member) for member in typing.get_args(hint)]
        parts = [part for part in parts if part is not None]
        return functools.reduce(lambda left, right: left | right, parts) if set(parts) - {types.NoneType} else None
    if typing.get_origin(hint) is Literal:
        return hint
    if typing.get_origin(hint) is collections.abc.Sequence:
        return tuple[typing.get_args(hint)[0], ...]
    return hint if hint in (*_PLAIN, types.NoneType) or typing.get_origin(hint) is tuple else None


def _is_union(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union


def fit(value: Any, kind: Any) -> Any:
    """A TOML value as `kind`, or None if it does not fit."""
    if _is_union(kind):
        fitted = (fit(value, member) for member in typing.get_args(kind) if member is not types.NoneType)
        return next((one for one in fitted if one is not None), None)
    if typing.get_origin(kind) is Literal:
        return value if value in typing.get_args(kind) else None
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        return tuple(value) if isinstance(value, list) and all(type(member) is item for member in value) else None
    if kind is float:
        return float(value) if type(value) in (int, float) else None
    if kind is Path:
        return Path(value) if isinstance(value, str) else None
    return value if type(value) is kind else None


def spelled(kind: Any) -> str:
    """A type in words."""
    if _is_union(kind):
        return " or ".join(spelled(member) for member in typing.get_args(kind) if member is not types.NoneType)
    if typing.get_origin(kind) is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return "a list of " + _PLAIN[typing.get_args(kind)[0]].split(" ", 1)[1] + "s"
    return _PLAIN[kind]
