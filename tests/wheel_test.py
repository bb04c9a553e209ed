"""Tests of the rebuilt wheel as a file: what it holds, and what it says of itself."""

import base64
import csv
import email
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import zipfile

from absl.testing import absltest
from elftools.elf.elffile import ELFFile

sys.path.append(os.path.dirname(os.environ["PACK_WHEEL"]))
import pack_wheel  # noqa: E402

LIBRARY = "tensorflow/core/kernels/libtfkernel_grouped_conv.so"

OFFICIAL_NAME = pathlib.Path(os.environ["OFFICIAL_NAME"]).read_text().strip()
REBUILT_NAME = pathlib.Path(os.environ["REBUILT_NAME"]).read_text().strip()


def patches():
    """Returns the paths of the release's patches, as its series names them."""
    series = pathlib.Path(os.environ["SERIES"])
    return [series.parent / name for name in series.read_text().split()]


def parts(wheel_name):
    """Returns distribution, version and compatibility tag of a wheel's name."""
    distribution, version, tag = wheel_name[: -len(".whl")].split("-", 2)
    return distribution, version, tag


def judge(wheel):
    """Returns the platform tag that auditwheel finds true of a wheel."""
    command = [sys.executable, "-m", "auditwheel", "show", wheel]
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return re.search(r'following platform tag:\s+"(\w+)"', shown).group(1)


def added_files():
    """Returns the paths of what the overlay, where there is one, adds to the official wheel."""
    if "OVERLAY" not in os.environ:
        return set()
    overlay = pathlib.Path(os.path.realpath(os.environ["OVERLAY"]))
    modules = [path.relative_to(overlay).as_posix() for path in overlay.glob("**/*.py")]
    return {path for path in modules if not path.endswith("_test.py")} | {LIBRARY}


