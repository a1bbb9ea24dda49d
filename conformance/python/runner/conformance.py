"""Runs MLX's own tests on Elixir and prints what came of them: `conformance.py FOLDER [FILE | TEST]... [OPTION]...`.

FOLDER holds MLX's tests. Each file runs in a process of its own; when that dies or a test takes too long, the rest of the
file goes on in a new one. Two lists say what may be left out:

    not_applicable.tsv    tests that cannot apply, each with its reason: they are never run
    requirements.tsv      tests that need what not every machine has (a GPU, PyTorch): they are run everywhere, and may skip
                          themselves. No other test may.

Options: `--jobs`, how many files run at once (default: one for each processor), `--timeout`, the seconds that a test may
take, and `--not-applicable` and `--requirements`, other lists.
"""

import argparse
import collections
import concurrent.futures
import importlib.util
import json
import os
import pathlib
import select
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
PYTHON = ROOT / "conformance" / "python"

# The first two are what MLX runs its tests with.
ENVIRONMENT = {"MLX_ENABLE_TF32": "0", "MLX_ENABLE_CACHE_THRASHING_CHECK": "0", "PYTHONDONTWRITEBYTECODE": "1"}

# These compare with PyTorch. Where it is not installed, its convolutions written down in numpy take its place.
COMPARED_WITH_PYTORCH = {"test_conv", "test_conv_transpose"}


def environment(folder, module):
    """What a file is run in. MLX's tests leave out what is slow or large where CI is set; here nothing is left out."""
    paths = [PYTHON, folder]
    if module in COMPARED_WITH_PYTORCH and importlib.util.find_spec("torch") is None:
        paths.append(PYTHON / "reference")
    inherited = {name: value for name, value in os.environ.items() if name != "CI"}
    return {**inherited, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(map(str, paths))}


# What becomes of a test: "skipped" needs what this machine does not have.
COLUMNS = ("passed", "failed", "skipped", "not applicable")


class Child:
    """A process that runs tests of one file, and its events."""

    def __init__(self, folder, module, tests, timeout):
        self.timeout = timeout
        self.reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, PYTHON / "runner" / "run_file.py", str(writer), module, *tests],
            env=environment(folder, module),
            pass_fds=(writer,),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(writer)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.output = b""
        self.buffer = b""

    def next_event(self):
        """The next event, None when the process has ended, or "timeout"."""
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.reader, self.process.stdout], [], [], self.timeout)
            if not ready:
                return "timeout"
            if self.process.stdout in ready:
                self.output = (self.output + (self.process.stdout.read() or b""))[-20000:]
            if self.reader in ready:
                data = os.read(self.reader, 65536)
                if not data:
                    return None
                self.buffer += data
            elif self.process.poll() is not None:
                return None
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def end(self, patience=5):
        """Waits for the end, or puts it, and takes what is left of the output."""
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.output += self.process.stdout.read() or b""
        os.close(self.reader)
        self.process.stdout.close()


def list_tests(folder, module, timeout):
    child = Child(folder, module, [], timeout)
    event = child.next_event()
    child.end()
    if not isinstance(event, dict):
        sys.exit(f"{module}: its tests cannot be listed\n{child.output.decode(errors='replace')}")
    return event["tests"]


def run_tests(folder, module, tests, timeout):
    """The outcomes of the tests, as a dictionary of `(outcome, detail)`."""
    outcomes = {}
    left = list(tests)
    while left:
        child = Child(folder, module, left, timeout)
        current = None
        while isinstance(event := child.next_event(), dict):
            if "start" in event:
                current = event["start"]
            elif "end" in event:
                outcomes[event["end"]] = (event["outcome"], event["detail"])
                current = None
        child.end(patience=0 if event == "timeout" else 5)
        if event == "timeout":
            detail = f"took more than {timeout:g} s"
        else:
            detail = f"the process died\n{child.output.decode(errors='replace')}"
        if current is not None:
            outcomes[current] = ("failed", detail)
        elif not any(test in outcomes for test in left):
            outcomes.update((test, ("failed", detail)) for test in left)
        left = [test for test in left if test not in outcomes]
    return outcomes


def judge(outcomes, requirements):
    """A test that skips itself has to be on the list; what it needs is then the detail."""

    def verdict(test, outcome, detail):
        if outcome != "skipped":
            return outcome, detail
        if test not in requirements:
            return "failed", f"skips itself ({detail}) and is not in requirements.tsv"
        return outcome, requirements[test]

    return {test: verdict(test, *result) for test, result in outcomes.items()}


def read_list(path):
    """What a list says of each of its tests."""
    return dict(line.split("\t") for line in path.read_text().splitlines()[1:])


def run_file(module, wanted, not_applicable, requirements, options):
    """The outcomes of a file, and the entries of the lists that name no test."""
    tests = list_tests(options.folder, module, options.timeout)
    stale = [test for test in [*not_applicable, *requirements] if test.split(".")[0] == module and test not in tests]
    chosen = [test for test in tests if not wanted or any(test == name or test.startswith(name + ".") for name in wanted)]
    left_out = [test for test in chosen if test in not_applicable]
    outcomes = run_tests(options.folder, module, [test for test in chosen if test not in left_out], options.timeout)
    return judge(outcomes, requirements) | {test: ("not applicable", "") for test in left_out}, stale


def show(name, *columns):
    print(f"{name:<28}" + "".join(f"{column:>16}" for column in columns), flush=True)


def first_lines(detail, whole):
    lines = [line for line in detail.strip().splitlines() if line.strip()]
    return detail.rstrip() if whole else (lines[-1] if lines else "")[:200]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--timeout", type=float, default=600)
    parser.add_argument("--not-applicable", type=pathlib.Path, default=ROOT / "conformance" / "not_applicable.tsv")
    parser.add_argument("--requirements", type=pathlib.Path, default=ROOT / "conformance" / "requirements.tsv")
    options = parser.parse_intermixed_args()
    names = [name.removesuffix(".py") for name in options.names]
    names = names or (ROOT / "conformance" / "files.txt").read_text().split()
    modules = {}
    for name in names:
        module, _, test = name.partition(".")
        modules.setdefault(module, []).extend([name] if test else [])
    lists = read_list(options.not_applicable), read_list(options.requirements)

    show("file", *COLUMNS)
    totals, missing, failures, stale = dict.fromkeys(COLUMNS, 0), collections.Counter(), [], []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {module: pool.submit(run_file, module, wanted, *lists, options) for module, wanted in modules.items()}
        for module, run in runs.items():
            outcomes, names_without_test = run.result()
            counts = {column: sum(outcome == column for outcome, _ in outcomes.values()) for column in COLUMNS}
            totals = {column: totals[column] + counts[column] for column in COLUMNS}
            missing.update(detail for outcome, detail in outcomes.values() if outcome == "skipped")
            failures.extend((test, detail) for test, (outcome, detail) in outcomes.items() if outcome == "failed")
            stale.extend(names_without_test)
            show(module + ".py", *counts.values())
    show("total", *totals.values())
    if missing:
        print("missing on this machine: " + ", ".join(f"{what} ({count})" for what, count in missing.most_common()))
    whole = any(modules.values())
    for test, detail in failures:
        print(f"\nbin/conformance {test}\n  {first_lines(detail, whole)}")
    for test in stale:
        print(f"\nnot_applicable.tsv or requirements.tsv: there is no test {test}")
    sys.exit(1 if failures or stale else 0)


main()
