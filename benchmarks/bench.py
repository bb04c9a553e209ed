"""Times grouped convolution layers: ours and its peers, in turn, in one run.

Each peer computes in processes of its own, one for each number of threads
(workers/worker.py); all but the one whose turn it is are stopped. ci/run_bench
makes the environments that they need. The results go to results.json and
results.png; report.py tells what they mean.
"""

import argparse
import collections
import datetime
import json
import os
import pathlib
import platform
import re
import signal
import statistics
import subprocess
import sys
import threading

import numpy as np
import report
from problem import Problem

HERE = pathlib.Path(__file__).resolve().parent

# Whose environment below build/bench, and which class of workers/ it runs.
Peer = collections.namedtuple("Peer", "name environment program")
PEERS = [
    Peer(report.OURS, "rebuilt", "tensorflow_ops.Op"),
    Peer("torch channels last", "pytorch", "pytorch.ChannelsLast"),
    Peer("torch NCHW", "pytorch", "pytorch.Nchw"),
    Peer("ONNX Runtime", "onnxruntime", "onnx_runtime.OnnxRuntime"),
    Peer("TFLite XNNPACK", "tensorflow-2.21.0", "tflite.TfLite"),
    Peer("TF 2.21 op", "tensorflow-2.21.0", "tensorflow_ops.Op"),
    Peer("2.2.3 split", "stock", "tensorflow_ops.SplitConcat"),
    Peer(report.XLA, "stock", "tensorflow_ops.Xla"),
    Peer("2.2.3 depthwise", "stock", "tensorflow_ops.Depthwise"),
]

# A turn lasts about so many seconds; a peer gets so many turns.
TURN = 0.03
TURNS = 5
# A peer that needs so many times as long as the fastest gets no further turn.
HOPELESS = 10
# Seconds in which an answer must come; XLA's first may need minutes.
PATIENCE = 600
# The largest error that is rounding, relative to the largest value.
TOLERANCE = 1e-3


# With --keep-memory: what is freed stays with the process. Otherwise a framework
# that allocates each result pays for the first touch of every page of a large
# one, every time.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}


class Failure(Exception):
    """What a worker could not do."""


