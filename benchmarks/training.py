"""Times training through Keras 3, and beside PyTorch: see README.md.

The peers take turns. Prints each median and the ratios that are wanted, and fails if
one is missed. ci/run_bench makes the environments:

    make bench TF=2.21.0 ARGS=--training
    make bench TF=2.21.0 ARGS=--networks

The second trains whole networks instead, and compares their parameters and first losses.
"""

import argparse
import json
import os
import pathlib
import statistics
import sys

import numpy as np
from networks import NETWORKS
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
        ("ConvNeXtTiny", "official", "ConvNeXtTiny", 3),
    )
]

TURNS = 5
# How often a turn repeats a case.
LAYER = {"layer step": 10, "layer step, dense": 10, "layer fit": 2, "layer fit, dense": 2}
# Whose depthwise convolutions are grouped ones in Keras.
CONVNEXT = {"ConvNeXtTiny": 2}
# Of these, which take many seconds, one turn is enough.
SLOW_TURNS = 1
SLOW = {"layer step": 1, "layer fit, 1 step": 1, "ConvNeXtTiny": 1}
# Of the networks, official Keras trains these without groups, and that with XLA.
WITHOUT_GROUPS = ("mobilenet_v2", "efficientnet_b0")
BATCH_NORMALIZED = ("resnext50", "regnety_4gf", "shufflenet") + WITHOUT_GROUPS
TYPES = ("", " bfloat16")
# How far the first losses of a network may be from each other.
LOSSES_DIFFER = {"": 2e-3, " bfloat16": 0.1}


def trainer(name, environment, module):
    return Peer(name, environment, module, "training.py")


def plan_layers(release, turns):
    """Yields peer, variables, cases and the number of its turns."""
    for setting, variables in SETTINGS.items():
        rebuilt = trainer("rebuilt" + setting, "keras-" + release, "training_keras")
        yield rebuilt, variables, LAYER, turns
    plugin = trainer("plugin", "plugin-" + release, "training_plugin")
    yield plugin, {}, {**LAYER, **CONVNEXT}, turns
    yield trainer("official", "stock-" + release, "training_keras"), {}, SLOW, SLOW_TURNS


def plan_networks(release, turns):
    """Yields peer, variables, cases and the number of its turns."""
    both = {network + dtype: 2 for dtype in TYPES for network in NETWORKS}
    environment = "plugin-" + release
    yield trainer("plugin", environment, "training_plugin"), {}, both, turns
    normalized = {case: 2 for case in both if case.split()[0] in BATCH_NORMALIZED}
    yield trainer("one op", environment, "training_fused"), {}, normalized, turns
    official = {network + dtype: 2 for dtype in TYPES for network in WITHOUT_GROUPS}
    yield trainer("official", "stock-" + release, "training_keras"), {}, official, turns
    yield trainer("PyTorch", "pytorch", "training_pytorch"), {}, both, turns


def measure(plan, arguments, logs):
    """Returns versions, times and networks by name and case."""
    results, workers = {}, []
    threads = len(os.sched_getaffinity(0))
    for peer, variables, cases, turns in plan(arguments.release, arguments.turns):
        result = results[peer.name] = {"version": None, "cases": {}, "networks": {}}
        worker = Worker(peer, threads, arguments.output, logs, variables)
        workers.append((peer.name, worker, cases, turns, result))
    for turn in range(arguments.turns):
        print("Turn %d of %d" % (turn + 1, arguments.turns), flush=True)
        for entry in list(workers):
            name, worker, cases, turns, result = entry
            try:
                result["version"] = result["version"] or worker.start()
                for case, repeat in cases.items():
                    answer = worker.ask(case=case, repeat=repeat)
                    result["cases"].setdefault(case, []).extend(answer["seconds"])
                    if answer["network"]:
                        result["networks"][case] = answer["network"]
                done = turn + 1 == turns
            except Failure as failure:
                print("%s: %s" % (name, failure), flush=True)
                done = True
            if done:
                worker.stop()
                workers.remove(entry)
    return results


def median_of(results, name, case):
    seconds = results[name]["cases"].get(case)
    return statistics.median(seconds) if seconds else float("nan")


def report_networks(results):
    """Prints a table of medians; returns whether all trained the same networks."""
    same = True
    print("%-27s" % "ms" + "".join("%12s" % name for name in results) + "   PyTorch / ours")
    for case in dict.fromkeys(case for result in results.values() for case in result["cases"]):
        medians = [1e3 * median_of(results, name, case) for name in results]
        times_of = dict(zip(results, medians))
        ours = np.nanmin([times_of["plugin"], times_of["one op"]])
        times = "".join("%12.1f" % time for time in medians)
        print("%-27s%s%17.2f" % (case, times, medians[-1] / ours))
        trained = [r["networks"][case] for r in results.values() if case in r["networks"]]
        losses = [network["loss"] for network in trained]
        dtype = case[len(case.split()[0]) :]
        same_size = len({network["parameters"] for network in trained}) == 1
        if len(trained) < 2:
            print("%s was trained by %d of them: nothing to compare" % (case, len(trained)))
            same = False
        elif not same_size or np.ptp(losses) > LOSSES_DIFFER[dtype] * min(losses):
            print("%s is not the same network everywhere: %s" % (case, trained))
            same = False
    return same


def report_layers(results):
    """Prints medians and the wanted ratios; returns whether all are reached."""

    def median(name, case):
        return median_of(results, name, case)

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
    parser.add_argument("--networks", action="store_true", help="trains whole networks")
    parser.add_argument("--turns", type=int, default=TURNS, help="of each but the slow ones")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    directory = arguments.output / arguments.release
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    if arguments.networks:
        name, plan, report = "networks", plan_networks, report_networks
    else:
        name, plan, report = "training", plan_layers, report_layers
    results = measure(plan, arguments, directory / "logs")
    (directory / (name + ".json")).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not report(results))


if __name__ == "__main__":
    main()
