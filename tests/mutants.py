"""Mutation testing: break the package in one place at a time, and see whether a test notices.

    python tests/mutants.py ops kernels                  # files of the package, without ".py"
    python tests/mutants.py optim --sample 0.3 --seed 1  # a folder, and a drawn share of each file
    python tests/mutants.py ops 2> survivors.txt         # ... write tests that notice these, and
    python tests/mutants.py ops --again survivors.txt    # see whether they do

Prints a row per file, and the mutants that survived as errors. Needs coverage. The tests are those
that ``pip install -e ".[test]" && pytest`` runs: what other packages bring is hidden from them.

Which tests reach which line is recorded first, and kept in ``.pytest_cache`` for as long as the
test's file and the mutated file stay as they are. Then each mutant gets a process of its own, with
all tests collected. Those that reach its lines run in it, the ones of its own subject first and of
these the quickest, until one fails, or takes far more processor time than before. Code of functions
is exchanged where it stands; what is computed at import is imported anew, with its tests.

A mutant is written as its line, with «before→after» at the change. Those that no test can tell
from the code are listed in ``tests/equivalent_mutants.txt`` with the reason, and not counted.
"""

import argparse
import ast
import functools
import gc
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import pickle
import random
import re
import resource
import select
import signal
import sys
import time
import types
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "tinygrad_opt"
RECORD = ROOT / ".pytest_cache" / "mutants.pickle"
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
BUDGET = 30.0                                      # seconds of tests that a mutant must survive
PATIENCE = 10                                      # times its usual time, before a test is stopped
TESTED_WITH = {"tinygrad-opt", "numpy", "graphviz", "safetensors", "pytest", "pluggy", "iniconfig",
               "packaging", "pygments"}
QUIET = ["-q", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]


# ---- mutants -------------------------------------------------------------------------------------

OTHER_OPERATOR = {
    "+": "-", "-": "+", "*": "/", "/": "*", "//": "/", "%": "*", "**": "*", "@": "*", "<<": ">>",
    ">>": "<<", "&": "|", "|": "&", "^": "&", "<": "<=", "<=": "<", ">": ">=", ">=": ">",
    "==": "!=", "!=": "==", "is not": "is", "is": "is not", "not in": "in", "in": "not in",
    "and": "or", "or": "and",
}
COMMUTATIVE = {"maximum", "minimum", "add", "multiply", "logaddexp", "hypot", "logical_and",
               "logical_or", "logical_xor", "not_equal", "equal", "may_share_memory",
               "shares_memory", "result_type", "gcd", "swapaxes", "max", "min"}
OPERATOR = re.compile(r"is\s+not\b|not\s+in\b|\b(?:is|in|and|or)\b|\*\*|//|<<|>>|[<>=!]="
                      r"|[-+*/%@&|^<>]")


class Mutant:
    """One change of a file: the text between two places becomes another."""

    def __init__(self, file, start, end, new, place, lines, runs_at_import):
        self.file, self.start, self.end, self.new = file, start, end, new
        self.place, self.lines, self.runs_at_import = place, lines, runs_at_import
        first = file.source.rfind(b"\n", 0, start) + 1
        last = (file.source + b"\n").find(b"\n", end)
        self.text = " ".join(b"".join([
            file.source[first:start], "«".encode(), file.source[start:end], "→".encode(), new,
            "»".encode(), re.sub(rb"\s# .*", b"", file.source[end:last])]).decode().split())

    def __str__(self):
        return f"{self.place}: {self.text}"

    def compiles(self):
        try:
            return bool(compile(self.source, "mutant", "exec"))
        except SyntaxError:
            return False

    @property
    def source(self):
        return self.file.source[:self.start] + self.new + self.file.source[self.end:]


