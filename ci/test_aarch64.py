"""Tests what is for 64-bit Arm on another machine, under qemu-user: `make test-aarch64`.

Cross-compiles the kernels' C++ tests, with their fuzz, and the plugin, and runs the tests,
and TensorFlow's wheel for aarch64 with the plugin, in an emulator. What that takes is
Debian's: a cross compiler, which has to be installed; an emulator, installed or else
fetched; and a CPython for arm64, fetched with what it needs. Packages that are fetched are
unpacked below build/aarch64, which takes apt and dpkg, but not root. What cannot be had is
named, and its tests are skipped. All else is pinned: TensorFlow's wheel in WORKSPACE, what
it needs in build_defs/requirements.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time

import count_tests
import test_releases

TOP = pathlib.Path(__file__).resolve().parents[1]
FOLDER = TOP / "build" / "aarch64"
COMPILER = "aarch64-linux-gnu-g++"

# The release that is tried, and the CPython that Debian has for it.
RELEASE = "2.21.0"
PYTHON = "3.11"

# Programs of tests/, or a module, with arguments. Those of absl say how many cases they have.
TESTS = {
    "command": ["-m", "tensorflow_grouped_convolution"],
    "ops": ["fuzz_ops.py", "--cases=40"],
    "Jacobians": ["plugin_jacobian_test.py"],
    "Keras": ["keras_run_time_test.py", "-k", "test_layers_train", "-k", "test_values"],
}


class MissingError(Exception):
    """Names what cannot be had."""


def run(command, **options):
    """Runs a command; raises MissingError with what it says if it fails or is not there."""
    try:
        result = subprocess.run(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
    except OSError as error:
        raise MissingError(str(error)) from None
    if result.returncode != 0:
        said = result.stdout.strip().splitlines() or ["status %d" % result.returncode]
        raise MissingError("%s: %s" % (shlex.join(map(str, command)), said[-1]))
    return result.stdout


def unpack(packages, architecture, root):
    """Unpacks packages of Debian's, with all that they need, into a folder.

    Args:
      packages: their names.
      architecture: that they are for.
      root: the folder, whose content is taken for them if it is there.
    """
    if root.exists():
        return
    apt = FOLDER / ("apt-" + architecture)
    shutil.rmtree(apt, ignore_errors=True)
    for name in "lists/partial", "archives/partial":
        (apt / name).mkdir(parents=True)
    # As if nothing were installed.
    (apt / "status").touch()
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::Cache": apt,
        "Dir::State": apt,
        "Dir::State::status": apt / "status",
    }
    get = ["apt-get", "--quiet", *("-o%s=%s" % option for option in options.items())]
    # Where sources have nothing for this architecture, others may.
    subprocess.run([*get, "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run([*get, "install", "--yes", "--no-install-recommends", "--download-only", *packages])
    unpacked = root.with_suffix(".incomplete")
    shutil.rmtree(unpacked, ignore_errors=True)
    for archive in sorted((apt / "archives").glob("*.deb")):
        run(["dpkg", "--extract", archive, unpacked])
    shutil.rmtree(apt)
    unpacked.rename(root)


def find_qemu():
    """Returns the path of an emulator."""
    names = "qemu-aarch64", "qemu-aarch64-static"
    for name in names:
        if shutil.which(name):
            return shutil.which(name)
    host = run(["dpkg", "--print-architecture"]).strip()
    errors = []
    # Of these, the first is one file that needs no other.
    for package in "qemu-user-static", "qemu-user":
        root = FOLDER / package
        try:
            unpack([package], host, root)
        except MissingError as error:
            errors.append(str(error))
            continue
        for name in names:
            if (root / "usr/bin" / name).exists():
                return root / "usr/bin" / name
    raise MissingError("qemu-user: " + "; ".join(errors))


def make_pip():
    """Returns how to call a pip of this machine's."""
    environment = FOLDER / "pip"
    python = environment / "bin/python"
    if not python.exists():
        interpreter = run([TOP / "ci/find_python", PYTHON]).strip()
        run([interpreter, "-m", "venv", environment])
    return [python, "-m", "pip", "--disable-pip-version-check"]


def install(pip, folder, *arguments):
    """Has a pip of this machine's install wheels for the emulator's Python in a folder."""
    tags = ["manylinux2014", *("manylinux_2_%d" % glibc for glibc in range(17, 40))]
    platforms = ["--platform=%s_aarch64" % tag for tag in tags]
    options = ["--python-version", PYTHON, "--only-binary=:all:", "--no-deps", "--upgrade"]
    run([*pip, "install", "--quiet", *platforms, *options, "--target", folder, *arguments])


