"""Tests of applying the patch set to a source tree: ci/apply.sh and what builds on it."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from absl.testing import absltest
from patch_workspace import (
    RELEASE,
    VERSION,
    VERSION_HEADER,
    PatchTestCase,
    changed_paths,
    git,
    official_text,
)
from workspace import SOURCE

KERNELS = "tensorflow/core/kernels/BUILD"
KERNELS_PACKAGE = "//tensorflow/core/kernels/grouped_conv"
GOLDEN = "tensorflow/tools/api/golden"
# Not in buildozer's format, which is to stay so where nothing changes.
KERNELS_BUILD = """\
load("//z:z.bzl", "z")
load("//a:a.bzl", "tf_kernel_library")

tf_kernel_library(name = "x", deps = [ ":z", ":y" ])

tf_kernel_library(
    name = "conv_ops",
    deps = [
        "//tensorflow/core:lib",
        "//tensorflow/core/framework:bounds_check",
    ] + z([":x"]),
)
"""
TEST_BUILD = """\
load("//tensorflow:tensorflow.bzl", "tf_py_test")
"""
LITE = "tensorflow/lite/python/BUILD"
LITE_BUILD = """
py_library(
    name = "convert",
    srcs = ["convert.py"],
)
"""
RELEASE_NOTES = (
    """\
# Release %s

## Bug Fixes and Other Changes

*   A fix.

# Release 1.0.0

## Bug Fixes and Other Changes
"""
    % VERSION
)


def golden_files(package, folder):
    """Writes the golden files of the TensorFlow that is unpacked in a folder."""
    subprocess.run(
        [sys.executable, pathlib.Path(__file__).with_name("golden_files.py"), folder],
        env=dict(os.environ, PYTHONPATH=os.environ[package]),
        check=True,
    )


def commit_all(folder):
    git(folder, "init", "-q", ".")
    git(folder, "add", "--all", "--force", ".")
    git(folder, "commit", "-q", "-m", "Base")


class ApplyTestCase(PatchTestCase):
    """A test with a clone of a source tree that has what the patch set needs of one."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.source = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.source)
        files = {
            # Generated in a source tree.
            path: official_text(path)
            for path in changed_paths()
            if path.count("/") > 1
        }
        files[VERSION_HEADER] = official_text("tensorflow/include/" + VERSION_HEADER)
        files["RELEASE.md"] = RELEASE_NOTES
        edits = (SOURCE / "patches" / RELEASE / "build_edits").read_text()
        for package in re.findall(r"\|//([^:]+):__pkg__", edits):
            files[package + "/BUILD"] = TEST_BUILD
        files[LITE] += LITE_BUILD
        files[KERNELS] = KERNELS_BUILD
        for path, text in files.items():
            (cls.source / path).parent.mkdir(parents=True, exist_ok=True)
            (cls.source / path).write_text(text)
        golden_files("OFFICIAL", cls.source)
        commit_all(cls.source)

    def setUp(self):
        super().setUp()
        self.clone = self.folder.parent / "clone"
        git(self.folder, "clone", "-q", self.source, self.clone)
        self.before = self.state()

    def state(self):
        """Returns all that a clone is: its commit, its files, and what git has of them."""
        assert not git(self.clone, "status", "--porcelain", "--ignored")
        return git(self.clone, "show-ref", "--head"), git(self.clone, "ls-files", "-s")

    def spoil(self, patch):
        """Makes a patch of the series, given by its number, fail."""
        name = (self.patches / "series").read_text().split()[patch]
        text = (self.patches / name).read_text()
        (self.patches / name).write_text(re.sub(r"\n-(?!--).*", "\n-# not there", text, count=1))
        return name


