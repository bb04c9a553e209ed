"""Test of examples/workspace, which takes the patched TensorFlow as any workspace can."""

import os
import pathlib
import re

from absl.testing import absltest
from workspace import REUSE, SOURCE, Workspace


class ExampleWorkspaceTest(absltest.TestCase):
    def pin(self, text, rule):
        """Returns the arguments of a rule's first call in a WORKSPACE, but its name."""
        call = re.search(r"(?m)^%s\(\n((?: .*\n)+)\)" % rule, text).group(1)
        return {line for line in call.splitlines() if not line.startswith("    name = ")}

    def test_builds_and_passes_its_test(self):
        workspace = Workspace(self)
        (workspace.folder / "build").mkdir()
        if (SOURCE / "build/tools").exists():
            (workspace.folder / "build/tools").symlink_to(SOURCE / "build/tools")

        def bazel(*arguments):
            script = 'cd examples/workspace && exec ../../ci/bazel --output_user_root="$0" "$@"'
            output_root = workspace.folder.parent / "output"
            return workspace.run("bash", "-c", script, output_root, *arguments)

        # Stops the server and makes all that it wrote writable.
        self.addCleanup(bazel, "clean", "--expunge")
        # What is not to be fetched once more.
        official = pathlib.Path(os.environ["OFFICIAL_NAME"]).resolve().parent
        override = "--override_repository=%s=%s" % (official.name, official)
        # What this project compiles with its options is compiled: see shared_build_test.
        status, output = bazel("test", override, REUSE, "--copt=-Wall", "//...")
        self.assertEqual(status, 0, output)
        self.assertRegex(output, r"//:grouped_layer_test +PASSED")

    def test_pins_the_release_that_the_project_pins_first(self):
        workspace = Workspace(self).folder
        self.assertEqual(
            self.pin(
                (workspace / "examples/workspace/WORKSPACE").read_text(),
                "tensorflow_groups_repository",
            ),
            self.pin((workspace / "WORKSPACE").read_text(), "tensorflow_release"),
        )


if __name__ == "__main__":
    absltest.main()
