"""Times training through Keras 3, and beside PyTorch: see README.md.

Prints each median and the ratios that are wanted, and fails if one is missed.
ci/run_bench makes the environments:

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
    )
] + [("resnext50", "PyTorch", "resnext50", "rebuilt, oneDNN on", 1)]


def plan(release, repeat):
    """Yields peer, variables and the cases with their repetitions."""
    layer = {"layer step": 5 * repeat, "layer step, dense": 5 * repeat}
    layer.update({"layer fit": repeat, "layer fit, dense": repeat})
    network = {"resnext50": repeat}
    # Of many seconds, one is enough.
    slow = {"layer step": 1, "layer fit, 1 step": 1}

    def peer(name, environment, module):
        return Peer(name, environment, module, "training.py")

    for setting, variables in SETTINGS.items():
        cases = network if setting else {**layer, **network}
        yield peer("rebuilt" + setting, "keras-" + release, "training_keras"), variables, cases
    yield peer("plugin", "plugin-" + release, "training_plugin"), {}, layer
    yield peer("official", "stock-" + release, "training_keras"), {}, slow
    yield peer("PyTorch", "pytorch", "training_pytorch"), {}, network


def measure(arguments, logs):
    """Returns versions and times by name and case."""
    results = {}
    threads = len(os.sched_getaffinity(0))
    for peer, variables, cases in plan(arguments.release, arguments.repeat):
        result = results[peer.name] = {"version": None, "cases": {}}
        worker = Worker(peer, threads, arguments.output, logs, variables)
        try:
            result["version"] = worker.start()
            for case, repeat in cases.items():
                seconds = worker.ask(case=case, repeat=repeat)["seconds"]
                result["cases"][case] = seconds
                median = 1e3 * statistics.median(seconds)
                print("%-20s %-20s %10.1f ms" % (peer.name, case, median), flush=True)
        except Failure as failure:
            print("%-20s %s" % (peer.name, failure), flush=True)
        worker.stop()
    return results


def report(results):
    """Prints the wanted ratios; returns whether all are reached."""

    def median(name, case):
        seconds = results[name]["cases"].get(case)
        return statistics.median(seconds) if seconds else float("nan")

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
    parser.add_argument("--repeat", type=int, default=10, help="steps of the network to time")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    directory = arguments.output / arguments.release
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    results = measure(arguments, directory / "logs")
    (directory / "training.json").write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not report(results))


if __name__ == "__main__":
    main()
