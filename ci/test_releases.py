"""Tests the plugin in each release of TensorFlow that it serves: `make test-releases`.

For each environment below it makes a virtual one, installs official packages and the
wheel that `make plugin` makes, and runs, as a user would, what the plugin says
of itself, and the tests of ops, Jacobians, TensorFlow Lite, Keras layers, saving and the
command. Prints a table, in Markdown, of what was run with what. It takes half an
hour, and of the network as much as all these packages.
"""

import argparse
import datetime
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[1]
FOLDER = TOP / "build" / "releases"

# Of the nightlies pip takes the newest; the plugin is built for it where it is installed.
NIGHTLY = "--pre"

# CPython, and what pip installs: official releases, not all of them those that adapters are
# compiled against, and of Keras the first that goes with them, the last, and some between.
ENVIRONMENTS = [
    ("3.8", ["tensorflow-cpu==2.12.1"]),
    ("3.8", ["tensorflow-cpu==2.13.1"]),
    ("3.9", ["tensorflow-cpu==2.14.1"]),
    ("3.10", ["tensorflow-cpu==2.15.1"]),
    ("3.11", ["tensorflow-cpu==2.16.2", "keras==3.0.5"]),
    ("3.11", ["tensorflow-cpu==2.17.1", "keras==3.4.1"]),
    ("3.12", ["tensorflow-cpu==2.18.0", "keras==3.6.0"]),
    ("3.11", ["tensorflow-cpu==2.18.1", "keras==3.8.0", "tf_keras==2.18.0"]),
    ("3.10", ["tensorflow-cpu==2.19.1", "keras==3.10.0"]),
    ("3.13", ["tensorflow-cpu==2.20.0", "keras==3.12.0"]),
    ("3.11", ["tensorflow-cpu==2.21.0", "keras==3.15.1"]),
    ("3.11", ["tensorflow-cpu==2.21.0", "tf_keras==2.21.0"]),
    ("3.13", ["tensorflow==2.21.0", "keras==3.15.1"]),
    ("3.13", ["tensorflow-cpu==2.22.0rc0"]),
    ("3.11", ["tf-nightly-cpu", "keras-nightly", NIGHTLY]),
    ("3.12", ["tf-nightly", NIGHTLY]),
]

# Programs, and what they are given.
TESTS = {
    "ops": ["fuzz_ops.py", "--cases=150"],
    "Jacobians": ["plugin_jacobian_test.py"],
    "TensorFlow Lite": ["plugin_lite_test.py"],
    "Keras": ["keras_run_time_test.py"],
    "batch normalization": ["keras_batch_normalization_test.py"],
    "command": ["plugin_command_test.py"],
}


class Environment:
    """A virtual environment with a TensorFlow and the plugin."""

    def __init__(self, python, packages):
        self.packages = packages
        name = "-".join([python] + [name for name in packages if name != NIGHTLY])
        self.folder = FOLDER / name.replace("==", "-")
        self.log = (FOLDER / (self.folder.name + ".log")).open("w")
        self.python = self.folder / "bin" / "python"
        shutil.rmtree(self.folder, ignore_errors=True)
        interpreter = subprocess.check_output([TOP / "ci" / "find_python", python], text=True)
        self.call([interpreter.strip(), "-m", "venv", self.folder])

    def call(self, command, **environment):
        """Runs a command; returns what it prints, and raises if it fails."""
        print("+", *command, file=self.log, flush=True)
        result = subprocess.run(
            command,
            cwd=FOLDER,
            env=dict(os.environ, PYTHONPATH="", **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(result.stdout, file=self.log, flush=True)
        if result.returncode != 0:
            raise subprocess.CalledProcessError(result.returncode, command, result.stdout)
        return result.stdout

    def install(self, *arguments):
        pip = [self.python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        self.call(pip + list(arguments))

    def version(self, distribution):
        """Returns the version of what is installed, "" if it is not."""
        code = "import importlib.metadata as m; print(m.version(%r))" % distribution
        try:
            return self.call([self.python, "-c", code]).strip()
        except subprocess.CalledProcessError:
            return ""

    def run(self, plugin):
        """Runs everything; returns the cells of its row."""
        self.install("absl-py", *self.packages)
        if NIGHTLY in self.packages:
            plugin = built_plugin(str(self.python))
        self.install("--no-deps", plugin)
        tensorflow = self.packages[0].partition("==")[0]
        kerases = [
            "%s %s" % (name, self.version(name)) for name in ("keras", "keras-nightly", "tf_keras")
        ]
        cells = [
            "%s %s" % (tensorflow, self.version(tensorflow)),
            self.call(
                [self.python, "-c", "import platform as p; print(p.python_version())"]
            ).strip(),
            ", ".join(found for found in kerases if not found.endswith(" ")),
        ]
        # Ends with an error if a grouped step takes longer than a dense one.
        try:
            said = self.call([self.python, "-m", "tensorflow_grouped_convolution"])
        except subprocess.CalledProcessError as error:
            said = error.output
        steps = re.search(r"grouped step: *([\d.]+) ms, dense one ([\d.]+) ms", said)
        cells.append("%s / %s" % steps.groups() if steps else "")
        cells.append(said.strip().splitlines()[-1].partition(":")[0])
        for name, (program, *arguments) in TESTS.items():
            start = time.monotonic()
            try:
                self.call([self.python, TOP / "tests" / program] + arguments)
                cells.append("passed")
            except subprocess.CalledProcessError:
                cells.append("**failed**")
            print("  %s %s, %.0f s" % (name, cells[-1], time.monotonic() - start), flush=True)
        return cells


def built_plugin(python="", processor=""):
    """Returns the plugin's wheel, for all releases, or for what an interpreter imports.

    Args:
      python: that interpreter, if so.
      processor: that it is for, if not this machine's.
    """
    environment = dict(os.environ, TF="", FOR=python, KERAS="", ARCH=processor)
    printed = subprocess.check_output(["make", "plugin"], cwd=TOP, text=True, env=environment)
    return TOP / re.search(r"(?m)^Wheel: (.*)$", printed).group(1)


def processor():
    """Returns what the processor calls itself."""
    return re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[""], help="part of a package's name")
    parser.add_argument("--wheel", type=pathlib.Path, help="the plugin, if it is not to be built")
    parser.add_argument("--keep", action="store_true", help="keep the environments")
    parser.add_argument("--output", type=pathlib.Path, help="file to write the table to")
    arguments = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    plugin = (arguments.wheel or built_plugin()).absolute()
    head = ["TensorFlow", "CPython", "Keras", "step, grouped / dense, ms", "it says", *TESTS]
    rows = [head, ["---"] * len(head)]
    for python, packages in ENVIRONMENTS:
        if not any(text in package for text in arguments.only for package in packages):
            continue
        print("%s on CPython %s" % (" ".join(packages), python), flush=True)
        environment = None
        try:
            environment = Environment(python, packages)
            rows.append(environment.run(plugin))
        except subprocess.CalledProcessError as error:
            print(error.output, flush=True)
            rows.append([" ".join(packages), python, "", "", "**failed**"] + [""] * len(TESTS))
        if environment and not arguments.keep:
            shutil.rmtree(environment.folder, ignore_errors=True)
    table = "".join("| %s |\n" % " | ".join(cells) for cells in rows)
    table += "\n%s, %d cores of %s, %s\n" % (
        datetime.date.today(),
        len(os.sched_getaffinity(0)),
        processor(),
        platform.platform(),
    )
    print(table)
    if arguments.output:
        arguments.output.write_text(table)
    sys.exit("failed" in table or "Not well" in table)


if __name__ == "__main__":
    main()
