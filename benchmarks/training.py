"""Times training through Keras 3, and beside PyTorch: see README.md.

Prints each median and the ratios that are wanted, and fails if one is missed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

WORKERS = pathlib.Path(__file__).parent / "workers"
SETTINGS = {"": {}, ", oneDNN on": {"TF_ENABLE_ONEDNN_OPTS": "1"}}
SETTINGS[", oneDNN off"] = {"TF_ENABLE_ONEDNN_OPTS": "0"}

# What is to be reached: the times of the first over those of the second.
WANTED = [
    ("layer step", "stock", "layer step", "ours", 400),
    ("layer fit, 1 step", "stock", "layer fit", "ours", 200),
    ("layer step, dense", "ours", "layer step", "ours", 1),
    ("layer fit, dense", "ours", "layer fit", "ours", 1),
    ("resnext50", "pytorch", "resnext50", "ours, oneDNN on", 1),
]


class Process:
    """A worker in an environment of its own."""

    def __init__(self, python, module, log, variables):
        self._log = log.open("w")
        self._process = subprocess.Popen(
            [python, "-B", WORKERS / "training.py", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2", **variables),
            text=True,
        )
        self.version = self._read()["version"]

    def _read(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker ended: see %s" % self._log.name)
        return json.loads(line)

    def ask(self, **request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._log.close()


def plan(repeat):
    """Yields whose Python, module, name, variables and the cases with their repetitions."""
    layer = {"layer step": 5 * repeat, "layer step, dense": repeat}
    layer.update({"layer fit": repeat, "layer fit, dense": repeat})
    for name, variables in SETTINGS.items():
        cases = dict({} if name else layer, resnext50=repeat)
        yield "ours", "training_keras", "ours" + name, variables, cases
    # Of minutes and more, one is enough.
    yield "stock", "training_keras", "stock", {}, {"layer step": 1, "layer fit, 1 step": 1}
    yield "pytorch", "training_pytorch", "pytorch", {}, {"resnext50": repeat}


def measure(pythons, folder, repeat):
    """Returns versions and times by name and case."""
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for whose, module, name, variables, cases in plan(repeat):
        log = folder / ("training %s.log" % name.replace(",", ""))
        process = Process(pythons[whose], module, log, variables)
        results[name] = {"version": process.version, "cases": {}}
        for case, count in cases.items():
            answer = process.ask(case=case, repeat=count)
            results[name]["cases"][case] = answer
            text = answer.get("error")
            if not text:
                text = "%10.1f ms" % (1e3 * statistics.median(answer["seconds"]))
            print("%-20s %-20s %s" % (name, case, text), flush=True)
        process.close()
    return results


def report(results):
    """Prints the wanted ratios; returns whether all are reached."""

    def median(name, case):
        return statistics.median(results[name]["cases"][case]["seconds"])

    reached = True
    for slow_case, slow, fast_case, fast, wanted in WANTED:
        try:
            ratio = median(slow, slow_case) / median(fast, fast_case)
        except KeyError:
            ratio = float("nan")
        reached &= ratio >= wanted
        print(
            "%-45s %8.1f times, wanted %d"
            % ("%s (%s) / %s (%s)" % (slow_case, slow, fast_case, fast), ratio, wanted)
        )
    return reached


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for whose in "ours", "stock", "pytorch":
        parser.add_argument("--" + whose, required=True, help="Python with what is timed")
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="for training.json, logs"
    )
    parser.add_argument("--repeat", type=int, default=10, help="steps to time")
    arguments = parser.parse_args()
    results = measure(vars(arguments), arguments.output, arguments.repeat)
    (arguments.output / "training.json").write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not report(results))


if __name__ == "__main__":
    main()