class Worker:
    """A process that runs only while it is asked something."""

    def __init__(self, peer, threads, directory, environment):
        self._peer = peer
        self._threads = threads
        self._directory = directory
        self._environment = dict(
            os.environ,
            OMP_NUM_THREADS=str(threads),
            TF_CPP_MIN_LOG_LEVEL="2",
            **environment,
        )
        self._process = None

    def start(self):
        """Starts the process if need be; returns what it says it runs."""
        python = self._directory / self._peer.environment / "bin" / "python"
        if not python.exists():
            raise Failure("not installed")
        log = self._directory / "logs" / ("%s-%d.txt" % (self._peer.name, self._threads))
        with open(log, "a") as errors:
            self._process = subprocess.Popen(
                [python, "-B", HERE / "workers" / "worker.py"]
                + [self._peer.program, str(self._threads)],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                universal_newlines=True,
                bufsize=1,
            )
        version = self._answer()["version"]
        self._process.send_signal(signal.SIGSTOP)
        return version

    def ask(self, **request):
        """Returns the answer; raises Failure if there is none, or an error."""
        if self._process is None:
            self.start()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError:
            pass  # It died; no answer will come.
        answer = self._answer()
        self._process.send_signal(signal.SIGSTOP)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def forget(self):
        """Frees the tensors of the problem asked last."""
        if self._process is not None:
            try:
                self.ask(forget=True)
            except Failure:
                pass  # It died, and holds nothing.

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self):
        timer = threading.Timer(PATIENCE, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self.stop()
            raise Failure("its process ended without an answer; see its log")
        return json.loads(line)


def relative_error(sample, reference):
    sample, reference = np.array(sample), np.array(reference)
    if sample.shape != reference.shape or not np.isfinite(sample).all():
        return float("inf")
    return float(abs(sample - reference).max() / max(abs(reference).max(), 1e-30))


def time_pass(workers, problem, pass_name):
    """Returns the median seconds of each peer that ran, and why the others did not."""
    seconds, failures = {}, {}
    reference = None
    for name, worker in workers.items():
        try:
            answer = worker.ask(problem=problem, **{"pass": pass_name})
        except Failure as failure:
            failures[name] = str(failure)
            continue
        # Ours is the first: what it computes is the reference for all.
        reference = reference or answer["sample"]
        error = relative_error(answer["sample"], reference)
        if error > TOLERANCE:
            failures[name] = "differs by %.0e" % error
        else:
            seconds[name] = [answer["seconds"]]
    if not seconds:
        return {}, failures

    once = {name: times[0] for name, times in seconds.items()}
    contenders = [name for name in once if once[name] <= HOPELESS * min(once.values())]
    for _ in range(TURNS if min(once.values()) < 0.5 else 1):
        for name in contenders:
            repeat = int(min(max(TURN / once[name], 1), 50))
            seconds[name] += workers[name].ask(repeat=repeat)["seconds"]
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


def measure_limits(directory, all_threads):
    """Returns what limits.cc prints, for each number of threads."""
    program = directory / "limits"
    flags = ["-std=c++11", "-O2", "-march=native", "-pthread"]
    compiler = os.environ.get("CXX", "g++")
    subprocess.run([compiler] + flags + [HERE / "limits.cc", "-o", program], check=True)
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


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="8 layers, batch 8: some minutes")
    parser.add_argument("--only", default="", metavar="REGEX", help="layers whose name has this")
    parser.add_argument("--batches", type=int, nargs="+", metavar="N", help="default: 1 8 32")
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", help="default: 1 2")
    parser.add_argument(
        "--keep-memory", action="store_true", help="from call to call: see KEEP_MEMORY"
    )
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    arguments.batches = arguments.batches or ([8] if arguments.quick else [1, 8, 32])
    arguments.threads = arguments.threads or [1, 2]
    return arguments


def main():
    arguments = parse_arguments()
    # Stopped processes would outlive this one.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: terminated"))
    directory = arguments.output
    (directory / "logs").mkdir(parents=True, exist_ok=True)
    results = {
        "machine": describe_machine(),
        "arguments": sys.argv[1:],
        "limits": measure_limits(directory, arguments.threads),
        "versions": {},
        "missing": {},
        "rows": [],
    }
    workers = {threads: {} for threads in arguments.threads}
    for threads in arguments.threads:
        for peer in PEERS:
            worker = Worker(peer, threads, directory, KEEP_MEMORY if arguments.keep_memory else {})
            try:
                results["versions"][peer.name] = worker.start()
                workers[threads][peer.name] = worker
            except Failure as failure:
                results["missing"][peer.name] = str(failure)
    report.print_header(results)
    if report.OURS in results["missing"]:
        sys.exit("bench: the rebuilt wheel does not run; see %s" % (directory / "logs"))

    try:
        layers = list(read_layers(arguments.quick, arguments.only, arguments.batches))
        for index, (layer, text, against_peers) in enumerate(layers):
            problem = Problem(text)
            if not fits_memory(problem, len(PEERS)):
                results["missing"]["%s, batch %d" % (layer, problem.batch)] = "not enough memory"
                continue
            for threads in arguments.threads:
                contestants = dict(workers[threads])
                if not against_peers:
                    contestants = {report.OURS: contestants[report.OURS]}
                for pass_name in report.PASSES:
                    seconds, failures = time_pass(contestants, text, pass_name)
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
    finally:
        for by_name in workers.values():
            for worker in by_name.values():
                worker.stop()
    # Again, as others may have slowed the machine down before.
    results["limits"] = best_limits(results["limits"], measure_limits(directory, arguments.threads))
    write(results, directory)
    report.print_summary(results)
    report.draw(results, directory)


if __name__ == "__main__":
    main()
