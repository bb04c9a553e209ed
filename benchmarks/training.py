"""Times training through Keras 3, and beside PyTorch: see README.md.

The peers take turns. Prints each median and the ratios that are wanted, and fails if
one is missed. ci/run_bench makes the environments:

    make bench TF=2.21.0 ARGS=--training
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

from process import Failure, Peer, Worker

SETTINGS = {"": {}, ", oneDNN on": {"TF_ENABLE_ONEDNN_OPTS": "1"}}
SETTINGS[", oneDNN off"] = {"TF_ENABLE_ONEDNN_OPTS": "0"}

# What is to be reached: the times of the first over those of the second.
WANTED = [
    (slow_case, slow or ours, fast_case, ours, wanted)
    for ours in ("rebuilt", "plugin")
    for slow_case, slow, fast_case, wanted in (
        ("layer step", "official", "layer step", 400),
        ("layer fit, 1 step", "official", "layer fit", 200),
        ("layer step, dense", None, "layer step", 1),
        ("layer fit, dense", None, "layer fit", 1),
        ("convnext-t", "official", "convnext-t", 3),
    )
] + [
    ("resnext50", "PyTorch", case, "rebuilt, oneDNN on", 1)
    for case in ("resnext50", "resnext50, fused")
]

TURNS = 5
# How often a turn repeats a case.
LAYER = {"layer step": 10, "layer step, dense": 10, "layer fit": 2, "layer fit, dense": 2}
NETWORK = {"resnext50": 2}
# Whose depthwise convolutions are grouped ones in Keras.
CONVNEXT = {"convnext-t": 2}
# With batch normalization by one op, as PyTorch has it: examples/.
FUSED = {"resnext50, fused": 2}
# Of these, which take many seconds, one turn is enough.
SLOW_TURNS = 1
SLOW = {"layer step": 1, "layer fit, 1 step": 1, "convnext-t": 1}


def plan(release, turns):
    """Yields peer, variables, cases and the number of its turns."""

    def peer(name, environment, module):
        return Peer(name, environment, module, "training.py")

    for setting, variables in SETTINGS.items():
        cases = {**({} if setting else {**LAYER, **CONVNEXT}), **NETWORK, **FUSED}
        yield (
            peer("rebuilt" + setting, "keras-" + release, "training_keras"),
            variables,
            cases,
            turns,
        )
    yield (
        peer("plugin", "plugin-" + release, "training_plugin"),
        {},
        {**LAYER, **NETWORK, **CONVNEXT},
        turns,
    )
    yield peer("official", "stock-" + release, "training_keras"), {}, SLOW, SLOW_TURNS
    yield peer("PyTorch", "pytorch", "training_pytorch"), {}, NETWORK, turns


def measure(arguments, logs):
    """Returns versions and times by name and case."""
    results, workers = {}, []
    threads = len(os.sched_getaffinity(0))
    for peer, variables, cases, turns in plan(arguments.release, arguments.turns):
        result = results[peer.name] = {"version": None, "cases": {case: [] for case in cases}}
        worker = Worker(peer, threads, arguments.output, logs, variables)
        workers.append((peer.name, worker, cases, turns, result))
    for turn in range(arguments.turns):
        print("Turn %d of %d" % (turn + 1, arguments.turns), flush=True)
        for entry in list(workers):
            name, worker, cases, turns, result = entry
            try:
                result["version"] = result["version"] or worker.start()
                for case, repeat in cases.items():
                    result["cases"][case] += worker.ask(case=case, repeat=repeat)["seconds"]
                done = turn + 1 == turns
            except Failure as failure:
                print("%s: %s" % (name, failure), flush=True)
                done = True
            if done:
                worker.stop()
                workers.remove(entry)
    return results


def report(results):
    """Prints medians and the wanted ratios; returns whether all are reached."""

    def median(name, case):
        seconds = results[name]["cases"].get(case)
        return statistics.median(seconds) if seconds else float("nan")

    for name, result in results.items():
        for case in result["cases"]:
            print("%-20s %-20s %10.1f ms" % (name, case, 1e3 * median(name, case)))
    reached = True
    for slow_case, slow, fast_case, fast, wanted in WANTED:
        ratio = median(slow, slow_case) / median(fast, fast_case)
        met = ratio >= wanted
        reached &= met
        compared = "%s (%s) / %s (%s)" % (slow_case, slow, fast_case, fast)
        print(
            "%-55s %8.2f times, wanted %3d: %s"
            % (compared, ratio, wanted, "met" if met else "MISSED")
        )
    return reached


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--release", required=True, help="of TensorFlow")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each but the slow ones")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    directory = arguments.output / arguments.release
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    results = measure(arguments, directory / "logs")
    (directory / "training.json").write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not report(results))


if __name__ == "__main__":
    main()
