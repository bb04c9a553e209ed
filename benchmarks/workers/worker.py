"""Times one framework, as benchmarks/bench.py asks: `worker.py MODULE.CLASS THREADS`.

Says {"version": "..."} when it is ready. Then speaks JSON lines, a request on
standard input, its answer on standard output:

    {"problem": "g32mb8ic128...", "dtype": "float32", "pass": "forward"}
                                                      -> {"seconds": 0.1, "sample": [...]}
    {"turn": 0.03, "warm_up": 0.01}
                        calls what was loaded last for so many seconds, or 1000
                        times, after so many untimed seconds
                                                      -> {"seconds": [0.1, ...]}
    {"forget": true}    frees it                       -> {}

What fails is answered with {"error": "..."}. The class has a `version`, and is
made with the number of threads. Its load(problem, input, filter,
output_gradient), with tensors of float32 to be rounded to the problem's type,
returns a callable for each pass that it has: "forward",
"input_gradient", "filter_gradient", "gradients" (both). A call does that pass
once and returns its result; the class's arrays(result) turns that into NumPy
arrays of float32 in TensorFlow's layout (of any shape, as only the order of their values
counts). Tensors are brought into the layout that the framework wants while
loading: this is not timed.
"""

import array
import importlib
import json
import os
import re
import sys
import time
import traceback

import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from problem import Problem  # noqa: E402

# In a turn.
MOST_CALLS = 1000


class Worker:
    """Answers requests; keeps the problem loaded last."""

    def __init__(self, peer):
        self._peer = peer
        # What a turn allocates may be taken from the memory of a result that was
        # freed, and the next result goes to pages that nothing has touched.
        self._seconds = array.array("d", bytes(8 * MOST_CALLS))
        self._forget()

    def _forget(self):
        self._loaded = self._passes = self._run = None

    def answer(self, request):
        """Returns the answer to a request."""
        if "problem" in request:
            return self._load(request["problem"], request["dtype"], request["pass"])
        if "turn" in request:
            return {"seconds": self._take_turn(request["turn"], request["warm_up"])}
        self._forget()
        return {}

    def _load(self, text, dtype, name):
        if self._loaded != (text, dtype):
            self._forget()
            problem = Problem(text, dtype)
            self._passes = self._peer.load(problem, *problem.tensors())
            self._loaded = text, dtype
        if name not in self._passes:
            return {"error": "has no %s" % name.replace("_", " ")}
        self._run = self._passes[name]
        arrays = self._peer.arrays(self._run())
        return {"seconds": self._take_turn(0, 0)[0], "sample": sum(map(sample, arrays), [])}

    def _take_turn(self, turn, warm_up):
        """Returns what each call took, of which there is at least one."""
        start = time.perf_counter()
        while time.perf_counter() < start + warm_up:
            self._run()
        calls = 0
        end = time.perf_counter() + turn
        while calls == 0 or (calls < MOST_CALLS and time.perf_counter() < end):
            start = time.perf_counter()
            self._run()
            self._seconds[calls] = time.perf_counter() - start
            calls += 1
        return self._seconds[:calls].tolist()


def sample(values):
    """Some of the values, the same places in every process."""
    places = np.random.RandomState(0).randint(0, values.size, 1000)
    return values[np.unravel_index(places, values.shape)].tolist()


def main():
    # Frameworks print to standard output, which is for answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    module, name = sys.argv[1].split(".")
    peer = getattr(importlib.import_module(module), name)(int(sys.argv[2]))
    answers.write(json.dumps({"version": peer.version}) + "\n")
    worker = Worker(peer)
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            traceback.print_exc()
            # Without the graph node that TensorFlow puts first.
            message = re.sub(r"{{.*?}} *", "", str(error).strip().split("\n")[0])
            answer = {"error": "%s: %s" % (type(error).__name__, message)}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
