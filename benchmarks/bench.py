"""Times grouped convolution layers: ours and its peers, in turn, in one run.

Each peer computes in processes of its own, one for each number of threads
(workers/worker.py); all but the one whose turn it is are stopped. ci/run_bench
makes the environments that they need. The results go to results.json and
results.png in a folder for each release; report.py tells what they mean.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time

import numpy as np
import report
from problem import Problem
from process import Failure, Peer, Slow, Worker

HERE = pathlib.Path(__file__).resolve().parent

# Releases, and the peers that run on them.
RELEASES = {
    "2.2.3": [
        Peer("2.2.3 split", "stock-2.2.3", "tensorflow_ops.SplitConcat"),
        Peer("2.2.3 XLA", "stock-2.2.3", "tensorflow_ops.Xla"),
        Peer("2.2.3 depthwise", "stock-2.2.3", "tensorflow_ops.Depthwise"),
    ],
    "2.21.0": [
        Peer("2.21 XLA", "tensorflow-2.21.0", "tensorflow_ops.Xla"),
        Peer("2.21 depthwise", "tensorflow-2.21.0", "tensorflow_ops.Depthwise"),
    ],
}
# The others, for each of them.
PEERS = [
    Peer("torch channels last", "pytorch", "pytorch.ChannelsLast"),
    Peer("torch NCHW", "pytorch", "pytorch.Nchw"),
    Peer("ONNX Runtime", "onnxruntime", "onnx_runtime.OnnxRuntime"),
    Peer("TFLite XNNPACK", "tensorflow-2.21.0", "tflite.TfLite"),
    Peer("2.21 op", "tensorflow-2.21.0", "tensorflow_ops.Op"),
]
# Those that are asked in other types than float32.
TAKES = {
    "bfloat16": {"torch channels last", "torch NCHW", "2.21 op", "2.21 depthwise"},
    "float16": {"torch channels last", "torch NCHW", "2.21 op", "2.21 depthwise", "ONNX Runtime"},
}

# A turn lasts so many seconds, after so many that are not timed: after a pause, and
# where a result has new memory, caches take some calls. A peer gets so many turns.
TURN = 0.03
WARM_UP = 0.01
TURNS = 5
# A call of so many seconds is not made more often than it must be.
SLOW = 0.5
# An answer must come in so many seconds, whatever is compiled for it; without one
# they count as the time that it took. XLA may need minutes a call.
PATIENCE = 120
# A peer that needs so many times as long as the fastest gets no further turn in
# that row; is not asked for other batches and threads of that layer and pass; nor
# for the network's other layers.
HOPELESS = 10
HOPELESS_FOR_LAYER = 30
HOPELESS_FOR_NETWORK = 100
# What a row, a layer against all peers, was seen to take, seconds: at least, and
# for each GFLOP.
ROW_SECONDS = 2.3, 0.4
# What --isa is to the compiler: the widest vectors count for the limit.
ISA_FLAGS = {"native": ["-march=native"], "avx2": ["-mavx2", "-mfma"]}
# The largest error that is rounding, relative to the largest value.
TOLERANCE = {"float32": 1e-3, "bfloat16": 2e-2, "float16": 3e-3}


# With --keep-memory: what is freed stays with the process. Otherwise a framework
# that allocates each result pays for the first touch of every page of a large
# one, every time.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


def relative_error(sample, reference):
    sample, reference = np.array(sample), np.array(reference)
    if sample.shape != reference.shape or not np.isfinite(sample).all():
        return float("inf")
    return float(abs(sample - reference).max() / max(abs(reference).max(), 1e-30))


class LeftOut:
    """Peers that are not asked any more, as they were hopeless before."""

    def __init__(self):
        self._reasons = collections.defaultdict(dict)

    def find(self, layer, problem, pass_name):
        """Returns why, by name."""
        parts = [pass_name]
        # Both gradients take at least as long as each; the bar of XLA wants them.
        if pass_name == "gradients" and problem != report.FIRST_LAYER:
            parts += ["input_gradient", "filter_gradient"]
        reasons = {}
        for part in parts:
            for place in layer, _network(layer):
                reasons.update(self._reasons[place, part])
        return reasons

    def note(self, layer, problem, pass_name, once, failures):
        """Returns who is not hopeless in `once`, seconds by name."""
        contenders = []
        for name, seconds in once.items():
            times = seconds / min(once.values())
            if name == report.OURS or times <= HOPELESS:
                contenders.append(name)
                continue
            after = failures.get(name, "%.0f times the fastest's time" % times)
            reason = "left out after %s: %s" % (after, problem)
            if times > HOPELESS_FOR_LAYER:
                self._reasons[layer, pass_name][name] = reason
            if times > HOPELESS_FOR_NETWORK:
                self._reasons[_network(layer), pass_name][name] = reason
        return contenders


def _network(layer):
    return layer.partition("/")[0]


def time_pass(workers, layer, problem, dtype, pass_name, left_out):
    """Returns the median seconds of each peer that ran, and why the others did not."""
    seconds, slow = {}, {}
    failures = left_out.find(layer, problem, pass_name)
    reference = None

    def ask(name, **request):
        """Returns the answer, or notes the failure and returns None."""
        try:
            return workers[name].ask(**request)
        except Failure as failure:
            failures[name] = str(failure)
            seconds.pop(name, None)
            if isinstance(failure, Slow):
                slow[name] = PATIENCE

    def take_turn(name):
        answer = ask(name, turn=TURN, warm_up=WARM_UP if min(seconds[name]) < SLOW else 0)
        if answer:
            seconds[name] += answer["seconds"]

    for name in [name for name in workers if name not in failures]:
        answer = ask(name, problem=problem, dtype=dtype, **{"pass": pass_name})
        if not answer:
            continue
        # Ours is the first: what it computes is the reference for all.
        reference = reference or answer["sample"]
        error = relative_error(answer["sample"], reference)
        if error > TOLERANCE[dtype]:
            failures[name] = "differs by %.0e" % error
        else:
            seconds[name] = [answer["seconds"]]
    if not seconds:
        return {}, failures

    fastest = min(times[0] for times in seconds.values())
    for name, times in list(seconds.items()):
        if HOPELESS * fastest < times[0] < SLOW:
            # One call may be slow because of something else.
            for _ in range(3):
                take_turn(name)
    once = {name: min(times) for name, times in seconds.items()}
    contenders = left_out.note(layer, problem, pass_name, {**once, **slow}, failures)
    for _ in range(TURNS if fastest < SLOW else 1):
        for name in contenders:
            if name in seconds:
                take_turn(name)
    return {name: statistics.median(times) for name, times in seconds.items()}, failures


def read_layers(quick, only, batches):
    """Yields layer, problem string, and whether it runs against peers."""
    for line in open(HERE / "layers.txt"):
        words = line.partition("#")[0].split()
        if not words:
            continue
        layer, text, marks = words[0], words[1], words[2:]
        if (quick and "quick" not in marks) or not re.search(only, layer):
            continue
        for batch in [8] if "divisor" in marks else batches:
            yield layer, "mb%d" % batch + text, "divisor" not in marks


def compile_program(source, flags, directory):
    """Returns the path of the program or library that a C++ file makes."""
    output = directory / pathlib.Path(source).stem
    compiler = os.environ.get("CXX", "g++")
    subprocess.run([compiler, "-O2"] + flags + [HERE / source, "-o", output], check=True)
    return output


def measure_limits(directory, all_threads, isa):
    """Returns what limits.cc prints, for each number of threads."""
    flags = ISA_FLAGS[isa] + ["-std=c++11", "-pthread"]
    program = compile_program("limits.cc", flags, directory)
    return {
        str(threads): json.loads(subprocess.check_output([program, str(threads)]))
        for threads in all_threads
    }


def best_limits(one, other):
    """Returns the higher figures of two measurements."""
    return {
        threads: {
            "gflops": {
                width: max(peak, other[threads]["gflops"][width])
                for width, peak in limits["gflops"].items()
            },
            "copy": [max(pair) for pair in zip(limits["copy"], other[threads]["copy"])],
        }
        for threads, limits in one.items()
    }


def describe_machine():
    with open("/proc/cpuinfo") as info:
        models = re.findall(r"model name\s*: (.*)", info.read())
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "date": datetime.datetime.now().isoformat(timespec="minutes"),
    }


def fits_memory(problem, peers):
    """Whether all peers can hold the problem's tensors, some of them twice."""
    with open("/proc/meminfo") as info:
        free = int(re.search(r"MemAvailable:\s*([0-9]+) kB", info.read()).group(1)) << 10
    return 3 * peers * problem.bytes < free


