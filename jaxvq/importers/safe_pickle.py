"""Reads pickles without running what is in them.

A pickle is a program. Here the standard library only decodes its instructions (pickletools); they
are carried out below, on lists, dicts, tuples, numbers and text alone. A global name must be on the
caller's allow-list, only such a name can be called, and it stands for the caller's own function,
never for an imported one. All else is a ValueError that says what was asked for.

pickle.Unpickler with `find_class` is not enough: it hashes the keys of dicts, which takes 2**60
steps for a tuple nested in itself 60 times, makes room for as many memos as a pickle claims to
have, keeps all bytes until the end, and lets a pickle set the attributes of what `find_class` gave.
"""

import io
import pickletools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

MAX_INSTRUCTIONS = 1 << 22  # each may make an object: a few hundred MB in all
# The types a dict key may have. Tuples are left out: hashing a nested one can take forever.
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
    """A name that a pickle mentions, module.name; `function` is what calling it does here."""

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
      source: bytes, or a file, which is left right behind the pickle (several may follow).
      allowed: (module, name) -> the function that takes the place of that global when the pickle
        calls it, or None for one that may only be mentioned. It is given what the pickle gives,
        which need not make sense: check types first, and never print or hash a tuple (nested in
        itself, it can be of any size). Mentioned globals reach functions and the result as Global.
      persistent_load: makes an object of a persistent id.
      set_state: (object, state) -> object, for objects that are given a state after they are made.
        Without it the state of a dict is dropped (PyTorch keeps version numbers there).
      take_bytes: what stands for each bytes object from then on, such as its place on disk.
      most_bytes: of one value, and of all values but those that `take_bytes` took.
      most_instructions: of the pickle, each of which may make an object.

    Raises:
      ValueError: the pickle asks for something that is not allowed (Refused), or is damaged.
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
    except Exception as error:  # whatever damaged bytes lead to, in the decoder or a function
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"damaged pickle ({type(error).__name__}: {detail})") from error


@dataclass
class _Bounded:
    """A file that gives no more at once than fits into memory, also when it unfolds from gzip."""

    file: BinaryIO
    most: int

    def read(self, size: int) -> bytes:
        if size > self.most:
            raise ValueError(f"it announces {size} bytes in one piece")
        return self.file.read(size)

    def readline(self) -> bytes:
        return self.file.readline(self.most)


class _Machine:
    """Carries out the instructions of one pickle."""

    def __init__(self, allowed, persistent_load, set_state):
        self.allowed = allowed
        self.persistent_load = persistent_load
        self.set_state = set_state
        self.stack = []
        self.memo = {}
        self.memo_keys = {}  # id of a memoised object -> its key

    def run(self, name: str, argument) -> None:
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
        # The object was put in the memo before it had its state.
        key = self.memo_keys.get(id(target))
        if key is not None and self.memo[key] is target:
            self.memoize(key)


def expect(value, kind):
    """The value, which must be of the type (or one of the types) `kind`; ValueError otherwise."""
    if not isinstance(value, kind):
        wanted = getattr(kind, "__name__", kind)
        raise ValueError(f"{wanted} expected, got {type(value).__name__}")
    return value


def set_items(target, items: list) -> dict:
    """Puts key, value, key, value, … into a dict; ValueError for keys that are not plain."""
    expect(target, dict)
    if len(items) % 2:
        raise ValueError("a dict key has no value")
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[_expect_key(key)] = value
    return target


def _expect_key(key):
    if not isinstance(key, _KEYS):
        raise Refused(f"refused: the pickle uses a {type(key).__name__} as the key of a dict")
    return key


def _drop_state_of_dict(target, state):
    if not isinstance(target, dict):
        raise Refused(f"refused: the pickle sets attributes of a {type(target).__name__}")
    return target
