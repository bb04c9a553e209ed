"""Times training through Keras 3, and beside PyTorch: see README.md.

The peers take turns. Prints each median and the ratios that are wanted; of layers, fails
if one is missed. ci/run_bench makes the environments:

    make bench TF=2.21.0 ARGS=--training
    make bench TF=2.21.0 ARGS=--networks

The second trains whole networks instead, and compares their parameters and first losses. It
draws networks.png, and says what kinds of ops a step is made of.
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
from report import geometric_mean, verdict

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
        ("ConvNeXtTiny", "official", "ConvNeXtTiny", 4),
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
# Of the networks, official Keras trains the others with XLA.
WITHOUT_GROUPS = ("convnext_t", "mobilenet_v2", "efficientnet_b0")
BATCH_NORMALIZED = ("resnext50", "regnety_4gf", "shufflenet", "mobilenet_v2", "efficientnet_b0")
TYPES = ("", " bfloat16")
# Times of the others over ours that are wanted of the networks in float32: as a geometric
# mean over those with batch normalization, and of each; and of some beside official Keras.
MEAN_TO_PYTORCH, LEAST_TO_PYTORCH = 1.2, 1.0
TO_OFFICIAL = {"mobilenet_v2": 1.4, "efficientnet_b0": 1.4}
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


def measure(plan, arguments, logs, profiled=()):
    """Returns versions, times, networks and what ops took, by name and case."""
    results, workers = {}, []
    threads = len(os.sched_getaffinity(0))
    for peer, variables, cases, turns in plan(arguments.release, arguments.turns):
        result = {"version": None, "cases": {}, "networks": {}, "milliseconds": {}}
        results[peer.name] = result
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
                if done and name in profiled:
                    for case in cases:
                        answer = worker.ask(case=case, profile=True)
                        result["milliseconds"][case] = answer["milliseconds"]
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


def report_value(what, value, wanted):
    """Prints a value and whether it is what is wanted."""
    print("%-55s wanted %4.2f: %s" % (what, wanted, verdict(value, wanted)))


def ours_of(results, case):
    """Returns the seconds of the faster way to train a network here."""
    return np.nanmin([median_of(results, name, case) for name in ("plugin", "one op")])


def report_networks(results, directory):
    """Prints a table of medians; returns whether all trained the same networks."""
    same = True
    print("%-27s" % "ms" + "".join("%12s" % name for name in results) + "   PyTorch / ours")
    for case in dict.fromkeys(case for result in results.values() for case in result["cases"]):
        medians = [1e3 * median_of(results, name, case) for name in results]
        times = "".join("%12.1f" % time for time in medians)
        print("%-27s%s%17.2f" % (case, times, medians[-1] / 1e3 / ours_of(results, case)))
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
    report_wanted(results)
    report_kinds(results)
    draw_networks(results, directory / "networks.png")
    return same


def report_wanted(results):
    """Prints the ratios that are wanted of the networks, met or missed."""
    ratios = {
        network: median_of(results, "PyTorch", network) / ours_of(results, network)
        for network in NETWORKS
    }
    mean = geometric_mean([ratios[network] for network in BATCH_NORMALIZED])
    report_value("PyTorch / ours, with batch normalization, mean", mean, MEAN_TO_PYTORCH)
    worst = min(ratios, key=ratios.get)
    report_value("PyTorch / ours, the least: " + worst, ratios[worst], LEAST_TO_PYTORCH)
    for network, wanted in TO_OFFICIAL.items():
        ratio = median_of(results, "official", network) / ours_of(results, network)
        report_value("official / ours: " + network, ratio, wanted)
    for network in NETWORKS:
        ratio = ours_of(results, network) / ours_of(results, network + TYPES[1])
        report_value("float32 / bfloat16: " + network, ratio, 1)


def report_kinds(results):
    """Prints which part of the time of all ops of a step each kind takes, in percent."""
    profiles = {**results["plugin"]["milliseconds"], **results["one op"]["milliseconds"]}
    kinds = sorted({kind for profile in profiles.values() for kind in profile})
    print("\n%-27s" % "% of the ops' time" + "".join("%12s" % kind for kind in kinds))
    for case, profile in profiles.items():
        parts = [100 * profile.get(kind, 0) / sum(profile.values()) for kind in kinds]
        print("%-27s" % case + "".join("%12.0f" % part for part in parts))


def draw_networks(results, path):
    """Writes a picture of the times, to be 800 pixels wide."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pyplot.rcParams.update({"font.size": 8})
    figure, panels = pyplot.subplots(1, len(TYPES), figsize=(9, 3.6), layout="constrained")
    colors = {"official": "#bbbbbb", "plugin": "#8fc1e3", "one op": "#2f7fb8", "PyTorch": "#d55e00"}
    names = {
        "official": "official TensorFlow and Keras",
        "plugin": "with the plugin",
        "one op": "and batch normalization as one op",
        "PyTorch": "PyTorch, channels last",
    }
    height = 0.8 / len(colors)
    for panel, dtype in zip(panels, TYPES):
        for place, (name, color) in enumerate(colors.items()):
            seconds = [median_of(results, name, network + dtype) for network in NETWORKS]
            lines = [line + (place - 1.5) * height for line in range(len(NETWORKS))]
            panel.barh(lines, seconds, height, color=color, label=names[name])
            for line, time in zip(lines, seconds):
                if time == time:
                    panel.text(time, line, " %.0f ms" % (1e3 * time), va="center", fontsize=6)
        panel.set_yticks(range(len(NETWORKS)))
        panel.set_yticklabels(NETWORKS)
        panel.invert_yaxis()
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_xlabel("seconds a training step")
        panel.set_title("mixed_bfloat16, autocast" if dtype else "float32", loc="left")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncol=4, frameon=False)
    figure.savefig(path, dpi=160)
    pyplot.close(figure)
    print("Picture: %s" % path)


def report_layers(results, _):
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
        profiled = ("plugin", "one op")
    else:
        name, plan, report, profiled = "training", plan_layers, report_layers, ()
    results = measure(plan, arguments, directory / "logs", profiled)
    (directory / (name + ".json")).write_text(json.dumps(results, indent=1) + "\n")
    sys.exit(not report(results, directory))


if __name__ == "__main__":
    main()
