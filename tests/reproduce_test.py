"""Tests of `make reproduce`."""

import json
import os
import pathlib
import zipfile

from absl.testing import absltest
from workspace import Workspace, make_variables

OFFICIAL = pathlib.Path(os.environ["OFFICIAL_NAME"]).resolve().parent
CHOICE = make_variables(os.environ["OFFICIAL_NAME"])


class RealTest(absltest.TestCase):
    """A wheel of Keras, of which nothing is compiled; shared_build_test compiles in new folders."""

    def test_same_bytes(self):
        workspace = Workspace(self)
        workspace.use_bazel(self, "--override_repository=%s=%s" % (OFFICIAL.name, OFFICIAL))
        # Under another name: what it is of, the wheel itself says.
        wheel = workspace.folder.parent / "given.whl"
        wheel.symlink_to(pathlib.Path(os.environ["REBUILT_WHEEL"]).resolve())
        status, printed = workspace.run("make", "reproduce", "WHEEL=%s" % wheel)
        self.assertEqual(status, 0, printed)
        self.assertRegex(printed, r"identical: %s, sha256 [0-9a-f]{64}\n" % wheel)
        # What it was built with is not left behind.
        self.assertEmpty(list((workspace.folder / "build").glob("reproduce-*")))


class DifferencesTest(absltest.TestCase):
    """Tests with small wheels, one of which a stand-in for Bazel has built."""

    def setUp(self):
        super().setUp()
        self.workspace = Workspace(self)
        self.given = self.workspace.folder.parent / "given.whl"
        built = self.workspace.folder.parent / "built"
        self.built = built / "external" / OFFICIAL.name[len("stock_") :] / "wheel.whl"
        self.built.parent.mkdir(parents=True)
        (self.workspace.folder / "ci/bazel").write_text(
            '#!/bin/sh\necho "$*" >>../calls\ncase "$*" in *bazel-bin) echo %s ;; esac\n' % built
        )
        self.write(self.built)

    def write(self, path, compiler="GCC 12", mode=0o644, **entries):
        """Writes a wheel, with what is usual and with other entries."""
        properties = [{"name": "build:compiler", "value": compiler}]
        entries = {
            "tensorflow/a.py": "a",
            "x.dist-info/METADATA": "Name: %(DIST)s\nVersion: %(TF)s+groups.1\n" % CHOICE,
            "x.dist-info/WHEEL": "Tag: cp%s-any\n" % CHOICE["PYTHON_VERSION"].replace(".", ""),
            "x.dist-info/sboms/x.cdx.json": json.dumps(
                {"components": [{"name": "tensorflow/a.so", "properties": properties}]}, indent=2
            ),
            **entries,
        }
        with zipfile.ZipFile(path, "w") as wheel:
            for name, text in entries.items():
                info = zipfile.ZipInfo(name)
                info.external_attr = mode << 16
                wheel.writestr(info, text)

    def reproduce(self, wheel):
        return self.workspace.run("make", "reproduce", "WHEEL=%s" % wheel)

    def assert_differs(self, *lines):
        status, printed = self.reproduce(self.given)
        self.assertNotEqual(status, 0)
        found = printed.partition("differs from what is built here:\n")[2].splitlines()
        self.assertEqual([" ".join(line.split()) for line in found if line[:2] == "  "], [*lines])

    def test_same_wheel(self):
        self.write(self.given)
        status, printed = self.reproduce(self.given)
        self.assertEqual(status, 0, printed)
        self.assertIn("identical: ", printed)
        calls = (self.workspace.folder.parent / "calls").read_text().splitlines()
        root = "--output_user_root=%s/reproduce-" % (self.workspace.folder / "build")
        for call in calls:
            self.assertStartsWith(call, root)
        (build,) = (call for call in calls if " build " in call)
        for empty in ("--remote_cache= ", "--remote_executor= ", "--disk_cache= "):
            self.assertIn(empty, build)

    def test_plugin_is_compared_with_a_plugin(self):
        entries = {
            "x.dist-info/WHEEL": "Generator: pack_plugin\nTag: py3-none-manylinux_2_17_x86_64\n",
        }
        folder = self.built.parent.with_name("plugin")
        folder.mkdir()
        for version, target in (
            ("2026.1.0", "plugin"),
            ("2026.1.0+tensorflow.2.21.0", "plugin_2_21"),
        ):
            entries["x.dist-info/METADATA"] = "Name: x\nVersion: %s\n" % version
            for path in self.given, folder / (target + ".whl"):
                self.write(path, **entries)
            status, printed = self.reproduce(self.given)
            self.assertEqual(status, 0, printed)
            self.assertIn("identical: ", printed)

    def test_names_entries_that_differ(self):
        self.write(self.given, **{"tensorflow/a.py": "b", "tensorflow/b.py": "b"})
        self.assert_differs(
            "another content: tensorflow/a.py", "only in the wheel given: tensorflow/b.py"
        )

    def test_names_entries_that_are_missing(self):
        self.write(self.given)
        self.write(self.built, **{"tensorflow/c.py": "c"})
        self.assert_differs("only in the wheel rebuilt: tensorflow/c.py")

    def test_names_entries_whose_bytes_are_damaged(self):
        self.write(self.given)
        self.given.write_bytes(self.given.read_bytes().replace(b"GCC 12", b"GCC 21", 1))
        status, printed = self.reproduce(self.given)
        self.assertNotEqual(status, 0)
        self.assertNotIn("Traceback", printed)
        self.assertIn("x.dist-info/sboms/x.cdx.json", printed)

    def test_names_entries_that_are_there_twice(self):
        self.write(self.given)
        with zipfile.ZipFile(self.given, "a") as wheel, self.assertWarns(UserWarning):
            wheel.writestr("tensorflow/a.py", "other")
        self.assert_differs("2 times, not 1: tensorflow/a.py")

    def test_says_that_the_compiler_is_another(self):
        self.write(self.given, compiler="GCC 13")
        self.assert_differs(
            "another content: x.dist-info/sboms/x.cdx.json", "the compiler: GCC 13, here GCC 12"
        )

    def test_sees_what_is_not_content(self):
        self.write(self.given, mode=0o755)
        status, printed = self.reproduce(self.given)
        self.assertNotEqual(status, 0)
        self.assertIn("another mode or date:      tensorflow/a.py", printed)
        self.write(self.given)
        with zipfile.ZipFile(self.given, "a") as wheel:
            wheel.comment = b"!"
        self.assert_differs("nothing that is in it, but in how it is packed")

    def test_wants_a_rebuilt_wheel(self):
        for content, message in (
            (None, "there is no file .*given.whl"),
            (b"PK", "given.whl is no wheel: File is not a zip file"),
        ):
            if content:
                self.given.write_bytes(content)
            status, printed = self.reproduce(self.given)
            self.assertNotEqual(status, 0)
            self.assertRegex(printed, message)
        self.assertRegex(self.reproduce("")[1], "say WHEEL=<file>")
        self.write(self.given, **{"x.dist-info/METADATA": "Name: tensorflow\nVersion: 9.9\n"})
        self.assertRegex(self.reproduce(self.given)[1], "not a wheel that was rebuilt: .* 9.9, Tag")
        self.write(
            self.given, **{"x.dist-info/WHEEL": "Generator: pack_plugin\nTag: py3-none-any\n"}
        )
        self.assertRegex(self.reproduce(self.given)[1], "not a wheel that .*, Tag py3-none-any")
        self.write(self.given, **{"x.dist-info/METADATA": "Name: tensorflow\nVersion: 9.9+x\n"})
        self.assertRegex(self.reproduce(self.given)[1], "no pinned release fits .*TF=9.9")


if __name__ == "__main__":
    absltest.main()
