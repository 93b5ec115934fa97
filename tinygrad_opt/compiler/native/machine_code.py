"""Machine code: LLVM's text compiled for this processor, and kept on disk for the next process.

A function is known by a key, which says all that its code depends on; so equal layers of a model
share one function, and so do two programs. Every function takes the address of a table of arrays
and returns 0, or 1 if a value among them is refused.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, Protocol

from tinygrad_opt.errors import install

__all__ = ["Runner", "addresses", "cache_folder", "lanes", "llvm_binding"]

VERSION = "13"                           # of the code that is written here
PATIENCE = 2.0                           # seconds before a long compilation shows its progress


@functools.cache
def llvm_binding() -> ModuleType:
    """LLVM by way of llvmlite, which comes with the extra `native`."""
    try:
        import llvmlite.binding
    except ImportError as error:
        raise ImportError(f"native steps need llvmlite: {install('native')}") from error
    llvm: ModuleType = llvmlite.binding
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


class _Machine:
    """This process's compiler, and the code that it has loaded."""

    def __init__(self) -> None:
        llvm = llvm_binding()
        cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features()
        self.lanes = 64 if features.get("avx512f") else 32 if features.get("avx2") else 16
        self.target = llvm.Target.from_default_triple().create_target_machine(
            cpu=cpu, features=features.flatten(), opt=3, codemodel="jitdefault")
        self.passes = {}
        for level in (0, 1, 3):
            options = llvm.PipelineTuningOptions(speed_level=level)
            options.loop_vectorization = options.slp_vectorization = level == 3
            options.loop_unrolling = False                 # before rows are made vectors
            self.passes[level] = llvm.create_pass_builder(self.target, options)
        self.engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), self.target)
        self.loaded: dict[str, int] = {}
        self.facts = f"{VERSION} {llvm.llvm_version_info} {self.target.triple} {cpu} " \
                     f"{features.flatten()}"

    def name(self, key: str) -> str:
        return "f" + hashlib.sha256(f"{self.facts}\n{key}".encode()).hexdigest()[:40]

    def compiled(self, text: str, level: int) -> bytes:
        """The object file of a module; what is written for registers needs little done to it."""
        llvm = llvm_binding()
        module = llvm.parse_assembly(text)
        module.triple, module.data_layout = self.target.triple, str(self.target.target_data)
        passes = self.passes[level]
        passes.getModulePassManager().run(module, passes)
        made: bytes = self.target.emit_object(module)
        return made

    def load(self, name: str, code: bytes) -> int:
        """The address of a function out of an object file."""
        self.engine.add_object_file(llvm_binding().object_file.ObjectFileRef.from_data(code))
        self.engine.finalize_object()
        self.loaded[name] = address = self.engine.get_function_address(name)
        result: int = address
        return result


_machine = functools.cache(_Machine)
_lock = threading.RLock()


def lanes(itemsize: int) -> int:
    """How many numbers of this size a register of the processor holds."""
    return _machine().lanes // itemsize


class Written(Protocol):
    """A function that can be written for LLVM; its text is its key."""

    @property
    def level(self) -> int:
        """How much is to be done to it."""

    def written(self, name: str) -> str:
        """The LLVM text of a module with this as a function of that name."""


def addresses(wanted: Iterable[Written]) -> list[int]:
    """The address of each function; what is missing is written and compiled."""
    wanted = [*wanted]
    with _lock:                                            # LLVM loads one function at a time
        machine = _machine()
        names = [machine.name(repr(made)) for made in wanted]
        missing = {}
        for name, made in zip(names, wanted):
            if name not in machine.loaded and name not in missing:
                code = _kept(name)
                if code is None:
                    missing[name] = made
                else:
                    machine.load(name, code)
        with _progress(len(missing)) as advance:
            for name, made in missing.items():
                code = machine.compiled(made.written(name), made.level)
                machine.load(name, code)
                _keep(name, code)
                advance()
    return [machine.loaded[name] for name in names]