class ApplyTest(ApplyTestCase):
    def test_commits_patches_overlay_and_edits(self):
        self.succeed("apply.sh", self.clone)
        subjects = git(self.clone, "log", "--reverse", "--format=%s").splitlines()
        patches = [
            (self.patches / name).read_text()
            for name in (self.patches / "series").read_text().split()
        ]
        self.assertLen(subjects, 3 + sum("Applies-To: source" in patch for patch in patches))
        self.assertIn(
            "tensorflow/python/keras/layers/convolutional.py",
            git(self.clone, "diff", "--name-only", "HEAD~2", "origin/HEAD"),
        )
        self.assertTrue((self.clone / "tensorflow/core/kernels/grouped_conv/BUILD").exists())
        self.assertEqual(git(self.clone, "status", "--porcelain"), "")

    def test_build_files_change_where_they_have_to_only(self):
        self.succeed("apply.sh", self.clone)
        self.assertEqual(
            (self.clone / KERNELS).read_text(),
            KERNELS_BUILD.replace(
                'bounds_check",\n',
                'bounds_check",\n        "%s:grouped_conv_ops",\n' % KERNELS_PACKAGE,
            ),
        )
        tests = (self.clone / "tensorflow/python/keras/BUILD").read_text()
        self.assertEqual(tests.count("load("), 1)
        self.assertIn('srcs = ["layers/grouped_convolution_test.py"]', tests)
        self.assertIn('deps = [":split_grouped_convolutions"]', (self.clone / LITE).read_text())

    def test_golden_files_are_those_of_the_rebuilt_wheel(self):
        self.succeed("apply.sh", self.clone)
        wanted = pathlib.Path(self.create_tempdir().full_path)
        golden_files("INSTALLED", wanted)
        for file in sorted((wanted / GOLDEN).rglob("*.pbtxt")):
            path = file.relative_to(wanted)
            self.assertEqual((self.clone / path).read_text(), file.read_text(), path)
        changed = git(self.clone, "diff", "--name-only", "HEAD~1", "--", GOLDEN).splitlines()
        self.assertIn(GOLDEN + "/v1/tensorflow.keras.layers.-conv2-d-transpose.pbtxt", changed)

    def test_release_note_joins_the_newest_release(self):
        self.succeed("apply.sh", self.clone)
        note = (self.patches / "release_note.md").read_text()
        heading = "Other Changes\n\n"
        self.assertEqual(
            (self.clone / "RELEASE.md").read_text(),
            RELEASE_NOTES.replace(heading, heading + note, 1),
        )

    def test_second_run_has_nothing_to_do_and_reverse_takes_back(self):
        self.succeed("apply.sh", self.clone)
        applied = self.state()
        self.assertIn("Nothing to do", self.succeed("apply.sh", self.clone))
        self.succeed("apply.sh", "--reverse", "--check", self.clone)
        self.assertEqual(self.state(), applied)
        self.succeed("apply.sh", "--reverse", self.clone)
        self.assertEqual(self.state(), self.before)
        self.assertIn("Nothing to do", self.succeed("apply.sh", "--reverse", self.clone))

    def test_check_changes_nothing(self):
        files = {path: path.stat() for path in self.clone.rglob("*")}
        self.assertIn("Would apply " + RELEASE, self.succeed("apply.sh", "--check", self.clone))
        after = {path: path.stat() for path in self.clone.rglob("*")}
        # Not when they were read last, which looking changes.
        for stats in (files, after):
            for path, stat in stats.items():
                stats[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        self.assertEqual(after, files)

    def test_clone_without_history_will_do(self):
        git(self.clone, "commit", "-q", "--allow-empty", "-m", "Another")
        shallow = self.folder.parent / "shallow"
        git(self.folder, "clone", "-q", "--depth=1", "file://%s" % self.clone, shallow)
        self.succeed("apply.sh", shallow)
        git(shallow, "fsck")
        self.succeed("apply.sh", "--reverse", shallow)

    def test_changed_patches_and_later_commits_are_told(self):
        self.succeed("apply.sh", self.clone)
        with (
            (self.folder / "tensorflow_overlay" / KERNELS)
            .parent.joinpath("grouped_conv/geometry.h")
            .open("a")
        ) as header:
            header.write("// More.\n")
        self.fail_with("before it was changed", "apply.sh", self.clone)
        git(self.clone, "commit", "-q", "--allow-empty", "-m", "Another")
        self.fail_with("git rebase --onto", "apply.sh", "--reverse", self.clone)

    def test_refuses_what_is_not_clean_or_not_known(self):
        (self.clone / "new").write_text("")
        self.fail_with(r"not clean:\n\?\? new", "apply.sh", self.clone)
        (self.clone / "new").unlink()
        git(self.clone, "update-ref", "CHERRY_PICK_HEAD", "HEAD")
        self.fail_with("in the middle of", "apply.sh", self.clone)
        git(self.clone, "cherry-pick", "--quit")
        header = self.clone / VERSION_HEADER
        header.write_text(re.sub(r"(MINOR_VERSION) \d+", r"\1 77", header.read_text()))
        git(self.clone, "commit", "-q", "-a", "-m", "Another release")
        self.fail_with(r"is TensorFlow \d+.77.*there are patches for", "apply.sh", self.clone)
        git(self.clone, "rm", "-q", VERSION_HEADER)
        git(self.clone, "commit", "-q", "-m", "Something else")
        self.fail_with("not a TensorFlow source tree", "apply.sh", self.clone)
        self.fail_with("cannot change to .*nowhere", "apply.sh", self.folder / "nowhere")

    def test_failure_leaves_the_clone_as_it_was(self):
        name = self.spoil(2)
        self.fail_with(re.escape(name) + r" does not apply: \S+, hunk \d+", "apply.sh", self.clone)
        self.assertEqual(self.state(), self.before)

    def test_failing_build_edit_leaves_the_clone_as_it_was(self):
        git(self.clone, "rm", "-q", KERNELS)
        git(self.clone, "commit", "-q", "-m", "No kernels")
        before = self.state()
        self.fail_with("the tree has no " + KERNELS, "apply.sh", self.clone)
        self.assertEqual(self.state(), before)

    def test_ignored_files_in_the_way_stay(self):
        # A folder where a file is to be, which git does not count as a change.
        place = self.clone / "tensorflow/core/kernels/grouped_conv/geometry.h"
        place.mkdir(parents=True)
        (place / "file").write_text("Somebody's")
        (self.clone / ".git/info/exclude").write_text("/tensorflow/core/kernels/grouped_conv/\n")
        before = git(self.clone, "rev-parse", "HEAD")
        self.fail_with("geometry.h", "apply.sh", self.clone)
        self.assertEqual((place / "file").read_text(), "Somebody's")
        shutil.rmtree(place.parent)
        self.assertEqual(git(self.clone, "rev-parse", "HEAD"), before)
        self.assertEqual(self.state(), self.before)

    def test_last_step_that_fails_half_way_is_undone(self):
        git(self.clone, "config", "filter.broken.smudge", "false")
        git(self.clone, "config", "filter.broken.required", "true")
        (self.clone / ".git/info/attributes").write_text("stock_kernel.h filter=broken\n")
        self.fail_with("stock_kernel.h", "apply.sh", self.clone)
        self.assertEqual(self.state(), self.before)

    def test_interrupt_leaves_the_clone_as_it_was_or_done(self):
        start = time.monotonic()
        self.succeed("apply.sh", self.clone)
        whole = time.monotonic() - start
        applied = self.state()[1]
        outcomes = set()
        for part in range(1, 7):
            self.succeed("apply.sh", "--reverse", self.clone)
            process = subprocess.Popen(
                [self.folder / "ci/apply.sh", self.clone],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            time.sleep(whole * part / 6)
            try:
                # As the terminal does it: to all processes at once.
                os.killpg(process.pid, signal.SIGINT)
            except ProcessLookupError:
                pass
            process.wait()
            state = self.state()
            outcomes.add(state[1] == applied)
            self.assertIn(state[1], (applied, self.before[1]))
            self.assertEqual(list((self.clone / ".git").rglob("*.lock")), [])
        self.assertIn(False, outcomes)


class PullRequestTest(ApplyTestCase):
    def test_folder_gives_the_tree_that_checkout_gives(self):
        self.succeed("make_pr.py", "--source", self.clone)
        folder = self.folder / "dist/pr" / (RELEASE + "-source")
        patches = sorted(folder.glob("*.patch"))
        git(self.clone, "am", "-q", *patches)
        self.succeed("checkout.py", "--source", self.source)
        git(self.clone, "fetch", "-q", self.checkout, "patches")
        self.assertEqual(git(self.clone, "diff", "FETCH_HEAD"), "")
        # Everything in the commit where it belongs.
        self.assertEqual(
            git(self.clone, "log", "-1", "--format=%s", "--", KERNELS),
            git(self.clone, "log", "-1", "--format=%s", "--", "*/geometry.h"),
        )
        self.assertEqual(
            git(self.clone, "log", "-1", "--format=%s", "--", GOLDEN + "/*conv1-d.pbtxt"),
            "Add groups to the Keras convolution layers",
        )
        self.assertNotIn("Not in this folder", (folder / "PULL_REQUEST.md").read_text())

    def test_wants_a_tree_without_the_patch_set(self):
        self.succeed("apply.sh", self.clone)
        self.fail_with("the patch set is applied", "make_pr.py", "--source", self.clone)
        self.assertFalse((self.folder / "dist").exists())


class SourceCheckoutTest(ApplyTestCase):
    def setUp(self):
        super().setUp()
        self.succeed("checkout.py", "--source", self.source)

    def test_edit_reaches_its_patch_and_leaves_those_for_wheels(self):
        names = (self.patches / "series").read_text()
        before = self.kept()
        self.assertIn("0 files changed", self.succeed("refresh.py"))
        path = "tensorflow/python/ops/nn_ops.py"
        file = self.checkout / path
        file.write_text("# A line more.\n" + file.read_text())
        first = git(self.checkout, "log", "--format=%h", "--reverse", "base..").split()[0]
        git(self.checkout, "commit", "-q", "-a", "--fixup", first)
        rebase = ("rebase", "-q", "-i", "--autosquash", "base")
        git(self.checkout, *rebase, GIT_SEQUENCE_EDITOR="true")
        self.succeed("refresh.py")
        self.assertEqual((self.patches / "series").read_text(), names)
        changed = {path for path, digest in self.kept().items() if digest != before[path]}
        self.assertIn("patches/%s/%s" % (RELEASE, names.split()[0]), changed)
        for name in changed:
            self.assertIn(path, (self.folder / name).read_text())

    def test_edits_are_not_to_be_changed_by_hand(self):
        build = self.checkout / KERNELS
        build.write_text(build.read_text() + "# A line more.\n")
        git(self.checkout, "commit", "-q", "-a", "--amend", "--no-edit")
        self.fail_with("are made anew each time", "refresh.py")

    def test_wants_the_release_without_the_patch_set(self):
        self.succeed("apply.sh", self.clone)
        self.fail_with("the patch set is applied", "checkout.py", "--source", self.clone)


class BuildTest(ApplyTestCase):
    def test_wants_the_patch_set_and_the_right_bazel(self):
        self.fail_with("run ci/apply.sh first", "build_from_source.sh", self.clone)
        self.fail_with("unknown --config=moon", "build_from_source.sh", "--config=moon", self.clone)
        self.fail_with("REMOTE_EXECUTOR", "build_from_source.sh", "--config=remote", self.clone)
        self.succeed("apply.sh", self.clone)
        self.fail_with("has no target .*:build_pip_package", "build_from_source.sh", self.clone)
        self.succeed("apply.sh", "--reverse", self.clone)
        (self.clone / ".bazelversion").write_text("0.0.1\n# A note.\n")
        package = self.clone / "tensorflow/tools/pip_package"
        package.mkdir(parents=True)
        (package / "BUILD").write_text('sh_binary(name = "build_pip_package")\n')
        git(self.clone, "add", ".")
        git(self.clone, "commit", "-q", "-m", "Another Bazel")
        self.succeed("apply.sh", self.clone)
        self.fail_with("found no Bazel 0.0.1, which", "build_from_source.sh", self.clone)


class DebianTest(PatchTestCase):
    """A whole source tree, of another release, which apt can fetch."""

    def fetch(self, folder):
        """Unpacks Debian's source package below a folder; returns where, or None."""
        targets = subprocess.run(
            [
                "apt-get",
                "indextargets",
                "--format",
                "$(ORIGIN) $(REPO_URI)",
                "Created-By: Packages",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        mirrors = re.findall(r"(?m)^Debian (\S+)$", targets.stdout)
        if not mirrors:
            return None
        # An apt of its own, to leave the machine's as it is.
        (folder / "lists/partial").mkdir(parents=True)
        (folder / "sources").write_text("deb-src %s sid main\n" % mirrors[0])
        options = ["-qq", "-o", "Acquire::Languages=none", "-o", "APT::Sandbox::User=root"]
        for option in ("Dir::Etc::sourcelist=%s/sources", "Dir::State::Lists=%s/lists"):
            options += ["-o", option % folder]
        options += ["-o", "Dir::Etc::sourceparts=-", "-o", "Dir::Cache=%s" % folder]
        for command in (["update"], ["source", "--download-only", "--tar-only", "tensorflow"]):
            if subprocess.run(["apt-get", *options, *command], cwd=folder).returncode != 0:
                return None
        (archive,) = folder.glob("*.orig.tar.*")
        subprocess.run(["tar", "-xf", archive, "-C", folder], check=True)
        (header,) = folder.glob("*/" + VERSION_HEADER)
        return header.parents[3]

    def test_overlay_and_build_edits(self):
        if shutil.which("apt-get") is None:
            self.skipTest("no apt here")
        tree = self.fetch(pathlib.Path(tempfile.mkdtemp(dir=self.folder.parent)))
        if tree is None:
            self.skipTest("apt cannot fetch Debian's source package tensorflow here")
        commit_all(tree)
        numbers = re.findall(r"_VERSION (\d+)\n", (tree / VERSION_HEADER).read_text())
        # The release has neither these patches nor the layers, which went elsewhere.
        patches = self.patches.rename(self.folder / "patches/tensorflow-{}.{}.{}".format(*numbers))
        (patches / "series").write_text("")
        self.succeed("apply.sh", tree)
        changes = git(tree, "diff", "--numstat", "HEAD~1").splitlines()
        self.assertIn("1\t0\t" + KERNELS, changes)
        for line in changes:
            self.assertRegex(line, r"^\d+\t0\t")
        self.succeed("apply.sh", "--reverse", tree)
        self.assertEqual(git(tree, "status", "--porcelain"), "")


if __name__ == "__main__":
    absltest.main()
