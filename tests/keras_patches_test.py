"""Tests that the programs for TensorFlow's patches are those for Keras' too."""

from absl.testing import absltest
from patch_workspace import RELEASE, PatchTestCase, git

LAYER = "keras/src/layers/convolutional/base_conv_transpose.py"


class KerasPatchesTest(PatchTestCase):
    def test_refresh_writes_the_very_same_bytes(self):
        self.succeed("checkout.py")
        before = self.kept()
        for name in [*self.patches.glob("*.patch"), self.patches / "series"]:
            name.unlink()
        # As if nothing of it had been written before.
        git(self.checkout, "update-ref", "refs/patch_set/exported", "base")
        self.succeed("refresh.py")
        self.assertEqual(self.kept(), before)

    def test_changed_commit_becomes_a_changed_patch(self):
        self.succeed("checkout.py")
        before = self.kept()
        file = self.checkout / LAYER
        file.write_text(file.read_text() + "# The end.\n")
        git(self.checkout, "commit", "-q", "-a", "--amend", "--no-edit")
        self.succeed("refresh.py")
        after = self.kept()
        last = (self.patches / "series").read_text().split()[-1]
        changed = {path for path in after if after[path] != before.get(path)}
        self.assertEqual(changed, {"patches/%s/%s" % (RELEASE, last)})

    def test_new_file_has_no_place(self):
        self.succeed("checkout.py")
        (self.checkout / "keras/new.py").write_text("")
        git(self.checkout, "add", ".")
        git(self.checkout, "commit", "-q", "-m", "Add a file")
        before = self.kept()
        self.fail_with("keras/new.py is neither the release's nor below", "refresh.py")
        self.assertEqual(self.kept(), before)

    def test_verify_passes_and_finds_what_is_wrong(self):
        self.assertIn(RELEASE, self.succeed("verify.py"))
        first = self.patches / (self.patches / "series").read_text().split()[0]
        first.write_text(first.read_text().replace("Forwarded: no", "Forwarded: perhaps"))
        self.fail_with("neither yes, no nor not-needed", "verify.py")

    def test_pull_request_comes_to_the_same_files(self):
        self.succeed("checkout.py")
        self.succeed("make_pr.py")
        folder = self.folder / "dist/pr" / (RELEASE + "-wheel")
        git(self.checkout, "checkout", "-q", "-b", "sent", "base")
        git(self.checkout, "am", "-q", *map(str, sorted(folder.glob("*.patch"))))
        self.assertEqual(git(self.checkout, "diff", "patches"), "")
        self.assertTrue((folder / "PULL_REQUEST.md").exists())


if __name__ == "__main__":
    absltest.main()