class WheelTestCase(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.official = self.enter_context(zipfile.ZipFile(os.environ["OFFICIAL_WHEEL"]))
        self.rebuilt = self.enter_context(zipfile.ZipFile(os.environ["REBUILT_WHEEL"]))
        self.official_info, self.rebuilt_info = (
            "%s-%s.dist-info/" % parts(name)[:2] for name in (OFFICIAL_NAME, REBUILT_NAME)
        )


class WheelTest(WheelTestCase):
    def test_record_has_every_file_with_its_hash_and_size(self):
        record_path = self.rebuilt_info + "RECORD"
        rows = list(csv.reader(self.rebuilt.read(record_path).decode().splitlines()))
        found = []
        for path in self.rebuilt.namelist():
            digest = hashlib.sha256()
            size = 0
            with self.rebuilt.open(path) as stream:
                for block in iter(lambda stream=stream: stream.read(1 << 20), b""):
                    digest.update(block)
                    size += len(block)
            code = base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")
            found.append([path, "sha256=" + code, str(size)])
        # A file cannot hold its own hash.
        found = [[row[0], "", ""] if row[0] == record_path else row for row in found]
        self.assertCountEqual(rows, found)
        self.assertLen(set(self.rebuilt.namelist()), len(rows), "a path is there twice")

    def test_name_version_and_tag_agree(self):
        distribution, version, tag = parts(REBUILT_NAME)
        official_distribution, official_version, official_tag = parts(OFFICIAL_NAME)
        metadata = email.message_from_bytes(self.rebuilt.read(self.rebuilt_info + "METADATA"))
        wheel = email.message_from_bytes(self.rebuilt.read(self.rebuilt_info + "WHEEL"))

        self.assertEqual(distribution, official_distribution)
        self.assertEqual(metadata["Name"].replace("-", "_"), distribution)
        self.assertEqual(metadata["Version"], version)
        self.assertRegex(version, "^%s\\+[a-z0-9.]+$" % re.escape(official_version))
        self.assertEqual(wheel.get_all("Tag"), [tag])
        # Kernels that need a newer system than TensorFlow does would change it.
        self.assertEqual(tag, official_tag)

    def test_metadata_differs_from_the_official_in_the_version_alone(self):
        official, rebuilt = (
            archive.read(info + "METADATA").decode().splitlines()
            for archive, info in (
                (self.official, self.official_info),
                (self.rebuilt, self.rebuilt_info),
            )
        )
        self.assertLen(rebuilt, len(official))
        different = [lines for lines in zip(official, rebuilt) if lines[0] != lines[1]]
        expected = tuple("Version: " + parts(name)[1] for name in (OFFICIAL_NAME, REBUILT_NAME))
        self.assertEqual(different, [expected])

    def test_differs_in_the_files_that_patches_and_overlay_name_alone(self):
        patched = set()
        for patch in patches():
            patched.update(re.findall(r"^\+\+\+ b/(.*)$", patch.read_text(), re.MULTILINE))

        def contents(archive, info):
            """Returns size and checksum of each file outside of dist-info, by path."""
            return {
                entry.filename: (entry.file_size, entry.CRC)
                for entry in archive.infolist()
                if not entry.filename.startswith(info) and not entry.is_dir()
            }

        official = contents(self.official, self.official_info)
        rebuilt = contents(self.rebuilt, self.rebuilt_info)
        self.assertEmpty(official.keys() - rebuilt.keys())
        self.assertEqual(rebuilt.keys() - official.keys(), added_files())
        changed = {path for path in official if official[path] != rebuilt[path]}
        self.assertEqual(changed, patched)

        def names(archive, info):
            paths = {path[len(info) :] for path in archive.namelist() if path.startswith(info)}
            return {path for path in paths if path and not path.endswith("/")}

        official_names = names(self.official, self.official_info)
        new_names = {"NOTICE"}
        if not any("LICENSE" in name for name in official_names):
            new_names.add("LICENSE")
        if added_files():  # What is compiled has a bill of materials.
            new_names.add("sboms/%s.cdx.json" % parts(REBUILT_NAME)[0])
        self.assertEqual(names(self.rebuilt, self.rebuilt_info), official_names | new_names)

    def test_unchanged_files_keep_permissions(self):
        for entry in self.official.infolist():
            if not entry.filename.startswith(self.official_info) and not entry.is_dir():
                rebuilt = self.rebuilt.getinfo(entry.filename)
                self.assertEqual(rebuilt.external_attr, entry.external_attr, entry.filename)

    def test_keeps_the_licence_and_gives_notice_of_every_patch(self):
        self.assertTrue(any(re.search("/LICENSE", name) for name in self.rebuilt.namelist()))
        licence = self.official_info + "LICENSE"
        if licence in self.official.namelist():
            self.assertEqual(
                self.rebuilt.read(self.rebuilt_info + "LICENSE"), self.official.read(licence)
            )
        notice = self.rebuilt.read(self.rebuilt_info + "NOTICE").decode()
        self.assertIn(OFFICIAL_NAME, notice)
        for path in added_files():
            self.assertIn("\n  %s\n" % path, notice)
        for patch in patches():
            self.assertIn(patch.name, notice)
            for path in re.findall(r"^\+\+\+ b/(.*)$", patch.read_text(), re.MULTILINE):
                self.assertIn("\n  %s\n" % path, notice)


class LibraryTest(WheelTestCase):
    """Tests of the library in a wheel of TensorFlow."""

    def elf(self):
        """Returns the library, for pyelftools."""
        return ELFFile(self.enter_context(self.rebuilt.open(LIBRARY)))

    def needed(self):
        """Returns the names of the libraries that the library needs."""
        dynamic = self.elf().get_section_by_name(".dynamic")
        return [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]

    def test_auditwheel_finds_the_tag_true(self):
        # Of the library, and what it needs in the wheel: the others are the official ones,
        # and take minutes to look at.
        wanted = {os.path.basename(LIBRARY), *self.needed()}
        with tempfile.TemporaryDirectory() as folder:
            wheel = os.path.join(folder, REBUILT_NAME)
            with zipfile.ZipFile(wheel, "w") as part:
                record = self.rebuilt_info + "RECORD"
                lines = self.rebuilt.read(record).decode().splitlines(keepends=True)
                lines = [
                    line
                    for line in lines
                    if line.startswith(self.rebuilt_info)
                    or os.path.basename(line.split(",")[0]) in wanted
                ]
                for name in (line.split(",")[0] for line in lines):
                    if name != record:
                        part.writestr(self.rebuilt.getinfo(name), self.rebuilt.read(name))
                part.writestr(record, "".join(lines))
            judged = judge(wheel)
        claimed = parts(REBUILT_NAME)[2].rpartition("-")[2]
        self.assertLessEqual(
            pack_wheel.glibc_of(judged),
            pack_wheel.glibc_of(claimed),
            "auditwheel finds %s true, the wheel claims %s" % (judged, claimed),
        )

    def test_library_finds_tensorflow_relative_to_itself(self):
        dynamic = self.elf().get_section_by_name(".dynamic")
        run_paths = [
            getattr(tag, "rpath", None) or tag.runpath
            for tag in dynamic.iter_tags()
            if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH")
        ]
        self.assertEqual(run_paths, ["$ORIGIN/../.."])
        framework = [name for name in self.needed() if "tensorflow" in name]
        self.assertLen(framework, 1)
        folder = os.path.normpath(os.path.join(os.path.dirname(LIBRARY), "../.."))
        self.assertIn(folder + "/" + framework[0], self.rebuilt.namelist())

    def test_library_tells_nothing_of_where_it_was_built(self):
        library = self.rebuilt.read(LIBRARY)
        paths = re.findall(
            rb"/(?:home|root|tmp|usr|var|opt|proc)/[^\0]*|[^\0]*bazel-out[^\0]*", library
        )
        self.assertEqual(paths, [])


class PatchesTest(absltest.TestCase):
    """Tests that other programs than the build's make the same files of the patches."""

    def setUp(self):
        super().setUp()
        self.folder = self.enter_context(tempfile.TemporaryDirectory())
        changed = set()
        for patch in patches():
            changed.update(re.findall(r"^\+\+\+ b/(.*)$", patch.read_text(), re.MULTILINE))
        with zipfile.ZipFile(os.environ["OFFICIAL_WHEEL"]) as official:
            official.extractall(self.folder, changed)
        with zipfile.ZipFile(os.environ["REBUILT_WHEEL"]) as rebuilt:
            self.expected = {path: rebuilt.read(path) for path in changed}

    def run_program(self, *command):
        """Runs a command where the files lie; returns what it prints."""
        identity = {"GIT_COMMITTER_NAME": "Tester", "GIT_COMMITTER_EMAIL": "tester@localhost"}
        result = subprocess.run(
            command,
            cwd=self.folder,
            env=dict(os.environ, GIT_CONFIG_NOSYSTEM="1", HOME=self.folder, **identity),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def assert_files_as_in_the_wheel(self):
        for path, data in self.expected.items():
            self.assertEqual(pathlib.Path(self.folder, path).read_bytes(), data, path)

    def test_git_am(self):
        self.run_program("git", "init", "-q")
        self.run_program("git", "add", ".")
        self.run_program("git", "commit", "-q", "-m", "Base", "--author", "T <t@localhost>")
        self.run_program("git", "am", "-q", *(str(patch.resolve()) for patch in patches()))
        self.assert_files_as_in_the_wheel()

    @unittest.skipUnless(shutil.which("patch"), "there is no program `patch`")
    def test_patch_without_fuzz_and_offset(self):
        for patch in patches():
            printed = self.run_program("patch", "-p1", "-F0", "-i", str(patch.resolve()))
            # Where it had to look for the place of a hunk, it says so.
            self.assertNotIn("Hunk", printed)
        self.assert_files_as_in_the_wheel()


if __name__ == "__main__":
    absltest.main()
