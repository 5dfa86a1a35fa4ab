"""Reads pickles without running what is in them.

A pickle is a program. Here the standard library only decodes its instructions (pickletools); they
are carried out below, on lists, dicts, tuples, numbers and text alone. A global name must be on the
caller's allow-list, only such a name can be called, and it stands for the caller's own function,
never for an imported one. All else is a ValueError that says what was asked for.
"""

import io
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

# The types a dict key may have. Tuples are left out: hashing a nested one can take forever.
_KEYS = (str, bytes, int, float, type(None))
_VALUES = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING "
    "UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8".split()
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
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
        Without it the state of a dict is dropped (PyTorch hangs version numbers there).
      take_bytes: what stands for each bytes object from then on, such as its place on disk.

    Raises:
      ValueError: the pickle asks for something that is not allowed (Refused), or is damaged.
    """
    file = io.BytesIO(source) if isinstance(source, bytes | bytearray | memoryview) else source
    machine = _Machine(allowed, persistent_load, set_state or _drop_state_of_dict)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if take_bytes and isinstance(argument, bytes):
                argument = take_bytes(argument)
            machine.run(opcode.name, argument)
        return machine.result()
    except Refused:
        raise
    except Exception as error:  # whatever damaged bytes lead to, in the decoder or a function
        detail = " ".join(str(error).split())[:200]
        raise ValueError(f"damaged pickle ({type(error).__name__}: {detail})") from error


class _Machine:
    """Carries out the instructions of one pickle."""

    def __init__(self, allowed, persistent_load, set_state):
        self.allowed = allowed
        self.persistent_load = persistent_load
        self.set_state = set_state
        self.stack = []
        self.memo = {}
        self.memo_keys = {}  # id of a memoised object -> its key

    def result(self):
        if len(self.stack) != 1:
            raise ValueError(f"it ends with {len(self.stack)} values in hand instead of one")
        return self.pop()

    def run(self, name: str, argument) -> None:
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memoize(argument)
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name == "GLOBAL":
            self.stack.append(self.find(*argument.split(" ", 1)))
        elif name in ("PROTO", "FRAME", "STOP"):
            pass
        elif hasattr(self, f"do_{name.lower()}"):
            getattr(self, f"do_{name.lower()}")()
        else:
            raise Refused(f"refused: the pickle uses the instruction {name}, which is not allowed")

    def find(self, module: str, name: str) -> Global:
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("the name of a global is not text")
        if (module, name) not in self.allowed:
            raise Refused(f"refused: the pickle asks for {module}.{name}, which is not allowed")
        return Global(module, name, self.allowed[module, name])

    def call(self, function, arguments):
        if not isinstance(function, Global):
            raise Refused(f"refused: the pickle calls a value of type {type(function).__name__}")
        if function.function is None:
            raise Refused(f"refused: the pickle calls {function}, which is not allowed")
        self.stack.append(function.function(*arguments))

    def memoize(self, key: int) -> None:
        self.memo[key] = self.stack[-1]
        self.memo_keys[id(self.stack[-1])] = key

    def pop(self):
        value = self.stack.pop()
        if value is _MARK:
            raise ValueError("a value is missing")
        return value

    def pop_to_mark(self) -> list:
        start = len(self.stack) - 1
        while self.stack[start] is not _MARK:
            start -= 1
            if start < 0:
                raise ValueError("a mark is missing")
        values = self.stack[start + 1 :]
        del self.stack[start:]
        return values

    # One method an instruction, named after it.

    def do_mark(self):
        self.stack.append(_MARK)

    def do_pop(self):
        self.stack.pop()

    def do_pop_mark(self):
        self.pop_to_mark()

    def do_dup(self):
        self.stack.append(self.stack[-1])

    def do_memoize(self):
        self.memoize(len(self.memo))

    def do_empty_list(self):
        self.stack.append([])

    def do_list(self):
        self.stack.append(self.pop_to_mark())

    def do_append(self):
        self.extend([self.pop()])

    def do_appends(self):
        self.extend(self.pop_to_mark())

    def extend(self, values):
        expect(self.stack[-1], list).extend(values)

    def do_empty_tuple(self):
        self.stack.append(())

    def do_tuple(self):
        self.stack.append(tuple(self.pop_to_mark()))

    def do_tuple1(self):
        self.stack.append((self.pop(),))

    def do_tuple2(self):
        second, first = self.pop(), self.pop()
        self.stack.append((first, second))

    def do_tuple3(self):
        third, second, first = self.pop(), self.pop(), self.pop()
        self.stack.append((first, second, third))

    def do_empty_dict(self):
        self.stack.append({})

    def do_dict(self):
        self.stack.append(set_items({}, self.pop_to_mark()))

    def do_setitem(self):
        value, key = self.pop(), self.pop()
        set_items(self.stack[-1], [key, value])

    def do_setitems(self):
        items = self.pop_to_mark()
        set_items(self.stack[-1], items)

    def do_stack_global(self):
        name, module = self.pop(), self.pop()
        self.stack.append(self.find(module, name))

    def do_reduce(self):
        arguments, function = expect(self.pop(), tuple), self.pop()
        self.call(function, arguments)

    do_newobj = do_reduce

    def do_build(self):
        state, target = self.pop(), self.pop()
        self.stack.append(self.set_state(target, state))
        # The object was put in the memo before it had its state.
        key = self.memo_keys.get(id(target))
        if key is not None and self.memo[key] is target:
            self.memoize(key)

    def do_binpersid(self):
        if self.persistent_load is None:
            raise Refused("refused: the pickle refers to data outside of it")
        self.stack.append(self.persistent_load(self.pop()))


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