def write(results, directory):
    with open(directory / "results.json", "w") as output:
        json.dump(results, output, indent=1)


def estimate_minutes(layers, threads):
    """Of the rows against peers; the others hardly count."""
    least, by_gflop = ROW_SECONDS
    rows = [Problem(text) for _, text, against_peers in layers if against_peers]
    seconds = sum(least + by_gflop * problem.flops * 1e-9 for problem in rows)
    return len(report.PASSES) * len(threads) * seconds / 60


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="8 layers, batch 8: some minutes")
    parser.add_argument("--only", default="", metavar="REGEX", help="layers whose name has this")
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="default: 8 1 32")
    parser.add_argument(
        "--threads", type=int, nargs="+", metavar="N", default=[2, 1], help="default: 2 1"
    )
    parser.add_argument("--dtype", choices=Problem.SIZES, default="float32", help="of all tensors")
    parser.add_argument(
        "--isa", choices=ISA_FLAGS, default="native", help="hold all frameworks to it: isa_avx2.cc"
    )
    parser.add_argument(
        "--keep-memory", action="store_true", help="from call to call: see KEEP_MEMORY"
    )
    parser.add_argument("--release", choices=RELEASES, required=True, help="of TensorFlow")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    arguments.batches = arguments.batches or ([8] if arguments.quick else [8, 1, 32])
    return arguments


