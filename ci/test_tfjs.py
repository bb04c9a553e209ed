"""Tests the column of TensorFlow.js in docs/exports.md: `make test-tfjs`.

Makes two virtual environments below build/tfjs, with what is pinned: tensorflowjs with the
TensorFlow that it takes, and TensorFlow 2.21.0; the plugin is in both. Exports each layer
of the table, and models, in the first, and from the second by way of a SavedModel; runs
them in Node.js; and looks at values and at the ops that they are made of. Takes Node.js.
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import test_releases

TOP = pathlib.Path(__file__).resolve().parents[1]
SOURCES = TOP / "ci" / "tfjs"
FOLDER = TOP / "build" / "tfjs"
COMMAND = "tensorflow_grouped_convolution.export_grouped"

BACKENDS = ("cpu", "wasm")
# Of the largest value of an output.
TOLERANCE = 1e-5
REFUSED = r"^ValueError: (.* cannot be converted: TensorFlow\.js|Unsupported Ops in the model)"


def call(*command, environment=None, **options):
    """Runs a command; returns what it prints, and raises if it fails."""
    result = subprocess.run(
        list(map(str, command)),
        env={**os.environ, "PYTHONPATH": "", "TF_CPP_MIN_LOG_LEVEL": "3", **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        universal_newlines=True,
        **options,
    )
    if result.returncode != 0:
        raise subprocess.CalledProcessError(
            result.returncode, command, result.stdout + result.stderr
        )
    return result.stdout


class Step:
    """Says what is done, and how long it took."""

    def __init__(self, text):
        self.text = text

    def __enter__(self):
        self.start = time.monotonic()

    def __exit__(self, *error):
        print("%s: %.0f s" % (self.text, time.monotonic() - self.start), flush=True)


def make_environment(name, requirements, plugin):
    """Makes a virtual environment, if it is not there, with the plugin; returns its Python."""
    folder = FOLDER / name
    python = folder / "bin" / "python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    installed = folder / "installed.txt"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        with Step("Installing %s" % name):
            shutil.rmtree(str(folder), ignore_errors=True)
            interpreter = call(TOP / "ci" / "find_python", "3.11").strip()
            call(interpreter, "-m", "venv", folder)
            call(*pip, "--require-hashes", "--only-binary=:all:", "-r", requirements)
            shutil.copyfile(str(requirements), str(installed))
    call(*pip, "--no-deps", "--force-reinstall", plugin)
    return python


def node_modules():
    """Installs TensorFlow.js, if it is not there; returns the folder of its packages."""
    folder = FOLDER / "npm"
    lock = SOURCES / "package-lock.json"
    installed = folder / "package-lock.json"
    if not installed.exists() or installed.read_text() != lock.read_text():
        with Step("Installing TensorFlow.js"):
            shutil.rmtree(str(folder), ignore_errors=True)
            folder.mkdir()
            for path in SOURCES / "package.json", lock:
                shutil.copy(str(path), str(folder))
            try:
                call("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=str(folder))
            except subprocess.CalledProcessError:
                installed.unlink()
                raise
    return folder / "node_modules"


def run_cases(python, *arguments):
    """Exports with the Python of an environment."""
    environment = {"EXPORTS": str(TOP / "docs" / "exports.md"), "PYTHONPATH": str(TOP / "tests")}
    program = SOURCES / "cases.py"
    call(python, "-B", "-W", "ignore", program, *arguments, environment=environment)


def run_in_node(modules, backend, cases):
    """Returns what TensorFlow.js computes, or its error, for each case."""
    models = [dict(case["x"], model=case["path"]) for case in cases]
    command = ["node", SOURCES / "run.js", modules, backend]
    return json.loads(call(*command, input=json.dumps(models)))


def difference(actual, expected):
    """Returns the largest difference of an output, of its largest value; raises if too large."""
    if "error" in actual:
        raise AssertionError(actual["error"])
    if actual["shape"] != expected["shape"]:
        raise AssertionError("shape %s, not %s" % (actual["shape"], expected["shape"]))
    pairs = list(zip(actual["data"], expected["data"]))
    # JSON has null for what is not a number.
    if any(value is None for value, _ in pairs):
        raise AssertionError("not all are numbers")
    error = max(abs(value - right) for value, right in pairs)
    error /= max(abs(right) for _, right in pairs)
    if error > TOLERANCE:
        raise AssertionError("wrong by %.1e of the largest value" % error)
    return error


def convolutions(path):
    """Returns how often each op that convolves is in an exported model."""
    topology = json.loads(pathlib.Path(path).read_text())["modelTopology"]
    functions = topology.get("library", {}).get("function", [])
    nodes = topology["node"] + [node for f in functions for node in f.get("nodeDef", [])]
    return collections.Counter(node["op"] for node in nodes if "conv" in node["op"].lower())


def check_ops(case):
    """Raises an error if the ops of an exported model are not what is said of it."""
    if "becomes" not in case:
        return
    ops = convolutions(case["path"])
    depthwise = any("Depthwise" in op for op in ops)
    counts = {"whole": 1, "depthwise": 1, "split": case["groups"]}
    if sum(ops.values()) != counts.get(case["becomes"]) or depthwise != (
        case["becomes"] == "depthwise"
    ):
        raise AssertionError("not %s, but made of %s" % (case["becomes"], dict(ops)))


def check(case, results):
    """Returns what is to be said of a case that is right; raises if it is not."""
    if case.get("becomes") == "refused":
        if not re.search(REFUSED, case.get("error", ""), re.DOTALL) or case["left"]:
            raise AssertionError("not refused by name: %s" % case.get("error", "no error"))
        return "refused: %s" % " ".join(case["error"].split())
    if "error" in case:
        raise AssertionError(case["error"])
    check_ops(case)
    said = [case["becomes"]] if "becomes" in case else []
    for backend in BACKENDS:
        said.append("%s %.0e" % (backend, difference(results[backend], case["y"])))
    return ", ".join(said)


def check_all(route, cases, modules):
    """Runs cases and prints what came of each; returns how many passed and failed."""
    print("\n%s" % route)
    exported = [case for case in cases if "path" in case and "x" in case]
    results = [{} for _ in exported]
    for backend in BACKENDS:
        for result, output in zip(results, run_in_node(modules, backend, exported)):
            result[backend] = output
    by_path = dict(zip((case["path"] for case in exported), results))
    failed = 0
    for case in cases:
        try:
            said = "passed: %s: %s" % (case["name"], check(case, by_path.get(case.get("path"))))
        except AssertionError as error:
            failed += 1
            said = "FAILED: %s: %s" % (case["name"], error)
        print("  " + said, flush=True)
    return len(cases) - failed, failed


def by_command(steps, case, folder):
    """Exports the U-Net's file with the commands that docs/exports.md has.

    Args:
      steps: for each command a Python, and the target.
      case: the case of the same model, exported by the function.
      folder: the folder with its file.

    Returns:
      The case of what was exported.
    """
    source = folder / "u_net.keras"
    case = {key: case[key] for key in ("x", "y")}
    case["name"] = source.name
    for python, to in steps:
        result = folder / ("command_" + to)
        try:
            printed = call(python, "-W", "ignore", "-m", COMMAND, source, result, "--to", to)
        except subprocess.CalledProcessError as error:
            case.pop("path", None)
            return dict(case, error=error.output.strip().splitlines()[-1])
        case["path"] = re.search(r"(?m)^Wrote (.*)\.$", printed).group(1)
        source = case["path"]
    return case


def read_cases(folder):
    return json.loads((folder / "cases.json").read_text())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=pathlib.Path, help="the plugin, if it is not to be built")
    arguments = parser.parse_args()
    start = time.monotonic()
    if not shutil.which("node"):
        sys.exit("ci/test_tfjs.py: found no Node.js: install it, with npm")
    plugin = (arguments.wheel or test_releases.built_plugin()).absolute()
    FOLDER.mkdir(parents=True, exist_ok=True)
    modules = node_modules()
    newer = make_environment(
        "tensorflow-2.21.0", TOP / "benchmarks" / "requirements" / "tensorflow-2.21.0.txt", plugin
    )
    tensorflowjs = make_environment("tensorflowjs", SOURCES / "requirements.txt", plugin)

    places = {name: FOLDER / "exported" / name for name in ("direct", "saved", "converted")}
    shutil.rmtree(str(FOLDER / "exported"), ignore_errors=True)
    with Step("Exporting beside tensorflowjs"):
        run_cases(tensorflowjs, "make", "tfjs", places["direct"])
    with Step("Saving with TensorFlow 2.21.0"):
        run_cases(newer, "make", "tensorflow", places["saved"])
    with Step("Converting what was saved"):
        run_cases(tensorflowjs, "convert", places["saved"], places["converted"])
    direct, converted = (read_cases(places[name]) for name in ("direct", "converted"))
    (u_net,) = (case for case in direct if case["name"] == "u_net")
    with Step("Exporting by command"):
        ways = {
            "direct": by_command([(tensorflowjs, "tfjs")], u_net, places["direct"]),
            "converted": by_command(
                [(newer, "tensorflow"), (tensorflowjs, "tfjs")], u_net, places["saved"]
            ),
        }

    passed = failed = 0
    for route, cases in (
        ("Exported beside tensorflowjs", direct + [ways["direct"]]),
        ("Exported by way of a SavedModel of TensorFlow 2.21.0", converted + [ways["converted"]]),
    ):
        counts = check_all(route, cases, modules)
        passed += counts[0]
        failed += counts[1]
    print("\nNot run: the backends webgl and webgpu, which take a browser.")
    print("It took %.0f s." % (time.monotonic() - start))
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(failed != 0)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        print(error.output, flush=True)
        raise
