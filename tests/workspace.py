"""Copies of this workspace, for tests that build in one of their own."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

SOURCE = pathlib.Path(os.environ["WORKSPACE"]).resolve().parent

# Bazel's cache of what ci/run_tests has compiled, and an option for builds that need not
# compile it anew.
COMPILED = SOURCE / "build/compiled_for_tests"
REUSE = "--disk_cache=%s" % COMPILED


def make_variables(official_name):
    """Returns how `make` is told of a release, given the file with its wheel's name."""
    distribution, version, python = pathlib.Path(official_name).read_text().split("-")[:3]
    return {
        "DIST": distribution.replace("_", "-"),
        "TF": version,
        "PYTHON_VERSION": re.sub(r"cp(\d)(\d+)", r"\1.\2", python),
    }


class Workspace:
    """A copy of this workspace's sources in a folder of its own.

    Attributes:
      folder: its pathlib.Path.
      dist: where its wheels go.
    """

    def __init__(self, test):
        scratch = pathlib.Path(tempfile.mkdtemp())
        test.addCleanup(shutil.rmtree, scratch)
        self.folder = scratch / "workspace"
        self.dist = self.folder / "dist"
        shutil.copytree(
            SOURCE,
            self.folder,
            ignore=lambda folder, names: (
                [
                    name
                    for name in names
                    if name in (".git", "build", "dist", "user.bazelrc") or name[:6] == "bazel-"
                ]
                if pathlib.Path(folder) == SOURCE
                else []
            ),
        )

    def use_bazel(self, test, *options):
        """Gives it a Bazel with an output root of its own and options for each build.

        It has nothing that other builds have compiled, but for REUSE among the options.
        """
        output_root = self.folder.parent / "output"
        with (self.folder / ".bazelrc").open("a") as bazelrc:
            bazelrc.write("\nstartup --output_user_root=%s\n" % output_root)
            for option in options:
                bazelrc.write("build %s\n" % option)
        # What ci/bazel has installed before; it installs anew what is not there.
        tools = self.folder / "build/tools"
        tools.parent.mkdir()
        if (SOURCE / "build/tools").exists():
            tools.symlink_to(SOURCE / "build/tools")
        # Stops the server and makes all that it wrote writable.
        test.addCleanup(self.run, "ci/bazel", "clean", "--expunge")

    def replace(self, path, old, new):
        """Replaces the one place in a file where `old` stands."""
        file = self.folder / path
        text = file.read_text()
        if text.count(old) != 1:
            raise ValueError("%s holds %r %d times" % (path, old, text.count(old)))
        file.write_text(text.replace(old, new))

    def run(self, *command, **environment):
        """Runs a command in it; returns the exit status and all that was printed."""
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=dict(os.environ, **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return result.returncode, result.stdout

    def made(self):
        """Returns what lies in dist/, hidden files too."""
        return os.listdir(self.dist) if self.dist.exists() else []
