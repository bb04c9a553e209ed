"""Tests what is for 64-bit Arm on another machine, under qemu-user: `make test-aarch64`.

Cross-compiles the kernels' C++ tests, with their fuzz, and the plugin, and runs the tests,
and TensorFlow's wheels for aarch64 with the plugin, in an emulator. What that takes is
Debian's: a cross compiler, which has to be installed; an emulator, installed or else
fetched; and a CPython for arm64, fetched with what it needs. Packages that are fetched are
unpacked below build/aarch64, which takes apt and dpkg, but not root. What cannot be had is
named, and its tests are skipped. All else is pinned: TensorFlow's wheels in WORKSPACE, what
they need in build_defs/requirements.
"""

import argparse
import contextlib
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

# The CPython that Debian has, and that TensorFlow's pinned wheels are for.
PYTHON = "3.11"

# Its packages, and what wheels take from the system. TensorFlow 2.12 imports distutils.
PACKAGES = ["python" + PYTHON, "python3-distutils", "libstdc++6"]

# With which releases, what is run: a module, or a program of tests/, and arguments.
TESTS = {
    "2.12.1": {"ops": ["fuzz_ops.py", "--cases=40"]},
    "2.16.2": {"ops": ["fuzz_ops.py", "--cases=40"]},
    "2.21.0": {
        "ops": ["fuzz_ops.py", "--cases=150"],
        "Jacobians": ["plugin_jacobian_test.py"],
        "Keras": ["keras_run_time_test.py", "DetourTest"],
        "command": ["-m", "tensorflow_grouped_convolution"],
    },
}
KERNELS = "@adapter_aarch64_%s//tensorflow/core/kernels/grouped_conv:all"


class CommandError(Exception):
    """Says which command failed, and what it said."""


