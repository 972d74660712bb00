"""Read YAML, with numbers as people write them and limits on size, depth and aliases."""

from __future__ import annotations

import re
import reprlib
from pathlib import Path
from typing import Any

import yaml

from featstore.errors import InputError

MOST_BYTES = 16 * 2**20
# Counted with every alias written out, so that a few lines cannot stand for billions of values.
MOST_NODES = 200_000
MOST_DEPTH = 32
MOST_BITS = 64
MOST_SHOWN = 300

_short = reprlib.Repr()
_short.maxlevel, _short.maxstring, _short.maxother = 3, 120, 120
_short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 8


def short(value: object) -> str:
    """Return the representation of a value from a file, cut where it is long.

    Examples
    --------
    >>> short({"a": list(range(100))})
    "{'a': [0, 1, 2, 3, 4, 5, 6, 7, ...]}"
    """
    text = _short.repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises
    ------
    FileNotFoundError
    InputError
        If the file cannot be read as text, or as `parse_yaml`.
    """
    try:
        with path.open("rb") as stream:
            text = stream.read(MOST_BYTES + 1).decode("utf-8")
    except FileNotFoundError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, label: str) -> Any:
    """Read YAML in which 3e-4 is a number.

    Parameters
    ----------
    text : str
    label : str
        Where it comes from, for messages.

    Raises
    ------
    InputError
        If it is not YAML, or is larger or deeper than any configuration.

    Examples
    --------
    >>> parse_yaml("lr: 3e-4", "example")
    {'lr': 0.0003}
    """
    if len(text) > MOST_BYTES:
        raise InputError(f"{label}: has {len(text)} characters; at most {MOST_BYTES} are read")
    try:
        return yaml.load(text, _Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
    # PyYAML leaves what `int`, `float` and `datetime` raise as it is, and its own look-ups too.
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        why = f"a value does not fit its type: {error}"
    raise InputError(f"{label}: not YAML ({why})")


class _Loader(yaml.SafeLoader):
    """YAML in which 3e-4 is a number; YAML 1.1 asks for 3.0e-4 and reads a string otherwise."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._open = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # by identity: nodes and depth of a node

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node, and count what it holds with its aliases written out."""
        is_alias = self.check_event(yaml.AliasEvent)
        self._open += 1
        if self._open > MOST_DEPTH:
            raise yaml.YAMLError(f"nested more than {MOST_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._open -= 1
        if is_alias and id(node) not in self._sizes:
            raise yaml.YAMLError("an alias stands for what it is in")
        if node is not None and not is_alias:
            self._sizes[id(node)] = self._size(node)
        return node

    def _size(self, node: yaml.Node) -> tuple[int, int]:
        """Return how many nodes there are in one, and how deep they lie."""
        if not isinstance(node, yaml.CollectionNode):
            node.value.encode()  # half a surrogate pair cannot be shown
            return 1, 1
        inner = [own for item in node.value for own in (item if type(item) is tuple else (item,))]
        sizes = [self._sizes[id(own)] for own in inner]
        nodes, depth = 1 + sum(n for n, _ in sizes), 1 + max((d for _, d in sizes), default=0)
        if nodes > MOST_NODES or depth > MOST_DEPTH:
            raise yaml.YAMLError(
                f"{nodes} values, {depth} deep, with every alias written out; at most "
                f"{MOST_NODES} values, {MOST_DEPTH} deep, are read"
            )
        return nodes, depth

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer; Python does not even print one of thousands of digits."""
        value = int(super().construct_yaml_int(node))
        if value.bit_length() > MOST_BITS:
            raise ValueError(f"an integer of more than {MOST_BITS} bits")
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
    list("-+.0123456789"),
)
