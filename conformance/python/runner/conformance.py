"""Runs MLX's own tests on Elixir and prints what came of them: `conformance.py FOLDER [FILE | TEST]... [OPTION]...`.

FOLDER holds MLX's tests. Each file runs in a process of its own; when that dies or a test takes too long, the rest of the
file goes on in a new one. Tests of `not_applicable.tsv` are not run, and no other test may skip itself.

Options: `--jobs`, how many files run at once (default: one for each processor), `--timeout`, the seconds that a test may
take, and `--not-applicable`, another list.
"""

import argparse
import concurrent.futures
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


class Child:
    """A process that runs tests of one file, and its events."""

    def __init__(self, folder, module, tests, timeout):
        self.timeout = timeout
        self.reader, writer = os.pipe()
        path = os.pathsep.join(map(str, (PYTHON, folder)))
        self.process = subprocess.Popen(
            [sys.executable, PYTHON / "runner" / "run_file.py", str(writer), module, *tests],
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
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


def judge(outcomes):
    """A test that skips itself has to be on the list."""

    def verdict(outcome, detail):
        if outcome == "skipped":
            return "failed", f"skips itself ({detail}) and is not in not_applicable.tsv"
        return outcome, detail

    return {test: verdict(*result) for test, result in outcomes.items()}


def read_list(path):
    """The tests of a table whose columns are the test and the reason."""
    return [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]


def run_file(module, wanted, not_applicable, options):
    """The outcomes of a file, the tests that were left out, and the entries of the list that name no test."""
    tests = list_tests(options.folder, module, options.timeout)
    stale = [test for test in not_applicable if test.split(".")[0] == module and test not in tests]
    chosen = [test for test in tests if not wanted or any(test == name or test.startswith(name + ".") for name in wanted)]
    skipped = [test for test in chosen if test in not_applicable]
    outcomes = run_tests(options.folder, module, [test for test in chosen if test not in skipped], options.timeout)
    return judge(outcomes), skipped, stale


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
    options = parser.parse_intermixed_args()
    names = [name.removesuffix(".py") for name in options.names]
    names = names or (ROOT / "conformance" / "files.txt").read_text().split()
    modules = {}
    for name in names:
        module, _, test = name.partition(".")
        modules.setdefault(module, []).extend([name] if test else [])
    not_applicable = read_list(options.not_applicable)

    print(f"{'file':<28}{'passed':>8}{'failed':>8}{'skipped':>9}", flush=True)
    totals, failures, stale = [0, 0, 0], [], []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        runs = {module: pool.submit(run_file, module, wanted, not_applicable, options) for module, wanted in modules.items()}
        for module, run in runs.items():
            outcomes, skipped, names_without_test = run.result()
            failed = {test: detail for test, (outcome, detail) in outcomes.items() if outcome == "failed"}
            counts = [len(outcomes) - len(failed), len(failed), len(skipped)]
            totals = [total + count for total, count in zip(totals, counts)]
            failures.extend(failed.items())
            stale.extend(names_without_test)
            print(f"{module + '.py':<28}{counts[0]:>8}{counts[1]:>8}{counts[2]:>9}", flush=True)
    print(f"{'total':<28}{totals[0]:>8}{totals[1]:>8}{totals[2]:>9}")
    whole = any(modules.values())
    for test, detail in failures:
        print(f"\nbin/conformance {test}\n  {first_lines(detail, whole)}")
    for test in stale:
        print(f"\nconformance/not_applicable.tsv: there is no test {test}")
    sys.exit(1 if failures or stale else 0)


main()