class File:
    """A file of the package and its mutants."""

    def __init__(self, path):
        self.path, self.source = path, path.read_bytes()
        self.name = path.relative_to(PACKAGE).with_suffix("").as_posix()
        self.module = "tinygrad_opt." + self.name.replace("/", ".")
        self.starts = [0]
        for line in self.source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.tree = ast.parse(self.source)
        self.found = []
        self.uses = defaultdict(set)               # the lines on which a global name is read
        self.told = False                          # inside the words of an error
        self.assigned = set()                      # names in the function, as far as it was read
        self.context = None                        # the scope's name, lines that reach, function
        self.visit_all(self.tree.body, self.name, (), None)
        self.mutants = list({str(m): m for m in self.found}.values())  # alike on a line: once

    def span(self, node):
        return (self.starts[node.lineno - 1] + node.col_offset,
                self.starts[node.end_lineno - 1] + node.end_col_offset)

    def text(self, node):
        start, end = self.span(node)
        return self.source[start:end]

    def change(self, start, end, new):
        new = new.encode() if isinstance(new, str) else new
        if new != self.source[start:end]:
            place, lines, function = self.context
            self.found.append(Mutant(self, start, end, new, place, lines, function is None))

    def replace(self, node, new):
        self.change(*self.span(node), new)

    def visit_all(self, nodes, place, lines, function):
        before = self.context
        for node in nodes:
            self.context = (place, lines, function)
            self.visit(node)
        self.context = before

    def visit(self, node):
        place, lines, function = self.context
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            name = f"{place}.{node.name}"
            body = lines_of(*node.body)
            self.visit_all(node.decorator_list, name, (*body, *lines), function)
            if isinstance(node, ast.ClassDef):
                self.visit_all(node.body, name, body, function)
            else:
                self.visit_all(defaults(node), name, (*body, *lines), function)
                self.assigned = {a.arg for a in ast.walk(node.args) if isinstance(a, ast.arg)}
                self.visit_all(node.body, name, (), node.name)
        elif isinstance(node, ast.Lambda):
            self.visit_all(defaults(node), place, lines, function)
            self.visit_all([node.body], place, lines_of(node), "<lambda>")
            self.context = (place, lines_of(node), "<lambda>")
            if not (isinstance(node.body, ast.Constant) and node.body.value is None):
                self.replace(node.body, "None")
        elif isinstance(node, ast.stmt):
            self.statement(node)
        else:
            self.expression(node)

    def statement(self, node):
        place, lines, function = self.context
        header = [getattr(node, n) for n in ("test", "iter", "subject") if hasattr(node, n)]
        header += [i.context_expr for i in getattr(node, "items", ())]
        own = lines_of(*header) if header else lines_of(node) if not hasattr(node, "body") else ()
        if function is None:                       # at import: what uses it counts as well
            names = [n.id for n in ast.walk(node)
                     if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)]
            own = (*own, *lines, *(line for n in names for line in self.readers(n)))
        self.context = (place, own, function)
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        targets = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
        plain = isinstance(node, ast.Assign) and len(targets) == len(node.targets)
        again = plain and function is not None and all(t in self.assigned for t in targets)
        if isinstance(node, ast.AugAssign | ast.Raise | ast.Delete | ast.Break | ast.Continue) or (
                isinstance(node, ast.Expr) and not docstring) or (
                isinstance(node, ast.Assign) and (not plain or again)):
            self.replace(node, "pass")
        if function is not None:
            self.assigned.update(targets)
        if isinstance(node, ast.Return) and node.value is not None and not (
                isinstance(node.value, ast.Constant) and node.value.value is None):
            self.replace(node.value, "None")
        if isinstance(node, ast.AugAssign):
            self.operator(node.target, node.value)
        if isinstance(node, ast.If | ast.While):
            self.negate(node.test)
        told = isinstance(node, ast.Raise) or docstring or any(
            t in ("__all__", "__slots__") for t in targets)
        skipped = ("annotation", "returns", "target", "targets") if told is False else ()
        for field, value in ast.iter_fields(node):
            if field in skipped and not (field.startswith("target") and any(
                    isinstance(n, ast.Subscript) for n in ast.walk(node))):
                continue
            parts = value if isinstance(value, list) else [value]
            for part in parts:
                if isinstance(part, ast.stmt):
                    self.visit_all([part], place, lines, function)
                elif isinstance(part, ast.ExceptHandler | ast.match_case):
                    self.visit_all(part.body, place, lines, function)
                elif isinstance(part, ast.withitem):
                    self.visit_all([part.context_expr], place, own, function)
                elif isinstance(part, ast.expr) and not docstring:
                    self.told = told
                    self.visit_all([part], place, own, function)
                    self.told = False

    def readers(self, name):
        """The lines of statements in functions that read a global name."""
        if not self.uses:
            for node in ast.walk(self.tree):
                if isinstance(node, ast.Lambda) or (
                        isinstance(node, ast.stmt) and not isinstance(node, ast.ClassDef)):
                    for n in ast.walk(node):
                        if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load):
                            self.uses[n.id].update(range(n.lineno, n.end_lineno + 1))
        return self.uses[name]

    def operator(self, left, right):
        start, end = self.span(left)[1], self.span(right)[0]
        between = self.source[start:end].decode()
        found = OPERATOR.search(between)
        at = start + len(between[:found.start()].encode())
        word = " ".join(found.group().split())
        self.change(at, at + len(found.group().encode()), OTHER_OPERATOR[word])

    def negate(self, test):
        if not isinstance(test, ast.UnaryOp | ast.Compare) or (
                isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.Lt | ast.Gt | ast.LtE
                                                             | ast.GtE)):
            self.replace(test, b"not (" + self.text(test) + b")")

    def expression(self, node):
        if isinstance(node, ast.JoinedStr):
            return                                 # words
        if isinstance(node, ast.Constant):
            value = node.value
            if isinstance(value, bool):
                self.replace(node, str(not value))
            elif isinstance(value, int):
                self.replace(node, str(value + 1))
            elif isinstance(value, float):
                self.replace(node, repr(value * 2 if value else 1.0))
            elif isinstance(value, str) and not self.told:
                self.replace(node, repr(value[1:] if len(value) > 1 else "?" + value))
        elif isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.Invert):
                self.replace(node, b"(" + self.text(node.operand) + b")")
        elif isinstance(node, ast.BinOp):
            self.operator(node.left, node.right)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                self.operator(left, right)
        elif isinstance(node, ast.Compare):
            for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
                self.operator(left, right)
        elif isinstance(node, ast.IfExp):
            self.negate(node.test)
        elif isinstance(node, ast.comprehension):
            for test in node.ifs:
                self.negate(test)
        elif isinstance(node, ast.Slice):
            for bound in (node.lower, node.upper, node.step):
                if bound is not None:
                    self.replace(bound, "")
        elif isinstance(node, ast.Call):
            self.call(node)
        self.visit_all([n for n in ast.iter_child_nodes(node) if isinstance(
            n, ast.expr | ast.comprehension | ast.keyword)], *self.context)

    def call(self, node):
        given = [a for a in node.args if not isinstance(a, ast.Starred)]
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if len(given) > 1 and given[:2] == node.args[:2] and not (
                name in COMMUTATIVE and len(given) == 2):
            (a, b), (c, d) = map(self.span, given[:2])
            if self.source[a:b] != self.source[c:d]:
                self.change(a, d, self.source[c:d] + self.source[b:c] + self.source[a:b])
        for keyword in node.keywords:
            start, end = self.span(keyword)
            comma = re.compile(rb"\s*,").match(self.source, end)
            if keyword.arg is not None:
                self.change(start, comma.end() if comma else end, "")