def start_workers(peers, arguments, directory, results):
    """Returns the workers by number of threads and name, and notes who is missing."""
    variables = dict(KEEP_MEMORY) if arguments.keep_memory else {}
    if arguments.isa == "avx2":
        library = compile_program("isa_avx2.cc", ["-shared", "-fPIC"], directory)
        variables["LD_PRELOAD"] = str(library.resolve())
    workers = {threads: {} for threads in arguments.threads}
    for threads in arguments.threads:
        for peer in peers:
            logs = directory / "logs"
            worker = Worker(peer, threads, arguments.output, logs, variables, PATIENCE)
            try:
                results["versions"][peer.name] = worker.start()
                workers[threads][peer.name] = worker
            except Failure as failure:
                results["missing"][peer.name] = str(failure)
    return workers


def main():
    start = time.monotonic()
    arguments = parse_arguments()
    directory = arguments.output / arguments.release
    if arguments.isa != "native":
        directory = directory / arguments.isa
    if arguments.dtype != "float32":
        directory = directory / arguments.dtype
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    layers = list(read_layers(arguments.quick, arguments.only, arguments.batches))
    print(
        "%d layers and batches, about %.0f minutes once the frameworks have started"
        % (len(layers), estimate_minutes(layers, arguments.threads)),
        flush=True,
    )
    results = {
        "machine": describe_machine(),
        "release": arguments.release,
        "isa": arguments.isa,
        "dtype": arguments.dtype,
        "arguments": sys.argv[1:],
        "limits": measure_limits(directory, arguments.threads, arguments.isa),
        "versions": {},
        "missing": {},
        "rows": [],
    }
    ours = Peer(report.OURS, "rebuilt-" + arguments.release, "tensorflow_ops.Op")
    peers = [ours] + [
        peer
        for peer in PEERS + RELEASES[arguments.release]
        if peer.name in TAKES.get(arguments.dtype, {peer.name})
    ]
    workers = start_workers(peers, arguments, directory, results)
    report.print_header(results)
    if report.OURS in results["missing"]:
        sys.exit("bench: the rebuilt wheel does not run; see %s" % (directory / "logs"))

    left_out = LeftOut()
    for index, (layer, text, against_peers) in enumerate(layers):
        problem = Problem(text, arguments.dtype)
        if not fits_memory(problem, len(peers)):
            results["missing"]["%s, batch %d" % (layer, problem.batch)] = "not enough memory"
            continue
        for threads in arguments.threads:
            contestants = dict(workers[threads])
            if not against_peers:
                contestants = {report.OURS: contestants[report.OURS]}
            for pass_name in report.PASSES:
                seconds, failures = time_pass(
                    contestants, layer, text, arguments.dtype, pass_name, left_out
                )
                results["rows"].append(
                    {
                        "layer": layer,
                        "problem": text,
                        "batch": problem.batch,
                        "channels_per_group": problem.channels_per_group,
                        "filter": problem.filter,
                        "groups": problem.groups,
                        "flops": problem.flops * report.PASSES[pass_name],
                        "bytes": problem.bytes,
                        "pass": pass_name,
                        "threads": threads,
                        "seconds": seconds,
                        "failures": failures,
                    }
                )
                report.print_row(results, results["rows"][-1], index + 1, len(layers))
            for worker in contestants.values():
                worker.forget()
        # After each layer, so that a run which is cut short leaves what it has.
        write(results, directory)
    for by_name in workers.values():
        for worker in by_name.values():
            worker.stop()
    # Again, as others may have slowed the machine down before.
    again = measure_limits(directory, arguments.threads, arguments.isa)
    results["limits"] = best_limits(results["limits"], again)
    results["minutes"] = (time.monotonic() - start) / 60
    write(results, directory)
    report.print_summary(results)
    report.draw(results, directory)


if __name__ == "__main__":
    main()
