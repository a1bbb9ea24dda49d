"""Runs tests of one file in this process: `run_file.py EVENTS MODULE [TEST...]`.

What happens is written to the file descriptor EVENTS, one line of JSON for each event:

    {"tests": [ID...]}                                    the tests of the file
    {"start": ID}
    {"end": ID, "outcome": OUTCOME, "detail": TEXT}       the outcome is passed, failed or skipped
"""

import json
import os
import random
import sys
import unittest


class Reporter(unittest.TestResult):
    def __init__(self, events):
        super().__init__()
        self.events = events

    def emit(self, **event):
        self.events.write(json.dumps(event) + "\n")
        self.events.flush()

    def startTest(self, test):
        super().startTest(test)
        self.outcome, self.detail = "passed", []
        self.emit(start=test.id())
        # Some tests take random numbers and bounds that not all of them keep. With Python's MLX, too, one of ten runs of
        # test_double.TestDouble.test_gemm fails, and one of a hundred of test_ops.TestOps.test_divmod.
        random.seed(0)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(0)
        if "mlx.core" in sys.modules:
            sys.modules["mlx.core"].random.seed(0)

    def stopTest(self, test):
        super().stopTest(test)
        self.emit(end=test.id(), outcome=self.outcome, detail="\n".join(self.detail))

    def fail(self, test, error):
        self.outcome = "failed"
        self.detail.append(self._exc_info_to_string(error, test))

    def addError(self, test, error):
        if isinstance(test, unittest.TestCase):
            self.fail(test, error)
        else:
            raise error[1]

    def addFailure(self, test, error):
        self.fail(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.detail.append(f"in {subtest}")
            self.fail(test, error)

    def addSkip(self, test, reason):
        self.outcome, self.detail = "skipped", [reason]


def tests_of(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests_of(item)
        else:
            yield item


def main(descriptor, module, *wanted):
    with os.fdopen(int(descriptor), "w") as events:
        reporter = Reporter(events)
        tests = list(tests_of(unittest.defaultTestLoader.loadTestsFromName(module)))
        reporter.emit(tests=[test.id() for test in tests])
        if wanted:
            unittest.TestSuite(test for test in tests if test.id() in wanted).run(reporter)
    sys.stdout.flush()
    # Nothing of the tests is left to do, and threads of theirs must not keep the process.
    os._exit(0)


main(*sys.argv[1:])
