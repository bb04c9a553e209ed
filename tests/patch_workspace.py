"""A workspace to handle patches in, with a small stand-in for the official wheel."""

import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile

from absl.testing import absltest
from workspace import SOURCE, Workspace

with open(os.environ["OFFICIAL_NAME"]) as name:
    DISTRIBUTION, VERSION = name.read().split("-")[:2]
RELEASE = "%s-%s" % (DISTRIBUTION.partition("_")[0], VERSION)
# How the programs in ci/ know which release they are for.
CHOICE = {"KERAS": VERSION} if DISTRIBUTION == "keras" else {}
VERSION_HEADER = "tensorflow/core/public/version.h"


# A user with a name of their own.
IDENTITY = {
    "GIT_%s_%s" % (role, key): value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in (("NAME", "Zoë Müller"), ("EMAIL", "zoe@example.org"))
}


def git(repository, *arguments, **environment):
    """Runs git and returns its output."""
    return subprocess.run(
        ["git", "-C", str(repository), *arguments],
        env=dict(os.environ, **IDENTITY, **environment),
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout.strip()


def changed_paths():
    """Returns the paths of the release's files that the patches change."""
    patches = (SOURCE / "patches" / RELEASE).glob("*.patch")
    return sorted(
        {path for patch in patches for path in re.findall(r"(?m)^\+\+\+ b/(.*)", patch.read_text())}
    )


# Opening a wheel of thousands of files takes longer than a test needs else.
@functools.lru_cache(maxsize=None)
def official_text(path):
    """Returns the text of a file in the official wheel."""
    with zipfile.ZipFile(os.environ["OFFICIAL_WHEEL"]) as official:
        return official.read(path).decode()


class PatchTestCase(absltest.TestCase):
    """A test in a workspace whose official wheels have only what the patches change."""

    def setUp(self):
        super().setUp()
        self.workspace = Workspace(self)
        self.folder = self.workspace.folder
        self.patches = self.folder / "patches" / RELEASE
        self.checkout = self.folder / "build/checkout" / RELEASE
        for patches in self.patches.parent.iterdir():
            if patches != self.patches:
                shutil.rmtree(patches)
        (self.folder / "build").mkdir()
        for tools in ("tools", "lint"):
            if (SOURCE / "build" / tools).exists():
                (self.folder / "build" / tools).symlink_to(SOURCE / "build" / tools)
        self.wheels = self.folder.parent / "wheels"
        self.wheels.mkdir()
        (self.folder / "ci/official_wheel").write_text(
            "#!/bin/sh\nls %s/*-${KERAS:-$TF}-*\n" % self.wheels
        )
        self.write_wheel(VERSION)

    def write_wheel(self, version, edit=lambda path, text: text):
        """Writes the stand-in for the official wheel of a version."""
        name = "%s-%s-py3-none-any.whl" % (DISTRIBUTION, version)
        with zipfile.ZipFile(self.wheels / name, "w") as wheel:
            for path in changed_paths():
                entry = zipfile.ZipInfo(path, (2021, 6, 10, 19, 52, 10))
                wheel.writestr(entry, edit(path, official_text(path)))

    def call(self, program, *arguments):
        """Runs a program in ci/; returns its exit status and what it prints."""
        command = [sys.executable, "-B"] if program.endswith(".py") else []
        return self.workspace.run(*command, "ci/" + program, *map(str, arguments), **CHOICE)

    def succeed(self, program, *arguments):
        """Runs a program in ci/ that is to succeed; returns what it prints."""
        status, output = self.call(program, *arguments)
        self.assertEqual(status, 0, output)
        return output

    def fail_with(self, pattern, program, *arguments):
        """Runs a program in ci/ that is to fail with a message."""
        status, output = self.call(program, *arguments)
        self.assertNotEqual(status, 0, output)
        self.assertRegex(output, pattern)
        self.assertNotIn("Traceback", output)

    def kept(self):
        """Returns the hashes of all files of patches and overlay, by path."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for folder in ("patches", "tensorflow_overlay")
            for path in sorted((self.folder / folder).rglob("*"))
            if path.is_file() and "/." not in str(path.relative_to(self.folder))
        }
