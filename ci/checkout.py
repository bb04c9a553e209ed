"""Makes a git repository to edit patches in: see docs/patches.md."""

import argparse
import os
import subprocess
import tempfile

import patch_set
import source_tree
from patch_set import BASE, EXPORTED, WHEEL, Error, Repository, Stage


def check_saved(path):
    """Raises Error if a checkout holds work that `make refresh` has not written yet."""
    if not os.path.exists(path):
        return
    checkout = Repository(path)
    checkout.check_clean()
    if checkout.commit("HEAD") != checkout.commit(EXPORTED):
        raise Error(
            "%s has commits that are not in patches/ yet: run `make refresh` or delete it" % path
        )


def fill(checkout, scratch, base, tip, exported):
    """Gives a new repository its commits, up to `tip`, and its branch."""
    # Left by running what is checked out.
    with open(checkout.git_path("info/exclude"), "a") as stream:
        stream.write("__pycache__/\n")
    checkout.adopt(scratch, [base, tip, exported])
    checkout.run("update-ref", BASE, base)
    checkout.run("update-ref", EXPORTED, exported)
    checkout.run("checkout", "-q", "-B", "patches", tip)


def from_wheel(path, release):
    """Makes a checkout of the Python files of a release's official wheel."""
    Repository(os.path.dirname(path)).run("init", "-q", path)
    with patch_set.scratch_repository() as scratch:
        base = patch_set.commit_wheel(scratch, release)
        tip = patch_set.commit_patch_set(scratch, base, release, WHEEL)
        fill(Repository(path), scratch, base, tip, exported=tip)


def from_source(path, source, release):
    """Makes a checkout of a clone of TensorFlow's sources."""
    Repository(os.path.dirname(path)).run("clone", "-q", "--no-checkout", source, path)
    checkout = Repository(path)
    base, found = source_tree.unpatched(checkout)
    if found != release:
        raise Error("%s is %s, not %s" % (source, found, release))
    with patch_set.scratch_repository(checkout) as scratch:
        tip = source_tree.commit_source(scratch, base, release)
        fill(checkout, scratch, base, tip, exported=tip)


def carried_over(path, release, to):
    """Makes a checkout of one release that holds another's patches, still to be rebased."""
    Repository(os.path.dirname(path)).run("init", "-q", path)
    with patch_set.scratch_repository() as scratch:
        old = patch_set.commit_wheel(scratch, release)
        tip = patch_set.commit_patch_set(scratch, old, release, WHEEL)
        new = patch_set.commit_wheel(scratch, to)
        overlay = Stage(scratch, new)
        overlay.add(patch_set.OVERLAY, patch_set.overlay_files(to))
        exported = overlay.commit("The overlay, which all releases share\n")
        fill(Repository(path), scratch, new, tip, exported)
    return old


def rebase(path, old):
    """Moves the commits behind `old` onto the checkout's base; stops at a conflict as git does."""
    # Who commits is not kept, and may have no name here.
    name, mail = patch_set.AUTHOR
    result = subprocess.run(
        ["git", "-C", path, "rebase", "--onto", BASE, old, "patches"],
        env=dict(os.environ, GIT_COMMITTER_NAME=name, GIT_COMMITTER_EMAIL=mail),
    )
    if result.returncode != 0:
        patch = Repository(path).text("log", "-1", "--format=%s", "REBASE_HEAD")
        raise Error(
            'the patch "%s" does not apply as it is. In %s, resolve the conflicts,\n'
            "`git add` the files, `git rebase --continue`, then `make refresh`." % (patch, path)
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--source", help="clone of TensorFlow to start from, not the wheel")
    choice.add_argument("--to", help="version of the pinned release to carry the patches over to")
    arguments = parser.parse_args()

    release = to = patch_set.pinned_release()
    if arguments.to is not None:
        variable = patch_set.CHOICE[patch_set.package(release)]
        to = patch_set.pinned_release(**{variable: arguments.to})
        if to in patch_set.releases():
            raise Error("there are patches for %s already; --to names another release" % to)
    path = os.path.join(patch_set.CHECKOUTS, to)
    check_saved(path)
    os.makedirs(patch_set.CHECKOUTS, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=patch_set.CHECKOUTS) as folder:
        made = os.path.join(folder, "made")
        if arguments.source:
            from_source(made, os.path.abspath(arguments.source), release)
        elif to != release:
            old = carried_over(made, release, to)
        else:
            from_wheel(made, release)
        patch_set.replace_folder(made, path)
    if to != release:
        rebase(path, old)
    checkout = Repository(path)
    print(checkout.text("log", "--oneline", "--reverse", BASE + "..HEAD"))
    print(
        "Checkout: %s, on %s"
        % (os.path.relpath(path), checkout.text("log", "-1", "--format=%s", BASE))
    )


if __name__ == "__main__":
    patch_set.call(main)
