"""Tests of editing patches: checkout, refresh, verify, rebase and pull requests."""

import hashlib
import os
import re
import sys
import zipfile

from absl.testing import absltest, parameterized
from patch_workspace import IDENTITY, RELEASE, PatchTestCase, git

CONVOLUTIONAL = "tensorflow/python/keras/layers/convolutional.py"
DOCSTRING = "1D convolution layer (e.g. temporal convolution)."
HEADER = "Forwarded: no\nDrop-When: never\nApplies-To: source, wheel\n"


def header(message):
    """Returns the subject of a patch, given its text."""
    subject = re.search(r"(?m)^Subject: \[PATCH\] (.*(?:\n .*)*)", message).group(1)
    return subject.replace("\n", "")


class CheckoutTest(PatchTestCase):
    def names(self):
        return (self.patches / "series").read_text().split()

    def test_history_is_the_series_and_then_the_overlay(self):
        self.succeed("checkout.py")
        subjects = git(self.checkout, "log", "--reverse", "--format=%s").splitlines()
        wanted = [header((self.patches / name).read_text()) for name in self.names()]
        self.assertEqual(subjects[1:-1], wanted)
        overlay = git(self.checkout, "diff", "--name-status", "HEAD~1").splitlines()
        files = [path[len("tensorflow_overlay/") :] for path in self.kept() if "BUILD" in path]
        self.assertContainsSubset(
            ["A\t" + path for path in files if "patches" not in path], overlay
        )
        self.assertTrue(all(line.startswith("A\ttensorflow/") for line in overlay))

    def test_commits_are_the_same_everywhere(self):
        self.succeed("checkout.py")
        first = git(self.checkout, "rev-parse", "HEAD")
        git(self.checkout, "config", "user.name", "Somebody else")
        self.succeed("checkout.py")
        self.assertEqual(git(self.checkout, "rev-parse", "HEAD"), first)

    def test_base_holds_the_python_files_of_the_official_wheel(self):
        official = os.environ["OFFICIAL_WHEEL"]
        for wheel in self.wheels.iterdir():
            wheel.unlink()
            wheel.symlink_to(official)
        self.succeed("checkout.py")
        listing = git(self.checkout, "ls-tree", "-r", "base").splitlines()
        found = {path: entry.split()[2] for entry, path in (line.split("\t") for line in listing)}
        wanted = {}
        with zipfile.ZipFile(official) as archive:
            for path in archive.namelist():
                if path.startswith("tensorflow/") and path.endswith(".py"):
                    data = archive.read(path)
                    wanted[path] = hashlib.sha1(b"blob %d\0%s" % (len(data), data)).hexdigest()
        self.assertEqual(found, wanted)

    def test_refresh_writes_the_very_same_bytes(self):
        self.succeed("checkout.py")
        before = self.kept()
        for path in before:
            if path.endswith((".patch", "/series")) or "overlay/tensorflow" in path:
                (self.folder / path).unlink()
        # As if nothing of it had been written before.
        git(self.checkout, "update-ref", "refs/patch_set/exported", "base")
        self.succeed("refresh.py")
        self.assertEqual(self.kept(), before)

    def test_refresh_takes_nothing_from_the_users_configuration(self):
        self.succeed("checkout.py")
        before = self.kept()
        git(self.checkout, "commit", "-q", "--amend", "--allow-empty", "-m", "Another message")
        home = self.folder.parent / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[diff]\nnoprefix = true\n[format]\nsignature = me\n")
        status, output = self.workspace.run(sys.executable, "ci/refresh.py", HOME=str(home))
        self.assertEqual((status, self.kept()), (0, before), output)

    def test_new_commit_becomes_a_new_patch_and_keeps_its_author(self):
        self.succeed("checkout.py")
        before = self.kept()
        file = self.checkout / CONVOLUTIONAL
        file.write_text(file.read_text().replace(DOCSTRING, "1D convolution layer."))
        (self.checkout / "tensorflow/python/new_test.py").write_text("# A test.\n")
        git(self.checkout, "add", ".")
        date = "2020-02-29T12:00:00+0530"
        message = "Shorten a docstring\n\nIt was long.\n\n" + HEADER
        git(self.checkout, "commit", "-q", "-m", message, "--date", date)
        self.succeed("refresh.py")
        after = self.kept()
        name = "%04d-Shorten-a-docstring.patch" % (len(self.names()))
        self.assertEqual(self.names()[-1], name)
        changes = {path for path in after if after[path] != before.get(path)}
        self.assertEqual(
            changes,
            {"patches/%s/%s" % (RELEASE, name), "patches/%s/series" % RELEASE}
            | {"tensorflow_overlay/tensorflow/python/new_test.py"},
        )
        self.assertNotIn("new_test.py", (self.patches / name).read_text())
        self.succeed("checkout.py")
        fields = "%an|%ae|%aI|%B"
        self.assertEqual(
            git(self.checkout, "log", "-1", "--format=" + fields, "HEAD~1"),
            "Zoë Müller|zoe@example.org|2020-02-29T12:00:00+05:30|" + message.strip(),
        )

    def test_commits_can_be_reordered_and_dropped(self):
        self.succeed("checkout.py")
        names = self.names()
        # The last patch and the overlay touch nothing that others do.
        last = git(self.checkout, "rev-parse", "HEAD~1")
        git(self.checkout, "reset", "-q", "--hard", "base")
        git(self.checkout, "cherry-pick", "refs/patch_set/exported", last)
        self.succeed("refresh.py")
        self.assertEqual(self.names(), ["0001" + names[-1][4:]])
        present = {path.name for path in self.patches.glob("*.patch")}
        self.assertEqual(present, set(self.names()))

    def test_refresh_keeps_what_others_changed_meanwhile(self):
        self.succeed("checkout.py")
        note = self.folder / "tensorflow_overlay" / "tensorflow" / "core" / "kernels" / "new.h"
        note.write_text("// New.\n")
        git(self.checkout, "mv", self.overlay_test(), "tensorflow/python/moved_test.py")
        git(self.checkout, "commit", "-q", "-m", "Move a test")
        self.succeed("refresh.py")
        self.assertTrue(note.exists())
        self.assertFalse((self.folder / "tensorflow_overlay" / self.overlay_test()).exists())

    def test_refresh_does_not_overwrite_what_others_changed(self):
        self.succeed("checkout.py")
        path = self.overlay_test()
        for folder, text in (
            (self.folder / "tensorflow_overlay", "# 1\n"),
            (self.checkout, "# 2\n"),
        ):
            (folder / path).write_text(text)
        git(self.checkout, "commit", "-q", "-a", "-m", "Change a test")
        before = self.kept()
        self.fail_with("changed since the checkout was made: .*" + path, "refresh.py")
        self.assertEqual(self.kept(), before)

    def overlay_test(self):
        return "tensorflow/python/kernel_tests/grouped_conv_ops_test.py"

    def test_refresh_wants_a_clean_checkout_without_merges(self):
        self.fail_with("there is no checkout", "refresh.py")
        self.succeed("checkout.py")
        (self.checkout / "new").write_text("")
        self.fail_with(r"not clean:\n.*\?\? new", "refresh.py")
        (self.checkout / "new").unlink()
        git(self.checkout, "checkout", "-q", "-b", "other", "HEAD~1")
        git(self.checkout, "merge", "-q", "--no-ff", "-m", "Merge", "patches")
        self.fail_with("is a merge", "refresh.py")

    def test_checkout_does_not_throw_work_away(self):
        self.succeed("checkout.py")
        git(self.checkout, "commit", "-q", "--allow-empty", "-m", "Work")
        self.fail_with("commits that are not in patches/ yet", "checkout.py")
        git(self.checkout, "reset", "-q", "--hard", "HEAD~1")
        (self.checkout / CONVOLUTIONAL).write_text("")
        self.fail_with("not clean", "checkout.py")
        git(self.checkout, "checkout", "-q", ".")
        self.succeed("checkout.py")

    def test_newcomer_follows_the_document(self):
        document = (self.folder / "docs/patches.md").read_text()
        commands = re.search(r"## Change a patch\n(?:.*\n)*?```sh\n((?:.*\n)*?)```", document)
        # In place of a build, which other tests do: what the build makes of the patches.
        (self.folder / "ci/make_wheel").write_text(
            "#!/bin/sh\nexec python3 build_defs/apply_patches.py --series patches/%s/series "
            "--wheel %s/* --output dist/tree\n" % (RELEASE, self.wheels)
        )
        before = self.kept()
        status, output = self.workspace.run(
            *("bash", "-euc", commands.group(1)),
            EDITOR="sed -i s/1D.convolution.layer/1D.convolution,grouped/",
            GIT_SEQUENCE_EDITOR="true",
            **IDENTITY,
        )
        self.assertEqual(status, 0, output)
        self.assertEqual(set(before), set(self.kept()))
        patches = "".join((self.patches / name).read_text() for name in self.names())
        self.assertEqual(patches.count("1D.convolution,grouped"), 1)
        patched = (self.folder / "dist/tree" / CONVOLUTIONAL).read_text()
        self.assertIn("1D.convolution,grouped", patched)

        folder = self.folder / "dist/pr" / (RELEASE + "-wheel")
        git(self.checkout, "checkout", "-q", "-b", "sent", "base")
        git(self.checkout, "am", "-q", *map(str, sorted(folder.glob("*.patch"))))
        self.assertEqual(git(self.checkout, "diff", "patches"), "")
        self.assertIn("Not in this folder", (folder / "PULL_REQUEST.md").read_text())