def defaults(function):
    return [d for d in [*function.args.defaults, *function.args.kw_defaults] if d]


def lines_of(*nodes):
    return tuple(n for node in nodes for n in range(node.lineno, node.end_lineno + 1))


def equivalents():
    """The listed mutants that no test can tell from the code: which -> why."""
    listed, reason = {}, None
    for line in EQUIVALENT.read_text("utf-8").splitlines():
        if line.startswith("# "):
            reason = line[2:]
        elif line:
            listed[line] = reason
    return listed


# ---- which tests reach which lines ---------------------------------------------------------------


def digest(*paths):
    return hashlib.sha1(b"".join(path.read_bytes() for path in paths)).hexdigest()


def recorded(files, paths):
    """test -> its seconds, and the lines that it reaches by file; and the lines run at import."""
    known = pickle.loads(RECORD.read_bytes()) if RECORD.exists() else {}
    now = {file.name: digest(file.path) for file in files}
    tests, at_import = {}, defaultdict(set)
    for path in paths:
        key, own = path.relative_to(ROOT), digest(path)
        kept = known.get(key, {"own": None})
        if kept["own"] != own or not now.items() <= kept["of"].items():
            print(f"recording the lines that {key} reaches", file=sys.stderr)
            reached, imported = in_child(functools.partial(record, files, path), None)
            known[key] = kept = {"own": own, "of": now, "tests": reached, "import": imported}
            RECORD.parent.mkdir(exist_ok=True)
            RECORD.write_bytes(pickle.dumps(known))
        tests |= kept["tests"]
        for name, lines in kept["import"].items():
            at_import[name] |= lines
    return tests, at_import


