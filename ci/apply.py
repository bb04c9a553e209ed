"""Commits a release's patches, overlay and source edits on a clone: see docs/patches.md.

All commits are made in a scratch repository; the clone moves to the last of them
in one step, or stays as it is.
"""

import argparse

import patch_set
import source_tree
from patch_set import Error, Repository


def apply(clone, only_check):
    """Applies the patch set to the clone's HEAD, unless it is applied already."""
    applied = source_tree.applied_commit(clone)
    base = source_tree.base_of(clone, applied) if applied else clone.commit("HEAD")
    release = source_tree.known_release(clone, base)
    with patch_set.scratch_repository(clone) as scratch:
        tip = source_tree.commit_source(scratch, base, release)
        if applied == tip:
            print("Nothing to do: %s is applied, up to %.12s" % (release, applied))
            return
        if applied:
            raise Error(
                "%s was applied, up to %.12s, before it was changed: --reverse that first"
                % (release, applied)
            )
        subjects = scratch.text("log", "--oneline", "--reverse", "%s..%s" % (base, tip))
        if not only_check:
            clone.adopt(scratch, [tip], base)
            clone.move(tip, "merge", "-q", "--ff-only", "--no-overwrite-ignore", tip)
    print("%s\n%s %s" % (subjects, "Would apply" if only_check else "Applied", release))


def reverse(clone, only_check):
    """Takes the clone back to the commit that the patch set was applied to."""
    applied = source_tree.applied_commit(clone)
    if applied is None:
        print("Nothing to do: no patch set is applied")
        return
    base = source_tree.base_of(clone, applied)
    if applied != clone.commit("HEAD"):
        raise Error(
            "there are commits behind the patch set. To keep them without it:\n"
            "  git rebase --onto %.12s %.12s" % (base, applied)
        )
    if not only_check:
        clone.move(base, "reset", "-q", "--keep", base)
    print("%s to %.12s" % ("Would go back" if only_check else "Went back", base))


def main():
    parser = argparse.ArgumentParser(prog="ci/apply.sh", description=__doc__)
    parser.add_argument("clone", help="git repository with TensorFlow's sources")
    parser.add_argument(
        "--check", action="store_true", help="say what would be done; change nothing"
    )
    parser.add_argument("--reverse", action="store_true", help="take the patch set back")
    arguments = parser.parse_args()
    clone = Repository(arguments.clone)
    if clone.commit("HEAD") is None:
        raise Error("%s has no commit" % arguments.clone)
    clone.check_clean()
    (reverse if arguments.reverse else apply)(clone, arguments.check)


if __name__ == "__main__":
    patch_set.call(main)
