"""Tests of a fork's CI: upstream, a bare repository here, moves in all the ways there are."""

import re
import subprocess

from absl.testing import absltest
from apply_test import ApplyTestCase
from patch_workspace import git

NN_OPS = "tensorflow/python/ops/nn_ops.py"


class FollowUpstreamTest(ApplyTestCase):
    def setUp(self):
        super().setUp()
        self.upstream = self.folder.parent / "upstream.git"
        self.fork = self.folder.parent / "fork.git"
        git(self.folder, "clone", "-q", "--bare", self.source, self.upstream)
        git(self.folder, "init", "-q", "--bare", self.fork)
        self.branch = git(self.upstream, "symbolic-ref", "--short", "HEAD")
        # A wheel of what there is, and a test of it.
        self.wheel = self.folder.parent / "built.whl"
        self.check = "python3 -m zipfile -c %s tensorflow && grep -q groups %s" % (
            self.wheel,
            "tensorflow/python/keras/layers/convolutional.py",
        )

    def follow(self, check=None):
        """Runs the CI script; returns its exit status and what it prints."""
        return self.workspace.run(
            *("ci/fork_ci.sh", "follow"),
            UPSTREAM=str(self.upstream),
            BRANCH=self.branch,
            CHECK=check or self.check,
            FORK=str(self.fork),
        )

    def follow_and_succeed(self):
        """Runs the CI script, which is to succeed; returns what it prints."""
        status, output = self.follow()
        self.assertEqual(status, 0, output)
        return output

    def move(self, message, path, edit):
        """Pushes a change of a file's text to upstream."""
        file = self.clone / path
        before = file.read_text()
        file.write_text(edit(before))
        self.assertNotEqual(file.read_text(), before)
        git(self.clone, "commit", "-q", "-a", "-m", message)
        git(self.clone, "push", "-q", self.upstream, "HEAD:" + self.branch)

    def fork_tree(self):
        """Returns what the fork's branch has; None if there is no such branch."""
        found = subprocess.run(
            ["git", "-C", self.fork, "rev-parse", "patched^{tree}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return found.stdout.strip() if found.returncode == 0 else None

    def test_upstream_as_it_was(self):
        self.follow_and_succeed()
        self.succeed("apply.sh", self.clone)
        self.assertEqual(self.fork_tree(), git(self.clone, "rev-parse", "HEAD^{tree}"))
        self.assertTrue(self.wheel.exists())

    def test_upstream_moves_beside_the_patches(self):
        def edit(text):
            # A line that a hunk shows, though it does not change it, and many before it.
            line = "def convolution(\n"
            self.assertEqual(text.count("\n" + line), 1)
            return "# More.\n" * 50 + text.replace("\n" + line, "\ndef convolution(  # Exported.\n")

        self.move("Comment", NN_OPS, edit)
        self.fail_with("does not apply", "apply.sh", self.clone)
        output = self.follow_and_succeed()
        self.assertNotIn("can be dropped", output)
        patched = git(self.fork, "show", "patched:" + NN_OPS)
        self.assertIn("# Exported.", patched)
        self.assertIn("_check_channel_groups", patched)

    def test_upstream_moves_into_a_patched_line(self):
        self.follow_and_succeed()
        before = self.fork_tree()
        self.wheel.unlink()
        self.move(
            "Say it otherwise", NN_OPS, lambda text: text.replace('"filter, {} != {}"', '"{}, {}"')
        )
        status, output = self.follow()
        self.assertEqual(status, 1, output)
        first = (self.patches / "series").read_text().split()[0]
        self.assertIn(first + " conflicts with upstream", output)
        self.assertRegex(output, re.escape(NN_OPS) + r", hunk \d+:")
        # Both sides.
        self.assertIn('"{}, {}"', output)
        self.assertIn("_check_channel_groups(", output)
        self.assertEqual(self.fork_tree(), before)
        self.assertFalse(self.wheel.exists())
        self.assertEqual(list((self.folder / "build").glob("tmp*")), [])

    def test_upstream_takes_a_patch_over(self):
        first = (self.patches / "series").read_text().split()[0]
        git(self.clone, "am", "-q", self.patches / first)
        git(self.clone, "push", "-q", self.upstream, "HEAD:" + self.branch)
        output = self.follow_and_succeed()
        self.assertEqual(re.findall(r"upstream has (\S+), which can be dropped", output), [first])
        subjects = git(self.fork, "log", "--format=%s", "patched").splitlines()
        self.assertEqual(len(subjects), len(set(subjects)))

    def test_check_that_fails_keeps_it_from_being_pushed(self):
        status, output = self.follow("exit 3")
        self.assertEqual(status, 1, output)
        self.assertIn("exit 3 failed on the merged tree", output)
        self.assertIsNone(self.fork_tree())

    def test_workflow_trusts_no_more_than_it_must(self):
        workflow = (self.folder / "ci/github_workflow.yml").read_text()
        actions = re.findall(r"uses: (.*)", workflow)
        self.assertNotEmpty(actions)
        for action in actions:
            self.assertRegex(action, r"^[\w/-]+@[0-9a-f]{40} # v[\d.]+$")
        self.assertIn("\npermissions: {}\n", workflow)
        self.assertNotIn("write\n", workflow)
        scripts = set(re.findall(r"ci/fork_ci.sh \w+", workflow))
        self.assertEqual(scripts, {"ci/fork_ci.sh wheel", "ci/fork_ci.sh follow"})


if __name__ == "__main__":
    absltest.main()
