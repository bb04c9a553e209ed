"""Tests of the programs that patch and pack a wheel, on small wheels."""

import base64
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile
from unittest import mock

from absl.testing import absltest

APPLY_PATCHES = os.environ["APPLY_PATCHES"]
sys.path.append(os.path.dirname(os.environ["PACK_WHEEL"]))
import pack_wheel  # noqa: E402

# Of the file that the patches below are for.
LINES = ["line %d" % number for number in range(1, 31)]


def patch_text(path, line, old, new, context_before=3):
    """Returns a patch that changes a line of LINES, with its context."""
    first = line - context_before
    lines = [" " + LINES[number - 1] for number in range(first, line)]
    lines += ["-" + old, "+" + new]
    lines += [" " + LINES[number - 1] for number in range(line + 1, line + 4)]
    count = context_before + 4
    return "--- a/%s\n+++ b/%s\n@@ -%d,%d +%d,%d @@\n%s\n" % (
        (path, path) + (first, count) * 2 + ("\n".join(lines),)
    )


class ApplyPatchesTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.wheel = self.folder / "small.whl"
        with zipfile.ZipFile(self.wheel, "w") as archive:
            for path in ("pkg/a.py", "pkg/b.py"):
                archive.writestr(path, "\n".join(LINES) + "\n")
        self.output = self.folder / "output"

    def apply(self, **patches):
        """Applies patches in the order given; returns exit status and messages."""
        series = self.folder / "series"
        series.write_text("# In order.\n" + "".join(name + ".patch\n" for name in patches))
        for name, text in patches.items():
            if text is not None:
                (self.folder / (name + ".patch")).write_text(text)
        result = subprocess.run(
            [sys.executable, APPLY_PATCHES, "--series", series]
            + ["--wheel", self.wheel, "--output", self.output],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return result.returncode, result.stdout

    def assert_refused(self, message, **patches):
        status, printed = self.apply(**patches)
        self.assertNotEqual(status, 0)
        self.assertIn(message, printed)
        self.assertFalse(self.output.exists())

    def test_writes_changed_files_alone_after_the_last_patch(self):
        status, printed = self.apply(
            z_first=patch_text("pkg/a.py", 10, "line 10", "ten"),
            a_second=patch_text("pkg/a.py", 10, "ten", "TEN"),
        )
        self.assertEqual(status, 0, printed)
        written = [path for path in self.output.glob("**/*") if path.is_file()]
        self.assertEqual(written, [self.output / "pkg/a.py"])
        expected = [("TEN" if line == "line 10" else line) for line in LINES]
        self.assertEqual(written[0].read_text().splitlines(), expected)

    def test_patch_that_does_not_apply_is_named_with_file_and_hunk(self):
        hunks = patch_text("pkg/b.py", 10, "line 10", "ten")
        hunks += patch_text("pkg/b.py", 20, "no such line", "x").partition("+++ b/pkg/b.py\n")[2]
        self.assert_refused(
            "second.patch does not apply: pkg/b.py, hunk 2 (line 17)",
            first=patch_text("pkg/a.py", 10, "line 10", "ten"),
            second=hunks,
        )

    def test_context_has_to_match_whole(self):
        # `patch` would take this one with its usual fuzz.
        fuzzy = patch_text("pkg/a.py", 10, "line 10", "ten").replace(" line 7\n", " line seven\n")
        self.assert_refused("fuzzy.patch does not apply: pkg/a.py, hunk 1", fuzzy=fuzzy)

    def test_patch_of_an_added_file_is_refused(self):
        added = "--- /dev/null\n+++ b/pkg/c.py\n@@ -0,0 +1 @@\n+new\n"
        self.assert_refused("added.patch adds, deletes or renames a file", added=added)

    def test_patch_of_a_file_that_is_not_there_is_refused(self):
        elsewhere = patch_text("pkg/d.py", 10, "line 10", "ten")
        self.assert_refused(
            "elsewhere.patch changes pkg/d.py, which small.whl does not hold", elsewhere=elsewhere
        )

    def test_patch_that_changes_nothing_is_refused(self):
        self.assert_refused("empty.patch changes no file", empty="Subject: nothing\n")

    def test_missing_patch_is_named(self):
        self.assert_refused("names missing.patch, which is not there", missing=None)

    def test_missing_git_is_named(self):
        with mock.patch.dict(os.environ, PATH=str(self.folder)):
            self.assert_refused(
                "git, which applies the patches, is not on PATH",
                good=patch_text("pkg/a.py", 10, "line 10", "ten"),
            )


class PackWheelTest(absltest.TestCase):
    OFFICIAL_NAME = "small-1.0-cp38-cp38-manylinux2010_x86_64.whl"

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        self.official = self.folder / "official.whl"
        contents = {
            "pkg/kept.py": "kept",
            "pkg/changed.py": "before",
            "small-1.0.data/scripts/run": "#!python",
            "small-1.0.dist-info/METADATA": "Name: small\nVersion: 1.0\n\nSince Version: 1.0\n",
            "small-1.0.dist-info/WHEEL": "Version: 1\nTag: cp38-cp38-manylinux2010_x86_64\n",
        }
        rows = [",".join(pack_wheel.record_row(*item)) for item in self.encoded(contents)]
        contents["small-1.0.dist-info/RECORD"] = "\n".join(rows + ["small-1.0.dist-info/RECORD,,"])
        with zipfile.ZipFile(self.official, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, text in contents.items():
                archive.writestr(path, text)
        self.licence = self.folder / "LICENSE"
        self.licence.write_text("terms")
        self.patch = self.folder / "0001-Change.patch"
        self.patch.write_text("From: A\nSubject: [PATCH] Change what\n is there\n\nBody\n---\n")

    def encoded(self, contents):
        return [(path, text.encode()) for path, text in contents.items()]

    def pack(self, judged="manylinux_2_5_x86_64", output="rebuilt.whl"):
        """Packs a wheel of which auditwheel is made to say `judged`."""
        files = {}
        for path, text in (("pkg/changed.py", "after!"), ("pkg/added.so", "library")):
            files[path] = self.folder / os.path.basename(path)
            files[path].write_text(text)
        output = self.folder / output
        with mock.patch.object(pack_wheel, "judged_platform", return_value=judged):
            name, report = pack_wheel.pack(
                str(self.official),
                self.OFFICIAL_NAME,
                "local.1",
                files,
                {"pkg/added.so": files["pkg/added.so"]},
                [self.patch],
                self.licence,
                output,
            )
        return output, name, report

    def test_replaces_adds_and_renames(self):
        output, name, report = self.pack()
        self.assertEqual(name, "small-1.0+local.1-cp38-cp38-manylinux2010_x86_64.whl")
        with zipfile.ZipFile(output) as archive:
            self.assertIsNone(archive.testzip())
            contents = {path: archive.read(path).decode() for path in archive.namelist()}
            modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        info = "small-1.0+local.1.dist-info/"
        record = contents.pop(info + "RECORD")
        notice = contents.pop(info + "NOTICE")
        self.assertEqual(
            contents,
            {
                "pkg/kept.py": "kept",
                "pkg/changed.py": "after!",
                "pkg/added.so": "library",
                "small-1.0+local.1.data/scripts/run": "#!python",
                info + "LICENSE": "terms",
                info + "METADATA": "Name: small\nVersion: 1.0+local.1\n\nSince Version: 1.0\n",
                info + "WHEEL": "Version: 1\nTag: cp38-cp38-manylinux2010_x86_64\n",
            },
        )
        self.assertEqual(modes["pkg/added.so"], 0o100755)

        rows = [info + "RECORD,,"]
        for path, data in self.encoded(dict(contents, **{info + "NOTICE": notice})):
            code = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            rows.append("%s,sha256=%s,%d" % (path, code, len(data)))
        self.assertCountEqual(record.splitlines(), rows)

        self.assertIn("0001-Change.patch\n    Change what is there\n", notice)
        self.assertIn("Files changed:\n  pkg/changed.py\n\nFiles added:\n  pkg/added.so\n", notice)
        self.assertIn("  changed  pkg/changed.py (6 to 6 bytes)", report)
        self.assertIn("  added    pkg/added.so (7 bytes)", report)

    def test_bytes_depend_on_contents_alone(self):
        first = self.pack()[0].read_bytes()
        for file in self.folder.iterdir():
            os.utime(file, (1, 1))
        self.assertEqual(self.pack(output="again.whl")[0].read_bytes(), first)

    def test_tag_follows_a_library_that_needs_a_newer_system(self):
        for judged in ("manylinux_2_17_x86_64", "linux_x86_64"):
            output, name, _ = self.pack(judged)
            self.assertEqual(name, "small-1.0+local.1-cp38-cp38-%s.whl" % judged)
            with zipfile.ZipFile(output) as archive:
                wheel = archive.read("small-1.0+local.1.dist-info/WHEEL").decode()
            self.assertEndsWith(wheel, "\nTag: cp38-cp38-%s\n" % judged)


if __name__ == "__main__":
    absltest.main()