class Recorder:
    def __init__(self, coverage):
        self.coverage, self.seconds, self.failed = coverage, {}, set()

    def pytest_runtest_protocol(self, item):
        self.coverage.switch_context(item.nodeid)
        self.begun = time.process_time()

    def pytest_runtest_logreport(self, report):
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid):
        self.seconds[nodeid] = time.process_time() - self.begun
        self.coverage.switch_context("between tests")


def record(files, path):
    import coverage
    import pytest

    measured = coverage.Coverage(data_file=None, include=[str(f.path) for f in files],
                                 config_file=False)
    measured.start()
    recorder = Recorder(measured)
    pytest.main([*QUIET, "--continue-on-collection-errors", str(path)], plugins=[recorder])
    measured.stop()
    reached, at_import = defaultdict(lambda: defaultdict(set)), {}
    data = measured.get_data()
    for file in files:
        at_import[file.name] = set()
        for line, tests in data.contexts_by_lineno(str(file.path)).items():
            for test in tests:
                if test in recorder.seconds:
                    reached[test][file.name].add(line)
                else:
                    at_import[file.name].add(line)
    return {test: (seconds, {name: frozenset(lines) for name, lines in reached[test].items()})
            for test, seconds in recorder.seconds.items() if test not in recorder.failed}, at_import


# ---- running -------------------------------------------------------------------------------------


def in_child(task, seconds):
    """What the task returns in a process of its own; None if that died, or took too long."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setpgid(0, 0)
            os.close(read)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if not os.environ.get("MUTANTS_SHOW"):
                os.dup2(nowhere, 1)
                os.dup2(nowhere, 2)
            result = pickle.dumps(task())
            with os.fdopen(write, "wb") as pipe:
                pipe.write(result)
        finally:
            os._exit(0)
    os.close(write)
    parts, end = [], None if seconds is None else time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([read], [], [], None if end is None else
                                    max(0, end - time.monotonic()))
        part = os.read(read, 1 << 20) if ready else b""
        if not part:
            break
        parts.append(part)
    os.close(read)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.waitpid(child, 0)
    return pickle.loads(b"".join(parts)) if parts else None


def limit_memory(more=4 << 30):
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more,) * 2)


def first_failure(items, seconds):
    """The first of the tests that fails, or None. One that takes far too long ends the process."""
    from _pytest.runner import runtestprotocol

    for item, following in zip(items, [*items[1:], None], strict=True):
        signal.setitimer(signal.ITIMER_PROF, 2 + PATIENCE * seconds[item.nodeid])
        reports = runtestprotocol(item, log=False, nextitem=following)
        if any(report.failed for report in reports):
            return item.nodeid
    signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def code_tree(code):
    yield code
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            yield from code_tree(const)


def exchanged(mutant, functions):
    """Whether the code of the functions that a mutant changes could be exchanged."""
    path = str(mutant.file.path)
    old = list(code_tree(compile(mutant.file.source, path, "exec")))
    new = list(code_tree(compile(mutant.source, path, "exec")))
    if len(old) != len(new):
        return False
    done = False
    for a, b in zip(old, new, strict=True):
        if a != b:
            for f in functions.get(tuple(a.co_positions()), ()):
                try:
                    f.__code__ = b
                except ValueError:                 # it closes over other names
                    return False
                done = True
    return done


def functions_by_place(path):
    found = defaultdict(list)
    for f in gc.get_objects():
        if type(f) is types.FunctionType and f.__code__.co_filename == path:
            found[tuple(f.__code__.co_positions())].append(f)
    return found


class Chosen:
    """Of what pytest collects, the tests of a list, in its order."""

    def __init__(self, tests):
        self.order = {test: i for i, test in enumerate(tests)}
        self.failed = None

    def pytest_collection_modifyitems(self, items):
        items[:] = sorted((i for i in items if i.nodeid in self.order),
                          key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report):
        if report.failed and self.failed is None:
            self.failed = report.nodeid


class Imported:
    """Finds a module of the package with a mutant's source."""

    def __init__(self, mutant):
        self.mutant = mutant

    def find_spec(self, name, path=None, target=None):
        if name != self.mutant.file.module:
            return None
        loader = importlib.machinery.SourceFileLoader(name, str(self.mutant.file.path))
        loader.get_code = lambda name: compile(self.mutant.source, loader.path, "exec")
        return importlib.util.spec_from_loader(name, loader)


