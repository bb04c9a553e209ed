"""Times convolutions without groups: the rebuilt wheel's and the official one's, in turn.

These the rebuilt wheel hands to the official kernels, so the ratio tells what
looking at their shapes costs. ci/run_bench makes the environments:

    make bench ARGS=--dense
"""

import argparse
import math
import pathlib
import statistics

from process import Failure, Peer, Worker

PASSES = ["forward", "input_gradient", "filter_gradient"]
# Layers of ResNet-50 and of a 3-D network, and some that cost next to nothing.
PROBLEMS = [
    "mb1ic4oc4ih4kh3ph1",
    "mb1ic16oc16ih8kh1",
    "mb1ic64oc64ih56kh1",
    "mb1ic256oc256ih14kh3ph1",
    "mb8ic3oc64ih224kh7ph3sh2",
    "mb8ic64oc64ih56kh3ph1",
    "mb8ic128oc512ih28kh1",
    "mb8ic512oc512ih7kh3ph1",
    "mb2ic32oc32id8ih28kd3kh3pd1ph1",
]
# A turn lasts so many seconds, after so many that are not timed.
TURN = 0.02
WARM_UP = 0.005


def ratio(workers, text, pass_name, turns):
    """Returns the median seconds of the official wheel, and the rebuilt one's share of them."""
    seconds = {}
    for name, worker in workers.items():
        worker.ask(problem=text, dtype="float32", **{"pass": pass_name})
        seconds[name] = []
    for _ in range(turns):
        for name, worker in workers.items():
            # Of a turn the median; a whole turn may be one in which the machine was busy.
            answer = worker.ask(turn=TURN, warm_up=WARM_UP)
            seconds[name].append(statistics.median(answer["seconds"]))
    official = statistics.median(seconds["stock"])
    return official, statistics.median(seconds["rebuilt"]) / official


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, nargs="+", metavar="N", default=[1, 2])
    parser.add_argument("--turns", type=int, metavar="N", default=25)
    parser.add_argument("--release", required=True, help="of TensorFlow")
    parser.add_argument("--output", type=pathlib.Path, required=True, help="the environments' top")
    arguments = parser.parse_args()
    logs = arguments.output / arguments.release / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for threads in arguments.threads:
        workers = {}
        for name in "stock", "rebuilt":
            peer = Peer(name, "%s-%s" % (name, arguments.release), "tensorflow_ops.Op")
            workers[name] = Worker(peer, threads, arguments.output, logs)
        ratios = []
        try:
            for text in PROBLEMS:
                for pass_name in PASSES:
                    official, share = ratio(workers, text, pass_name, arguments.turns)
                    ratios.append(share)
                    print(
                        "%d threads  %-32s %-16s %9.1f us  x %.3f"
                        % (threads, text, pass_name, official * 1e6, share),
                        flush=True,
                    )
        except Failure as failure:
            parser.exit(1, "dense: %s\n" % failure)
        finally:
            for worker in workers.values():
                worker.stop()
        mean = math.exp(statistics.mean(map(math.log, ratios)))
        print("%d threads  geometric mean x %.3f, largest x %.3f" % (threads, mean, max(ratios)))


if __name__ == "__main__":
    main()