def run(command, **options):
    """Runs a command; raises CommandError if it fails or is not there."""
    try:
        result = subprocess.run(
            list(map(str, command)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **options,
        )
    except OSError as error:
        raise CommandError(str(error)) from None
    if result.returncode != 0:
        said = result.stdout.strip().splitlines() or ["status %d" % result.returncode]
        raise CommandError("%s: %s" % (shlex.join(map(str, command)), said[-1]))
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
    with contextlib.suppress(CommandError):
        run([*get, "update"])
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
    errors = []
    # Of these, the first is one file that needs no other.
    for package in "qemu-user-static", "qemu-user":
        root = FOLDER / package
        try:
            unpack([package], run(["dpkg", "--print-architecture"]).strip(), root)
        except CommandError as error:
            errors.append(str(error))
            continue
        for name in names:
            if (root / "usr/bin" / name).exists():
                return root / "usr/bin" / name
    raise CommandError("qemu-aarch64 on PATH, nor can it be fetched: " + "; ".join(errors))


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


def pins():
    """Returns what WORKSPACE pins for aarch64, release by release, the oldest first."""
    text = (TOP / "WORKSPACE").read_text()
    stanzas = re.findall(r"(?ms)^tensorflow_adapter\(\n(.*?)^\)", text)
    all_pins = [dict(re.findall(r'(\w+) = "(.*)"', stanza)) for stanza in stanzas]
    return [pin for pin in all_pins if pin.get("cpu") == "aarch64"]


def pinned_wheel(release):
    """Returns the requirement of an official wheel, as WORKSPACE pins it."""
    for pin in pins():
        if pin["version"] == release:
            return "%(distribution)s==%(version)s --hash=sha256:%(sha256)s\n" % pin
    raise ValueError("WORKSPACE pins no TensorFlow %s for aarch64" % release)


def installed_tensorflow(pip, release):
    """Installs a TensorFlow, unless it is there, and what it needs; returns the folder."""
    folder = FOLDER / release / "site-packages"
    locked = "tensorflow-%s-cp%s.txt" % (release, PYTHON.replace(".", ""))
    text = (TOP / "build_defs/requirements" / locked).read_text() + pinned_wheel(release)
    installed = folder.with_name("installed.txt")
    if not installed.exists() or installed.read_text() != text:
        shutil.rmtree(folder.parent, ignore_errors=True)
        folder.mkdir(parents=True)
        requirements = folder.with_name("requirements.txt")
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
    options = ["--config=aarch64", "--keep_going", "--build_tests_only"]
    options += ["--run_under=%s -L %s" % (qemu, root), "--build_event_json_file=%s" % events]
    # Where the plugin's kernels are compiled.
    kernels = KERNELS % "_".join(pins()[-1]["version"].split(".")[:2])
    subprocess.run([TOP / "ci/bazel", "test", *options, kernels], cwd=TOP)
    return count_tests.count_events(events) if events.exists() else (0, 1, 0)


def test_plugin(launcher, site_packages, program, *arguments):
    """Runs one of TESTS; returns how many cases passed, failed and were skipped."""
    with tempfile.TemporaryDirectory() as place:
        cases = pathlib.Path(place) / "cases.xml"
        command = [launcher, TOP / "tests" / program, *arguments]
        if program == "-m":
            command[1] = program
        elif program.endswith("_test.py"):
            # As tests of absl's know how many cases they have.
            command.append("--xml_output_file=%s" % cases)
        result = subprocess.run(
            command,
            cwd=place,
            env=dict(
                os.environ,
                PYTHONDONTWRITEBYTECODE="1",
                PYTHONPATH=str(site_packages),
                TF_CPP_MIN_LOG_LEVEL="3",
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        failed = result.returncode != 0
        counts = count_tests.count_cases(cases) if cases.exists() else (int(not failed), 0, 0)
    if failed and not counts[1]:
        counts = count_tests.add(counts, (0, 1, 0))
    print(result.stdout if failed else result.stdout.strip().splitlines()[-1], flush=True)
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--wheel", type=pathlib.Path, help="the plugin, if it is not to be built")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="parts of names, such as kernels, 2.21.0 or Keras"
    )
    arguments = parser.parse_args()
    names = [
        "kernels",
        *("%s %s" % (release, name) for release in TESTS for name in TESTS[release]),
    ]
    wanted = [name for name in names if any(part in name for part in arguments.only)]
    if not wanted:
        parser.error("there is none of %s; there are: %s" % (arguments.only, ", ".join(names)))
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        if not shutil.which(COMPILER):
            raise CommandError("%s on PATH: install g++-aarch64-linux-gnu" % COMPILER)
        qemu = find_qemu()
        root = FOLDER / "arm64"
        try:
            unpack(PACKAGES, "arm64", root)
        except CommandError as error:
            raise CommandError("CPython %s for arm64 to be fetched: %s" % (PYTHON, error)) from None
    except CommandError as error:
        print("SKIPPED %s: there is no %s" % (", ".join(wanted), error))
        print("0 passed, 0 failed, %d skipped" % len(wanted))
        return 0

    counts = (0, 0, 0)

    def count(name, test, *arguments):
        nonlocal counts
        print("== %s" % name, flush=True)
        start = time.monotonic()
        found = test(*arguments)
        seconds = time.monotonic() - start
        print("%s: %d passed, %d failed, %d skipped, %.0f s" % (name, *found, seconds), flush=True)
        counts = count_tests.add(counts, found)

    if "kernels" in wanted:
        count("kernels", test_kernels, qemu, root)
    if wanted != ["kernels"]:
        plugin = (arguments.wheel or test_releases.built_plugin(processor="aarch64")).absolute()
        pip = make_pip()
        launcher = make_launcher(qemu, root)
    for release, tests in TESTS.items():
        chosen = [name for name in tests if "%s %s" % (release, name) in wanted]
        if chosen:
            site_packages = installed_tensorflow(pip, release)
            install(pip, site_packages, plugin)
        for name in chosen:
            count("%s %s" % (release, name), test_plugin, launcher, site_packages, *tests[name])
    return count_tests.conclude(counts)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit("ci/test_aarch64.py: %s" % error)