def imported_anew(mutant, tests, seconds):
    """The first of the tests that fails when the package is imported with the mutant."""
    import pytest

    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(str(ROOT)) and name != "__main__":
            del sys.modules[name]
    sys.meta_path.insert(0, Imported(mutant))
    sys.dont_write_bytecode = True
    signal.setitimer(signal.ITIMER_PROF, 60 + PATIENCE * sum(seconds[t] for t in tests))
    by_file = Counter(test.split("::")[0] for test in tests)
    paths = [path for path, _ in by_file.most_common()]
    for some in (paths[:3], paths[3:]):
        chosen = Chosen([t for t in tests if t.split("::")[0] in some])
        if some and pytest.main([*QUIET, "-x", *(str(ROOT / p) for p in some)],
                                plugins=[chosen]) not in (0, 5):
            return chosen.failed or "import"
    return None


class Runner:
    """A pytest plugin that runs mutants in place of the tests."""

    def __init__(self, files, options, paths):
        self.files, self.options = files, options
        self.tests, self.at_import = recorded(files, paths)

    def pytest_runtestloop(self, session):
        self.items = {item.nodeid: item for item in session.items if item.nodeid in self.tests}
        self.seconds = {test: self.tests[test][0] for test in self.items}
        listed = equivalents()
        functions = {file: functions_by_place(str(file.path)) for file in self.files}
        gc.freeze()
        for file in self.files:
            self.functions = functions[file]
            mutants = [m for m in file.mutants if str(m) not in listed]
            if self.options.functions:
                mutants = [m for m in mutants if not m.runs_at_import]
            if self.options.again:
                lines = set(self.options.again.read_text("utf-8").splitlines())
                mutants = [m for m in mutants if str(m) in lines]
            if self.options.only:
                mutants = [m for m in mutants if self.options.only in str(m)]
            if self.options.sample < 1:
                count = -int(-self.options.sample * len(mutants) // 1)
                mutants = random.Random(self.options.seed).sample(mutants, count)
            mutants = [m for m in mutants if m.compiles()]
            mutants.sort(key=lambda m: m.runs_at_import)           # the quick ones first
            survivors, killers = [], Counter()
            for number, mutant in enumerate(mutants):
                killer = self.killer(mutant)
                killers[killer] += 1
                if killer is None:
                    survivors.append(mutant)
                    print(mutant, file=sys.stderr, flush=True)
                elif self.options.verbose:
                    print(f"  {number}/{len(mutants)} {mutant}   KILLED {killer}",
                          file=sys.stderr, flush=True)
            doubtful = self.doubtful(killers)
            equal = sum(str(m) in listed for m in file.mutants)
            killed = len(mutants) - len(survivors)
            share = 100 * killed / max(1, len(mutants))
            print(f"{file.name:20} {len(file.mutants):5} mutants {equal:4} equivalent"
                  f" {len(mutants):5} run {killed:5} killed {share:6.1f} %", flush=True)
            print(*[f"    fails without a mutant too: {test}\n" for test in doubtful], end="")
        return True

    def reached_by(self, lines, name):
        lines = set(lines)
        return [t for t in self.items if not lines.isdisjoint(self.tests[t][1].get(name, ()))]

    def touching(self, name):
        return [t for t in self.items if name in self.tests[t][1]]

    def chosen(self, mutant):
        """The tests that reach a mutant, as far as the time lasts."""
        name = mutant.file.name
        tests = self.reached_by(mutant.lines, name)
        if not tests and (mutant.runs_at_import
                          or not self.at_import[name].isdisjoint(mutant.lines)):
            tests = self.touching(name)
        return self.affordable(tests, name)

    def affordable(self, tests, name):
        own = f"/test_{name.split('/')[0]}"
        total, some = 0.0, []
        for test in sorted(tests, key=lambda t: (own not in t, self.seconds[t])):
            total += self.seconds[test]
            if total > self.options.budget:
                break
            some.append(test)
        return some

    def killer(self, mutant):
        """The test that notices, None if none does."""
        tests = self.chosen(mutant)
        if not tests:
            return None
        wall = 120 + 20 * sum(self.seconds[t] for t in tests)
        early = not self.at_import[mutant.file.name].isdisjoint(mutant.lines)
        result = in_child(functools.partial(self.run, mutant, tests, mutant.runs_at_import), wall)
        if early and not mutant.runs_at_import and result == [None]:   # what import made of it
            tests = self.affordable(self.touching(mutant.file.name), mutant.file.name)
            result = in_child(functools.partial(self.run, mutant, tests, True), wall)
        return "out of time" if result is None else result[0]

    def run(self, mutant, tests, anew):
        limit_memory()
        if not anew and exchanged(mutant, self.functions):
            return [first_failure([self.items[t] for t in tests], self.seconds)]
        return [imported_anew(mutant, tests, self.seconds)]

    def doubtful(self, killers):
        """Tests that killed, and fail without any mutant too."""
        doubtful = []
        tests = sorted((t for t in killers if t in self.items), key=self.seconds.__getitem__)
        while tests:
            result = in_child(lambda: [first_failure([self.items[t] for t in tests],
                                                     self.seconds)], 600)
            if result is None or result[0] is None:
                break
            doubtful.append(result[0])
            tests.remove(result[0])
        return doubtful


def hide_other_packages():
    for package, distributions in importlib.metadata.packages_distributions().items():
        if not TESTED_WITH.intersection(map(str.lower, distributions)) and package != "coverage":
            sys.modules.setdefault(package, None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", nargs="+", help="files or folders of the package")
    parser.add_argument("--tests", nargs="+", type=lambda p: Path(p).resolve(), help="files of"
                        " tests; without it all that pytest finds")
    parser.add_argument("--sample", type=float, default=1.0, help="share of the mutants to run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds of tests a mutant")
    parser.add_argument("--only", help="mutants whose line holds this text")
    parser.add_argument("--again", type=Path, help="those that an earlier run printed to this file")
    parser.add_argument("--functions", action="store_true", help="only what is inside functions,"
                        " which is far quicker")
    parser.add_argument("--list", action="store_true", help="print the mutants, run none")
    parser.add_argument("--verbose", action="store_true", help="say which test killed which mutant")
    options = parser.parse_args()
    paths = [path for name in options.files for path in (
        sorted((PACKAGE / name).rglob("*.py")) if (PACKAGE / name).is_dir()
        else [PACKAGE / f"{name.removesuffix('.py')}.py"])]
    files = [File(path) for path in paths]
    if options.list:
        print(*(m for file in files for m in file.mutants), sep="\n")
        return 0
    stale = [line for line in equivalents() if line.partition(": ")[0].startswith(
        tuple(file.name + "." for file in files) + tuple(file.name + ":" for file in files))
        and line not in {str(m) for file in files for m in file.mutants}]
    if stale:
        print(f"{EQUIVALENT.name} lists what is no mutant any more:", *stale, sep="\n")
        return 1
    os.chdir(ROOT)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.path.insert(0, str(ROOT))
    hide_other_packages()
    import pytest

    paths = options.tests or sorted([*ROOT.glob("tests/test_*.py"), *PACKAGE.rglob("*.py")])
    return pytest.main([*QUIET, *map(str, options.tests or ())],
                       plugins=[Runner(files, options, paths)])


if __name__ == "__main__":
    sys.exit(main())
