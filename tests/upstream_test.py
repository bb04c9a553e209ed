"""Runs a test module that the wheel carries: all of it, or the cases named after it."""

import os
import runpy
import shlex
import sys

if __name__ == "__main__":
    module, cases = sys.argv[1], sys.argv[2:]
    sys.argv = [module]
    # As `bazel test --test_filter` would have it.
    os.environ.setdefault("TESTBRIDGE_TEST_ONLY", " ".join(map(shlex.quote, cases)))
    runpy.run_module(module, run_name="__main__", alter_sys=True)
