"""Tests of `make wheel` as a whole, each in a copy of the workspace of its own."""

import hashlib
import os
import pathlib
import re
import tempfile
import zipfile

from absl.testing import absltest
from workspace import REUSE, Workspace, make_variables

OFFICIAL_NAME = pathlib.Path(os.environ["OFFICIAL_NAME"])
REBUILT_NAME = pathlib.Path(os.environ["REBUILT_NAME"])
SERIES = pathlib.Path(os.environ["SERIES"])

# The release that is tested, as `make wheel` knows it.
RELEASE = make_variables(OFFICIAL_NAME)


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class BuildTest(absltest.TestCase):
    def workspace_with_the_official_wheel(self):
        """Returns a workspace that does not fetch the official wheel once more."""
        official = OFFICIAL_NAME.resolve().parent
        workspace = Workspace(self)
        workspace.use_bazel(self, "--override_repository=%s=%s" % (official.name, official), REUSE)
        return workspace

    def test_another_folder_gives_the_same_bytes(self):
        # Also if it is compiled there, as shared_build_test shows of all but the
        # kernels for AVX2 and AVX-512.
        workspace = self.workspace_with_the_official_wheel()
        status, printed = workspace.run("make", "wheel", **RELEASE)
        self.assertEqual(status, 0, printed)
        name = REBUILT_NAME.read_text().strip()
        self.assertEqual(workspace.made(), [name])
        self.assertEqual(sha256(workspace.dist / name), sha256(os.environ["REBUILT_WHEEL"]))

        report = printed[printed.index("Differs from ") :]
        self.assertIn("  added    tensorflow/core/kernels/libtfkernel_grouped_conv.so", report)
        self.assertRegex(report, r"Size: [\d.]+ MB, official [\d.]+ MB")
        self.assertEndsWith(report, "Wheel: dist/%s\n" % name)

    def test_patch_that_does_not_apply_is_named(self):
        workspace = self.workspace_with_the_official_wheel()
        patch = (
            workspace.folder
            / "patches"
            / ("tensorflow-" + RELEASE["TF"])
            / SERIES.read_text().split()[0]
        )
        text = patch.read_text()
        path = re.search(r"^\+\+\+ b/(.*)$", text, re.MULTILINE).group(1)
        # A line that the first file does not have, in the context of its second hunk.
        second_hunk = list(re.finditer(r"^@@ -(\d+).*\n", text, re.MULTILINE))[1]
        context = text.index("\n ", second_hunk.end() - 1) + 2
        patch.write_text(text[:context] + "changed" + text[context:])

        status, printed = workspace.run("make", "wheel", **RELEASE)
        self.assertNotEqual(status, 0)
        expected = "%s does not apply: %s, hunk 2 (line %s)" % (
            patch.name,
            path,
            second_hunk.group(1),
        )
        self.assertIn(expected, printed)
        self.assertEmpty(workspace.made())

    def test_official_wheel_with_another_hash_is_refused(self):
        workspace = Workspace(self)
        workspace.use_bazel(self)
        # The release's own packages would take minutes to fetch.
        for requirements in (workspace.folder / "build_defs/requirements").glob("*.txt"):
            requirements.write_text("")
        offered = self.enter_context(tempfile.TemporaryDirectory())
        wheel = os.path.join(offered, OFFICIAL_NAME.read_text().strip())
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr("tensorflow/__init__.py", "")

        status, printed = workspace.run(
            "make", "wheel", PIP_NO_INDEX="1", PIP_FIND_LINKS=offered, **RELEASE
        )
        self.assertNotEqual(status, 0)
        self.assertIn(sha256(wheel), printed)
        self.assertIn(sha256(os.environ["OFFICIAL_WHEEL"]), printed)
        self.assertIn("%(DIST)s==%(TF)s" % RELEASE, printed)
        self.assertEmpty(workspace.made())


if __name__ == "__main__":
    absltest.main()
