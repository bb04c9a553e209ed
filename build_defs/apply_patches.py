"""Applies a series of patches to the files of a wheel.

Writes the files that the patches change, and nothing else, below an output
folder: each at its path in the wheel, as it is after the last patch. Patches
apply as `patch -p1` with no fuzz does; the work is done by `git apply`.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile


class PatchError(Exception):
    """A series, or a patch of it, that cannot be applied as a whole."""


def read_series(path):
    """Returns the paths of the patches that a series file names, in order."""
    folder = os.path.dirname(path)
    with open(path) as series:
        names = [line.strip() for line in series]
    patches = [os.path.join(folder, name) for name in names if name and name[0] != "#"]
    for patch in patches:
        if not os.path.isfile(patch):
            raise PatchError("%s names %s, which is not there" % (path, os.path.basename(patch)))
    return patches


def changed_files(patch):
    """Returns the paths that a patch changes, refusing whole new or deleted files."""
    paths = []
    old = None
    with open(patch, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("--- ") and re.match(r"--- (a/|/dev/null)", line):
                old = line[4:].strip()
            elif line.startswith("+++ ") and old is not None:
                new = line[4:].strip()
                if "/dev/null" in (old, new) or old[2:] != new[2:]:
                    raise PatchError(
                        "%s adds, deletes or renames a file (%s to %s); whole files belong in the "
                        "overlay" % (os.path.basename(patch), old, new)
                    )
                paths.append(new[2:])
                old = None
    if not paths:
        raise PatchError("%s changes no file" % os.path.basename(patch))
    return paths


def failed_hunks(patch, git_messages):
    """Names the hunks that git's messages complain of, such as "a.py, hunk 2"."""
    places = re.findall(r"patch failed: (.*):(\d+)", git_messages)
    hunks = []
    path, number = None, 0
    with open(patch, encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("+++ b/"):
                path, number = line[6:].strip(), 0
            header = re.match(r"@@ -(\d+)", line)
            if header:
                number += 1
                if (path, header.group(1)) in places:
                    hunks.append("%s, hunk %d (line %s)" % (path, number, header.group(1)))
    return hunks


def apply_patch(patch, tree):
    """Applies one patch to a tree, or raises PatchError and leaves it as it was."""
    # Without the ceiling, git would look for a repository around the tree.
    environment = dict(os.environ, GIT_CEILING_DIRECTORIES=os.path.dirname(os.path.abspath(tree)))
    try:
        result = subprocess.run(
            ["git", "apply", "--verbose", "--whitespace=nowarn", os.path.abspath(patch)],
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
    except FileNotFoundError:
        raise PatchError("git, which applies the patches, is not on PATH") from None
    if result.returncode != 0:
        raise PatchError(
            "%s does not apply: %s\n%s"
            % (
                os.path.basename(patch),
                "; ".join(failed_hunks(patch, result.stdout)) or "see git's message",
                result.stdout,
            )
        )


def apply_series(series, wheel, output):
    """Writes the wheel's files that `series` changes, changed, below `output`."""
    patches = read_series(series)
    with tempfile.TemporaryDirectory() as scratch, zipfile.ZipFile(wheel) as archive:
        tree = os.path.join(scratch, "tree")
        os.mkdir(tree)
        names = set(archive.namelist())
        for patch in patches:
            for path in changed_files(patch):
                if path not in names:
                    raise PatchError(
                        "%s changes %s, which %s does not hold"
                        % (os.path.basename(patch), path, os.path.basename(wheel))
                    )
                if not os.path.exists(os.path.join(tree, path)):
                    archive.extract(path, tree)
        for patch in patches:
            apply_patch(patch, tree)
        # Only a series that has been applied whole reaches the output.
        os.makedirs(output, exist_ok=True)
        for entry in os.listdir(tree):
            shutil.move(os.path.join(tree, entry), os.path.join(output, entry))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", required=True, help="file that names the patches in order")
    parser.add_argument("--wheel", required=True, help="wheel that holds the files to change")
    parser.add_argument("--output", required=True, help="folder for the changed files")
    arguments = parser.parse_args()
    try:
        apply_series(arguments.series, arguments.wheel, arguments.output)
    except PatchError as error:
        sys.exit("apply_patches: %s" % error)


if __name__ == "__main__":
    main()