class VerifyTest(PatchTestCase, parameterized.TestCase):
    def first(self):
        return self.patches / (self.patches / "series").read_text().split()[0]

    def test_patches_as_they_are_pass(self):
        self.assertIn("No problems", self.succeed("verify.py"))

    def change(self, patch, pattern, replacement):
        text, count = re.subn(pattern, replacement, patch.read_text(), count=1)
        self.assertEqual(count, 1, "%s in %s" % (pattern, patch.name))
        patch.write_text(text)

    @parameterized.named_parameters(
        ("offset", r"\n@@ (.*) \+(\d)", r"\n@@ \1 +1\2", "applies with an offset"),
        ("context", "\n tensorflow.*|\n   return .*", "\n # not there", "does not apply: .*hunk 1"),
        ("whole_file", "\n--- a/.*", "\n--- /dev/null", "adds, deletes or renames a file"),
        ("odd_tree", "Applies-To: .*\n", "Applies-To: moon\n", "Applies-To is not of"),
    )
    def test_names_what_is_wrong_with_a_patch(self, pattern, replacement, message):
        self.change(self.first(), pattern, replacement)
        self.fail_with("(?s)%s.*%s" % (self.first().name, message), "verify.py")

    def test_names_lint(self):
        self.change(self.first(), r"\n\+(\s+)raise ", r"\n+\1import os; raise ")
        self.fail_with("E702 .*import os; raise", "verify.py")

    def test_names_what_is_wrong_with_messages(self):
        """Each of another patch, all in one run."""
        wrong = (
            ("Forwarded: .*\n(?: .*\n)*", "", "has no field Forwarded"),
            ("Forwarded: ", "Forwarded: perhaps ", "neither yes, no nor not-needed"),
            ("Drop-When: .*\n(?: .*\n)*", "", "has no field Drop-When"),
            ("Applies-To: .*\n", "", "has no field Applies-To"),
            (r"(\nSubject: .*(?:\n .*)*\n)\n(?:.*\n)*?Forw", r"\1\nForw", "say why"),
        )
        names = (self.patches / "series").read_text().split()
        self.assertGreaterEqual(len(names), len(wrong))
        for name, (pattern, replacement, _) in zip(names, wrong):
            self.change(self.patches / name, pattern, replacement)
        status, output = self.call("verify.py")
        self.assertNotEqual(status, 0)
        for name, (_, _, message) in zip(names, wrong):
            self.assertRegex(output, "%s.*%s" % (name, message))

    def test_names_overlay_files_that_the_release_has(self):
        (self.folder / "tensorflow_overlay" / CONVOLUTIONAL).write_text("")
        self.fail_with(CONVOLUTIONAL + ": the release has that file", "verify.py")

    def test_names_tests_and_targets_without_each_other(self):
        tests = self.folder / "tensorflow_overlay/tensorflow/python/kernel_tests"
        (tests / "grouped_conv_ops_test.py").rename(tests / "other_test.py")
        self.fail_with("no build_edits make a target for .*/other_test.py", "verify.py")
        self.fail_with("target for .*/grouped_conv_ops_test.py, which is not", "verify.py")


