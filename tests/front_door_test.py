"""Tests that what a build needs and does not find is named, before anything is built."""

import shutil

from absl.testing import absltest
from workspace import Workspace

# What the scripts use themselves. Where only these are on PATH, there is neither
# a Python nor a compiler nor anything that Bazel could come from.
COMMON_PROGRAMS = (
    "awk basename bash cat cp dirname env grep ls make mkdir rm sed tail timeout uname xargs"
).split()


class FrontDoorTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.workspace = Workspace(self)
        self.programs = self.workspace.folder.parent / "bin"
        self.programs.mkdir()
        for program in COMMON_PROGRAMS:
            (self.programs / program).symlink_to(shutil.which(program))

    def assert_refused(self, message, *command, **environment):
        """Checks that a command fails, says why and leaves nothing behind."""
        environment.update(PATH=str(self.programs), PYENV_ROOT="")
        status, printed = self.workspace.run(*command, **environment)
        self.assertNotEqual(status, 0)
        self.assertIn(message, printed)
        self.assertEmpty(self.workspace.made())
        return printed

    def add_program(self, name, text):
        program = self.programs / name
        program.write_text("#!/usr/bin/env bash\n" + text)
        program.chmod(0o755)

    def test_missing_compiler(self):
        self.assert_refused("found no C++ compiler (gcc); install g++", "make", "wheel", CC="")

    def test_missing_compiler_that_was_chosen(self):
        self.assert_refused("found no C++ compiler (mycc)", "make", "wheel", CC="mycc")

    def test_compiler_of_c_alone(self):
        self.add_program("gcc", "exit 1")
        self.assert_refused("found no C++ compiler (gcc); install g++", "make", "wheel", CC="")

    def test_missing_cross_compiler(self):
        self.assert_refused(
            "found no C++ compiler (aarch64-linux-gnu-gcc); install g++-aarch64-linux-gnu",
            "make",
            "plugin",
            ARCH="aarch64",
        )

    def test_processor_that_there_is_no_plugin_for(self):
        printed = self.assert_refused(
            "fits ARCH=sparc64 TF=; there", "make", "plugin", ARCH="sparc64"
        )
        self.assertRegex(printed, r"\n  ARCH=aarch64 TF=[\d.]+\n")

    def test_other_processors_are_for_the_pinned_plugin_alone(self):
        for command in (["wheel"], ["plugin", "FOR=python3"]):
            self.assert_refused(
                "ARCH=aarch64 is for make plugin, without FOR", "make", *command, ARCH="aarch64"
            )

    def test_missing_bazel(self):
        self.add_program("gcc", "exit")
        version = (self.workspace.folder / ".bazelversion").read_text().strip()
        printed = self.assert_refused("found no Bazel " + version, "make", "wheel")
        for way in ("npm", "bazelisk", "BAZEL="):
            self.assertIn(way, printed)

    def test_bazel_of_another_version_is_not_used(self):
        self.add_program("bazel", "echo bazel 0.1")
        self.assert_refused("found no Bazel", "ci/bazel", "info")
        self.assert_refused("BAZEL=bazel does not run or is not", "ci/bazel", "info", BAZEL="bazel")

    def test_bazel_on_path_is_used(self):
        version = (self.workspace.folder / ".bazelversion").read_text().strip()
        self.add_program(
            "bazel", '[ "$*" = --version ] && echo bazel %s || echo ran "$@"' % version
        )
        status, printed = self.workspace.run("ci/bazel", "info", PATH=str(self.programs))
        self.assertEqual(
            (status, printed), (0, "ci/bazel: using Bazel %s from PATH\nran info\n" % version)
        )

    def test_bazels_own_failure_is_told(self):
        self.add_program("gcc", "exit")
        version = (self.workspace.folder / ".bazelversion").read_text().strip()
        answer = '[ "$*" = --version ] && echo bazel %s || ' % version
        self.add_program("bazel", answer + "{ echo the server is gone >&2; exit 36; }")
        self.assert_refused("the server is gone", "make", "plugin")

    def test_interpreter_that_there_is_not(self):
        self.add_program("gcc", "exit")
        self.assert_refused("FOR=mypython is no program", "make", "plugin", FOR="mypython")

    def test_interpreter_without_tensorflow(self):
        self.add_program("gcc", "exit")
        self.add_program("mypython", "echo no such module >&2; exit 1")
        self.assert_refused(
            "FOR=mypython cannot import TensorFlow: no such module",
            "make",
            "plugin",
            FOR="mypython",
        )

    def test_missing_python(self):
        printed = self.assert_refused("found no CPython 3.8", "ci/find_python", "3.8")
        for way in ("uv python install 3.8", "pyenv install 3.8"):
            self.assertIn(way, printed)

    def test_python_of_another_version_is_not_used(self):
        self.add_program("python3", "echo CPython 3.7")
        self.assert_refused("found no CPython 3.8", "ci/find_python", "3.8")

    def test_release_that_is_not_pinned(self):
        self.add_program("gcc", "exit")
        for choice in ({"DIST": "tensorflow-rocm"}, {"TF": "1.0"}, {"PYTHON_VERSION": "2.7"}):
            printed = self.assert_refused("no pinned release fits", "make", "wheel", **choice)
            # Which there are, as they are asked for.
            self.assertRegex(printed, r"\n  DIST=tensorflow\S* TF=[\d.]+ PYTHON_VERSION=[\d.]+\n")

    def test_release_that_the_plugin_does_not_serve(self):
        self.add_program("gcc", "exit")
        printed = self.assert_refused("no pinned release fits", "make", "plugin", TF="1.0")
        self.assertRegex(printed, r"\n  ARCH=x86_64 TF=[\d.]+\n")

    def test_release_is_added_to_the_plugin_by_a_stanza(self):
        stanza = 'tensorflow_adapter(\n    python = "3.11",\n    version = "98.7.6",\n)\n\n'
        self.workspace.replace("WORKSPACE", "tensorflow_plugin(", stanza + "tensorflow_plugin(")
        status, printed = self.workspace.run("ci/pinned_release", "--plugin", TF="98.7.6")
        self.assertEqual((status, printed), (0, "@plugin//:plugin_98_7\n"))


if __name__ == "__main__":
    absltest.main()