# ---- on disk -------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Where compiled functions are kept: TINYGRAD_OPT_CACHE, or the user's folder for caches."""
    chosen = os.environ.get("TINYGRAD_OPT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("LOCALAPPDATA") or os.environ.get("XDG_CACHE_HOME")
    return Path(home or Path.home() / ".cache") / "tinygrad_opt"


def _kept(name: str) -> bytes | None:
    """A function's code as it was kept; None if it is not there, or not whole."""
    try:
        with open(cache_folder() / f"{name}.o", "rb") as file:
            about = os.fstat(file.fileno())
            if hasattr(os, "getuid") and (about.st_uid != os.getuid() or about.st_mode & 0o022):
                return None                                # somebody else may have written it
            content = file.read()
    except (OSError, RuntimeError):                        # there may be no home folder
        return None
    digest, code = content[:32], content[32:]
    return code if hashlib.sha256(code).digest() == digest else None


def _keep(name: str, code: bytes) -> None:
    """Keep a function's code, the whole of it or nothing; without a place for it, go on."""
    with contextlib.suppress(OSError, RuntimeError):
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.replace(unfinished, folder / f"{name}.o")
        except BaseException:                              # Ctrl-C as well
            os.unlink(unfinished)
            raise


@contextlib.contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """Say on a terminal how far a long compilation has come."""
    begin, done, shown = time.monotonic(), 0, False

    def advance() -> None:
        nonlocal done, shown
        done += 1
        if time.monotonic() - begin > PATIENCE and sys.stderr.isatty():
            shown = True
            print(f"\rcompiling loops: {done} of {total}", end="", file=sys.stderr, flush=True)

    try:
        yield advance
    finally:
        if shown:
            print(file=sys.stderr)


# ---- running -------------------------------------------------------------------------------------

_RUNNER = """
define i64 @{name}(ptr %steps, i64 %count) {{
enter:
  %none = icmp eq i64 %count, 0
  br i1 %none, label %done, label %next
next:
  %i = phi i64 [ 0, %enter ], [ %after, %passed ]
  %step = getelementptr {{ ptr, ptr }}, ptr %steps, i64 %i
  %function = load ptr, ptr %step
  %place = getelementptr {{ ptr, ptr }}, ptr %steps, i64 %i, i32 1
  %arrays = load ptr, ptr %place
  %refused = call i32 %function(ptr %arrays)
  %ok = icmp eq i32 %refused, 0
  br i1 %ok, label %passed, label %stop
passed:
  %after = add i64 %i, 1
  %more = icmp ult i64 %after, %count
  br i1 %more, label %next, label %done
stop:
  ret i64 %i
done:
  ret i64 -1
}}
"""


class _Running(NamedTuple):
    """The function that calls all others."""

    level: int = 1

    def written(self, name: str) -> str:
        return _RUNNER.format(name=name)


_RUN = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)


class Runner:
    """Functions called one after the other, each with its table of arrays.

    Parameters
    ----------
    steps : list of (address, addresses of arrays)

    Attributes
    ----------
    call : callable
        Calls all; returns which one has refused a value, or -1.
    one : list of callable
        Each by itself, while `call` is kept.
    """

    def __init__(self, steps: list[tuple[int, list[int]]]) -> None:
        (run,) = addresses([_Running()])
        tables = [(ctypes.c_void_p * max(len(arrays), 1))(*arrays) for _, arrays in steps]
        flat = [x for (function, _), table in zip(steps, tables)
                for x in (function, ctypes.addressof(table))]
        memory = (ctypes.c_void_p * max(len(flat), 1))(*flat)
        begin, function = ctypes.addressof(memory), _RUN(run)
        call = functools.partial(function, begin, len(steps))
        call.memory = memory, tables                       # type: ignore[attr-defined]
        self.call: Callable[[], int] = call
        self.one = [functools.partial(function, begin + 16 * i, 1) for i in range(len(steps))]