class RebaseTest(PatchTestCase):
    NEXT = "9.9.9"

    def setUp(self):
        super().setUp()
        with (self.folder / "WORKSPACE").open("a") as workspace:
            workspace.write(
                'tensorflow_release(\n    distribution = "tensorflow-cpu",\n'
                '    python = "3.8",\n    version = "%s",\n)\n' % self.NEXT
            )
        self.next = self.folder / "build/checkout" / ("tensorflow-" + self.NEXT)

    def test_carries_the_series_over(self):
        self.write_wheel(self.NEXT, lambda path, text: "# A line more.\n" + text)
        self.succeed("checkout.py", "--to", self.NEXT)
        self.assertEqual(self.workspace.run("make", "-s", "refresh", "TF=" + self.NEXT)[0], 0)
        patches = self.folder / "patches" / ("tensorflow-" + self.NEXT)
        self.assertEqual((patches / "series").read_text(), (self.patches / "series").read_text())
        for name in ("build_edits", "release_note.md", "pull_request.md"):
            (patches / name).write_text((self.patches / name).read_text())
        # Without an offset, which the old ones would have there.
        self.succeed("verify.py")

    def test_stops_at_a_conflict_and_goes_on(self):
        def edit(path, text):
            # A line that a patch has in a hunk.
            return text.replace("               dilation_rate=1,\n", "               dilation=1,\n")

        self.write_wheel(self.NEXT, edit)
        self.fail_with(
            'the patch "Add groups to the Keras convolution layers" does not apply',
            "checkout.py",
            "--to",
            self.NEXT,
        )
        self.assertIn(CONVOLUTIONAL, git(self.next, "diff", "--name-only", "--diff-filter=U"))
        file = self.next / CONVOLUTIONAL
        conflict = r"<<<<<<< .*\n(?:.*\n)*?=======\n((?:.*\n)*?)>>>>>>> .*\n"
        file.write_text(re.sub(conflict, r"\1", file.read_text()))
        git(self.next, "add", CONVOLUTIONAL)
        git(self.next, "-c", "core.editor=true", "rebase", "--continue")
        self.assertEqual(self.workspace.run("make", "-s", "refresh", "TF=" + self.NEXT)[0], 0)
        patches = self.folder / "patches" / ("tensorflow-" + self.NEXT)
        self.assertEqual((patches / "series").read_text(), (self.patches / "series").read_text())

    def test_wants_another_release(self):
        self.fail_with("there are patches for %s already" % RELEASE, "checkout.py", "--to", "")
        self.fail_with("no pinned release fits", "checkout.py", "--to", "7.7")


if __name__ == "__main__":
    absltest.main()
