"""Carries the patch set over to where an upstream branch has got to: see docs/patches.md.

The patches are merged three ways with what upstream has changed since they were
made. Only what has been merged whole, and has passed the given commands, is
pushed.
"""

import argparse
import os
import re
import subprocess
import tempfile

import patch_set
import source_tree
from patch_set import SOURCE, Error, Repository, Stage


def originals(patches):
    """Returns the blobs, by path, of the files that a series of patches was made for."""
    blobs = {}
    for patch in patches:
        with open(patch, encoding="utf-8") as stream:
            for path, blob in re.findall(
                r"^diff --git a/(\S+) .*\nindex ([0-9a-f]{40,})\.\.", stream.read(), re.MULTILINE
            ):
                blobs.setdefault(path, blob)
    return blobs


def conflict_report(clone, patches):
    """Tells which patch conflicts where, with both sides."""
    subject = clone.text("log", "-1", "--format=%s", "REBASE_HEAD")
    names = [os.path.basename(patch) for patch in patches if patch_set.subject(patch) == subject]
    lines = ["%s conflicts with upstream:" % names[0]]
    for path in clone.lines("diff", "--name-only", "--diff-filter=U"):
        text = clone.text("diff", "--", path)
        for number, hunk in enumerate(re.split(r"(?m)^(?=@@@ )", text)[1:], 1):
            lines.append("\n%s, hunk %d:\n%s" % (path, number, hunk.rstrip()))
    return "\n".join(lines)


def merge(clone, release):
    """Commits the patch set on the clone's HEAD; returns the patches that it has already."""
    base = clone.commit("HEAD")
    patches = patch_set.patches_of(release, SOURCE)
    with patch_set.scratch_repository(clone) as scratch:
        # Upstream's tree as it would be, had the files that the patches are for not changed.
        stage = Stage(scratch, base)
        stage.put(originals(patches))
        old = stage.commit("The files that the patches were made for\n")
        tip = patch_set.commit_patches(scratch, old, release, SOURCE)
        clone.adopt(scratch, [tip], base)
    name, mail = patch_set.AUTHOR
    try:
        clone.run(
            *("rebase", "-q", "--committer-date-is-author-date", "--onto", base, old, tip),
            GIT_COMMITTER_NAME=name,
            GIT_COMMITTER_EMAIL=mail,
        )
    except Error:
        if not clone.commit("REBASE_HEAD"):
            raise
        raise Error(conflict_report(clone, patches)) from None
    merged = clone.commit("HEAD")
    with patch_set.scratch_repository(clone) as scratch:
        tip = patch_set.commit_overlay(scratch, merged, release)
        tip = source_tree.commit_edits(scratch, base, tip, release)
        clone.adopt(scratch, [tip], merged)
    clone.run("checkout", "-q", "-B", "patched", tip)
    # git leaves out a commit that would change nothing.
    subjects = clone.lines("log", "--format=%s", "%s..%s" % (base, merged))
    return [patch for patch in patches if patch_set.subject(patch) not in subjects]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="repository of TensorFlow")
    parser.add_argument("--branch", required=True, help="branch to follow there")
    parser.add_argument(
        "--run", action="append", default=[], metavar="COMMAND", help="to pass in the merged tree"
    )
    parser.add_argument("--push", nargs=2, metavar=("REPOSITORY", "BRANCH"), help="where to push")
    arguments = parser.parse_args()

    release = patch_set.pinned_release()
    os.makedirs(os.path.dirname(patch_set.CHECKOUTS), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(patch_set.CHECKOUTS)) as folder:
        path = os.path.join(folder, "tensorflow")
        Repository(folder).run(
            *("clone", "-q", "--single-branch", "--branch", arguments.branch),
            *(arguments.upstream, path),
        )
        clone = Repository(path)
        upstream = clone.text("log", "-1", "--format=%h %s")
        dropped = merge(clone, release)
        print("%s merged with %s: %s" % (release, arguments.branch, upstream))
        for patch in dropped:
            print("upstream has %s, which can be dropped" % os.path.basename(patch))
        for command in arguments.run:
            print("running: " + command, flush=True)
            if subprocess.run(command, shell=True, cwd=path).returncode != 0:
                raise Error("%s failed on the merged tree; nothing is pushed" % command)
        if arguments.push:
            repository, branch = arguments.push
            clone.run("push", "-q", "--force", repository, "HEAD:refs/heads/" + branch)
            print("pushed to %s" % branch)


if __name__ == "__main__":
    patch_set.call(main)
