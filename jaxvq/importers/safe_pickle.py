"""Reads pickles without running what is in them.

A pickle is a program. The standard library (pickletools) only decodes its instructions; `_Machine`
carries them out, on lists, dicts, tuples, numbers and text alone. The caller lists the global names
that a pickle may mention, and gives a function for each one that it may call. Nothing is imported.
Anything else is a ValueError that says what the pickle asked for.

pickle.Unpickler with `find_class` lets four hostile files of the tests through; docs/reliability.md
says which.
"""

import io
import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_INSTRUCTIONS = 1 << 22  # an object each is a few hundred MB in all
# Allowed types of dict keys. Hashing a nested tuple could take forever.
_KEYS = (str, bytes, int, float, type(None))
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8".split()
)
_MARK = object()


class Refused(ValueError):
    """The pickle asks for something that is not allowed."""


@dataclass(frozen=True)
class Global:
    """A global name in a pickle. `function` runs when the pickle calls it."""

    module: str
    name: str
    function: Callable | None

    def __str__(self):
        return f"{self.module}.{self.name}"


Allowed = Mapping[tuple[str, str], Callable | None]


def load_pickle(
    source: bytes | BinaryIO,
    allowed: Allowed,
    *,
    persistent_load: Callable[[Any], Any] | None = None,
    set_state: Callable[[Any, Any], Any] | None = None,
    take_bytes: Callable[[bytes], Any] | None = None,
    most_bytes: int = 1 << 32,
    most_instructions: int = MAX_INSTRUCTIONS,
) -> Any:
    """Loads one pickle of any protocol.

    Args:
      source: bytes, or a file, whose position is left behind the pickle (several may follow).
      allowed: (module, name) -> the function to run when the pickle calls that global, or None if
        the pickle may only mention it. The pickle chooses the arguments: check their types first,
        and never print or hash a tuple, which can be nested to any size. Functions and the result
        get mentioned globals as Global.
      persistent_load: persistent id -> object.
      set_state: (object, state) -> object, for objects that get a state after their creation. By
        default, the state of a dict is dropped (PyTorch stores version numbers there).
      take_bytes: bytes -> the object that replaces them, such as their place on disk.
      most_bytes: limit of one value, and of all values together that `take_bytes` did not replace.
      most_instructions: limit of instructions, each of which may create an object.

    ValueError for a damaged pickle, Refused for one that asks for what is not allowed.
    """
    file = io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
    bounded = _Bounded(file, most_bytes)
    machine = _Machine(allowed, persistent_load, set_state or _drop_state_of_dict)
    try:
        held = 0
        for number, (opcode, argument, _) in enumerate(pickletools.genops(bounded)):
            if take_bytes and isinstance(argument, bytes):
                argument = take_bytes(argument)
            held += sys.getsizeof(argument)
            if number == most_instructions or held > most_bytes:
                raise ValueError(f"it is too large: {number} instructions, {held} bytes of values")
            machine.run(opcode.name, argument)
        (result,) = machine.pop(len(machine.stack))
        return result
    except Refused:
        raise
    except Exception as error:  # damaged bytes can raise anything, here or in a function
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"damaged pickle ({type(error).__name__}: {detail})") from error


@dataclass
class _Bounded:
    """A file that refuses to read more than `most` bytes at once, which gzip could expand to."""

    file: BinaryIO
    most: int

    def read(self, size: int) -> bytes:
        if size > self.most:
            raise ValueError(f"it announces {size} bytes in one piece")
        return self.file.read(size)

    def readline(self) -> bytes:
        return self.file.readline(self.most)


class _Machine:
    """The state of one pickle: its stack and memo."""

    def __init__(self, allowed, persistent_load, set_state):
        self.allowed = allowed
        self.persistent_load = persistent_load
        self.set_state = set_state
        self.stack = []
        self.memo = {}
        self.memo_keys = {}  # id of a memoised object -> its key

    def run(self, name: str, argument) -> None:
        """Carries out one instruction."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
            return
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case "NONE":
                stack.append(None)
            case "NEWTRUE" | "NEWFALSE":
                stack.append(name == "NEWTRUE")
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memoize(argument)
            case "MEMOIZE":
                self.memoize(len(self.memo))
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "MARK":
                stack.append(_MARK)
            case "POP":
                stack.pop()
            case "POP_MARK":
                self.pop_to_mark()
            case "DUP":
                stack.append(stack[-1])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "EMPTY_TUPLE":
                stack.append(())
            case "LIST":
                stack.append(self.pop_to_mark())
            case "DICT":
                stack.append(set_items({}, self.pop_to_mark()))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self.pop(int(name[-1]))))
            case "APPEND" | "APPENDS":
                values = self.pop(1) if name == "APPEND" else self.pop_to_mark()
                expect(stack[-1], list).extend(values)
            case "SETITEM" | "SETITEMS":
                items = self.pop(2) if name == "SETITEM" else self.pop_to_mark()
                set_items(stack[-1], items)
            case "GLOBAL":
                stack.append(self.find(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                stack.append(self.find(*self.pop(2)))
            case "REDUCE" | "NEWOBJ":
                stack.append(self.call(*self.pop(2)))
            case "BUILD":
                self.build(*self.pop(2))
            case "BINPERSID" if self.persistent_load:
                stack.append(self.persistent_load(*self.pop(1)))
            case "BINPERSID":
                raise Refused("refused: the pickle refers to data outside of it")
            case _:
                raise Refused(f"refused: the pickle uses the instruction {name}")

    def pop(self, count: int) -> list:
        start = len(self.stack) - count
        values = self.stack[max(start, 0) :]
        if start < 0 or any(value is _MARK for value in values):
            raise ValueError("a value is missing")
        del self.stack[start:]
        return values

    def pop_to_mark(self) -> list:
        values = []
        while (value := self.stack.pop()) is not _MARK:
            values.append(value)
        return values[::-1]

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.memo_keys[id(self.stack[-1])] = key

    def find(self, module, name) -> Global:
        module, name = expect(module, str), expect(name, str)
        if (module, name) not in self.allowed:
            raise Refused(f"refused: the pickle asks for {module}.{name}, which is not allowed")
        return Global(module, name, self.allowed[module, name])

    def call(self, function, arguments):
        if not isinstance(function, Global):
            raise Refused(f"refused: the pickle calls a value of type {type(function).__name__}")
        if function.function is None:
            raise Refused(f"refused: the pickle calls {function}, which is not allowed")
        return function.function(*expect(arguments, tuple))

    def build(self, target, state) -> None:
        self.stack.append(self.set_state(target, state))
        # The pickle memoised the object before it gave it a state.
        key = self.memo_keys.get(id(target))
        if key is not None and self.memo[key] is target:
            self.memoize(key)


def expect(value, kind):
    """`value`. ValueError unless it is of the type (or one of the types) `kind`."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", kind)
        raise ValueError(f"{wanted} expected, got {type(value).__name__}")
    return value


def set_items(target, items: list) -> dict:
    """Puts key, value, key, value, … into a dict. ValueError for keys that are not plain."""
    expect(target, dict)
    if len(items) % 2:
        raise ValueError("a dict key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, _KEYS):
            raise Refused(f"refused: the pickle uses a {type(key).__name__} as the key of a dict")
        target[key] = value
    return target


def _drop_state_of_dict(target, state):
    if not isinstance(target, dict):
        raise Refused(f"refused: the pickle sets attributes of a {type(target).__name__}")
    return target