def installed_tensorflow(pip):
    """Installs TensorFlow, unless it is there, and what it needs; returns the folder."""
    folder = FOLDER / "site-packages"
    locked = "tensorflow-%s-cp%s.txt" % (RELEASE, PYTHON.replace(".", ""))
    pins = [
        dict(re.findall(r'(\w+) = "(.*)"', stanza))
        for stanza in re.findall(
            r"(?ms)^tensorflow_adapter\(\n(.*?)^\)", (TOP / "WORKSPACE").read_text()
        )
    ]
    (pin,) = (pin for pin in pins if pin.get("cpu") == "aarch64" and pin["version"] == RELEASE)
    text = (TOP / "build_defs/requirements" / locked).read_text()
    text += "tensorflow==%s --hash=sha256:%s\n" % (RELEASE, pin["sha256"])
    installed = FOLDER / "installed.txt"
    if not installed.exists() or installed.read_text() != text:
        installed.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        requirements = FOLDER / "requirements.txt"
        requirements.write_text(text)
        install(pip, folder, "--require-hashes", "--requirement", requirements)
        requirements.rename(installed)
    return folder


def make_launcher(qemu, root):
    """Returns a program that is the emulator's Python to whom starts it, and to that itself."""
    launcher = FOLDER / "python"
    program = root / "usr/bin" / ("python" + PYTHON)
    launcher.write_text(
        '#!/bin/sh\nPYTHONHOME=%s exec %s -L %s -0 "$0" %s "$@"\n'
        % tuple(shlex.quote(str(path)) for path in (root / "usr", qemu, root, program))
    )
    launcher.chmod(0o755)
    return launcher


def test_kernels(qemu, root):
    """Runs the kernels' C++ tests; returns how many cases passed, failed and were skipped."""
    events = FOLDER / "kernels.json"
    events.unlink(missing_ok=True)
    subprocess.run(
        [TOP / "ci/bazel", "test", "--config=aarch64", "--keep_going", "--build_tests_only"]
        + ["--run_under=%s -L %s" % (qemu, root), "--build_event_json_file=%s" % events]
        + ["@adapter_aarch64_%s//tensorflow/core/kernels/grouped_conv:all" % minor()],
        cwd=TOP,
    )
    return count_tests.count_events(events) if events.exists() else (0, 1, 0)


def minor():
    return "_".join(RELEASE.split(".")[:2])


def test_plugin(launcher, site_packages, name, arguments):
    """Runs one of TESTS; returns how many cases passed, failed and were skipped."""
    program, *rest = arguments
    is_module = program == "-m"
    with tempfile.TemporaryDirectory() as place:
        cases = pathlib.Path(place) / "cases.xml"
        command = [launcher, *arguments] if is_module else [launcher, TOP / "tests" / program, *rest]
        if program.endswith("_test.py"):
            command.append("--xml_output_file=%s" % cases)
        environment = dict(
            os.environ,
            PYTHONDONTWRITEBYTECODE="1",
            PYTHONPATH=str(site_packages),
            TF_CPP_MIN_LOG_LEVEL="3",
        )
        log = FOLDER / (name.replace(" ", "_") + ".log")
        with log.open("w") as stream:
            status = subprocess.run(
                command, cwd=place, env=environment, stdout=stream, stderr=subprocess.STDOUT
            ).returncode
        counts = count_tests.count_cases(cases) if cases.exists() else (int(status == 0), 0, 0)
    if status != 0 and counts[1] == 0:
        counts = count_tests.add(counts, (0, 1, 0))
    if counts[1]:
        print(log.read_text(), flush=True)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=pathlib.Path, help="the plugin, if it is not to be built")
    parser.add_argument("--only", nargs="+", help="of kernels, %s" % ", ".join(TESTS))
    arguments = parser.parse_args()
    wanted = arguments.only or ["kernels", *TESTS]
    FOLDER.mkdir(parents=True, exist_ok=True)
    counts = (0, 0, 0)
    try:
        if not shutil.which(COMPILER):
            raise MissingError("%s on PATH: install g++-aarch64-linux-gnu" % COMPILER)
        qemu = find_qemu()
        root = FOLDER / "arm64"
        unpack(["python" + PYTHON, "libstdc++6"], "arm64", root)
    except MissingError as error:
        print("SKIPPED %s: there is no %s" % (", ".join(wanted), error))
        print("0 passed, 0 failed, %d skipped" % len(wanted))
        return 0
    if wanted != ["kernels"]:
        plugin = (arguments.wheel or test_releases.built_plugin(processor="aarch64")).absolute()
        pip = make_pip()
        site_packages = installed_tensorflow(pip)
        install(pip, site_packages, plugin)
        launcher = make_launcher(qemu, root)
    for name in wanted:
        print("== " + name, flush=True)
        start = time.monotonic()
        if name == "kernels":
            found = test_kernels(qemu, root)
        else:
            found = test_plugin(launcher, site_packages, name, TESTS[name])
        print("   %d passed, %d failed, %d skipped, %.0f s" % (*found, time.monotonic() - start))
        counts = count_tests.add(counts, found)
    return count_tests.conclude(counts)


if __name__ == "__main__":
    sys.exit(main())
