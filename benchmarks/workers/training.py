"""Times training steps in one framework: `training.py MODULE`.

The modules are those of this folder named training_..., whose CASES are functions by
their names. Reads JSON lines such as {"case": "resnext50", "repeat": 3}, and answers each
with {"seconds": [...]}, a time for each step, or {"error": "..."}; says {"version": "..."}
when it is ready. A case returns a function that does one step (or `steps` of them at once,
if it has that attribute) and waits for it. That function is kept for further requests, and
called once before each is timed.

A network's step has `parameters`, their number, and returns its loss: its first answer has
both, as "network". Where it has a function `profile`, {"case": "resnext50", "profile": true}
is answered with {"milliseconds": {...}}: what each kind of its ops took, in a step.
"""

import importlib
import json
import os
import sys
import time


def timed(step, repeat):
    step()
    seconds = []
    for _ in range(repeat):
        start = time.perf_counter()
        step()
        seconds.append((time.perf_counter() - start) / getattr(step, "steps", 1))
    return seconds


def main():
    # What frameworks print is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    module = importlib.import_module(sys.argv[1])
    print(json.dumps({"version": module.VERSION}), file=answers, flush=True)
    steps = {}
    for line in sys.stdin:
        request = json.loads(line)
        case = request["case"]
        try:
            network = None
            if case not in steps:
                steps[case] = module.CASES[case]()
                if hasattr(steps[case], "parameters"):
                    network = {
                        "parameters": int(steps[case].parameters),
                        "loss": float(steps[case]()),
                    }
            if request.get("profile"):
                answer = {"milliseconds": steps[case].profile()}
            else:
                answer = {"seconds": timed(steps[case], request["repeat"]), "network": network}
        except Exception as error:
            answer = {"error": "%s: %s" % (type(error).__name__, str(error)[:500])}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
