"""Writes a folder of patches to send upstream into dist/pr/: see docs/patches.md.

The series with overlay and source edits folded into the commits where they
belong, for `git am`, and the description of a pull request.
"""

import argparse
import os
import tempfile

import patch_set
import source_tree
from patch_set import SOURCE, WHEEL, Error, Repository, Stage

FORMAT = ("--no-signature", "--numbered", "--full-index", "--no-renames", "--quiet")
NOT_HERE = """
## Not in this folder

It was made from the Python files of the official wheel. A source tree also needs
targets in BUILD files, new API golden files and an entry in RELEASE.md, which
`make pr SRC=<clone of TensorFlow>` adds; and it does not need what is for wheels
alone:

%s
"""


def by_owner(paths, changed):
    """Sorts paths by the patch that they belong to, an index into `changed`.

    That is the last patch that changes something in the path's folder or below
    it, or else in the next folder up, short of tensorflow/ itself.  What no patch
    is near to belongs to -1, which adds the kernels before all patches.
    """
    owned = {owner: [] for owner in range(-1, len(changed))}
    for path in paths:
        owner, folder = -1, os.path.dirname(path)
        while owner == -1 and "/" in folder:
            for patch, others in enumerate(changed):
                if any(other.startswith(folder + "/") for other in others):
                    owner = patch
            folder = os.path.dirname(folder)
        owned[owner].append(path)
    return owned


def commit_folded(scratch, base, release, form):
    """Commits the patches, each with what belongs to it; returns the last commit."""
    patches = patch_set.patches_of(release, form)
    changed = [patch_set.changed_files(patch) for patch in patches]
    stage = Stage(scratch, base)
    overlay = by_owner(patch_set.overlay_files(release), changed)
    edited = source_tree.build_files(stage, release) if form == SOURCE else {}
    edits = by_owner(edited, changed)
    for owner in range(-1, len(patches)):
        before = Stage(scratch, stage.head)
        if owner >= 0:
            stage.apply(patches[owner])
        stage.add(patch_set.OVERLAY, overlay[owner])
        stage.write({path: edited[path] for path in edits[owner]})
        if form == SOURCE:
            stage.write(source_tree.golden_files(stage, before))
            if owner == len(patches) - 1:
                stage.write(source_tree.release_notes(stage, release))
        if owner >= 0:
            stage.commit_patch(patches[owner])
        elif overlay[owner] or edits[owner]:
            stage.commit(patch_set.OVERLAY_MESSAGE)
    return stage.head


def write_folder(folder, scratch, base, tip, release, form):
    """Writes the commits of base..tip and the description into a folder."""
    scratch.run("format-patch", *FORMAT, "-o", folder, "%s..%s" % (base, tip))
    description = patch_set.release_file(release, "pull_request.md")
    if form == WHEEL and patch_set.package(release) == "tensorflow":
        wheel_only = set(patch_set.all_patches(release)) - set(
            patch_set.patches_of(release, SOURCE)
        )
        description += NOT_HERE % "\n".join(sorted("- " + patch_set.subject(p) for p in wheel_only))
    patch_set.write_file(os.path.join(folder, "PULL_REQUEST.md"), description.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", help="clone of TensorFlow that the patches are for")
    source = parser.parse_args().source

    clone = Repository(os.path.abspath(source)) if source else None
    form = SOURCE if source else WHEEL
    with patch_set.scratch_repository(clone) as scratch:
        if source:
            base, release = source_tree.unpatched(clone)
            whole = source_tree.commit_source(scratch, base, release)
        else:
            release = patch_set.pinned_release()
            base = patch_set.commit_wheel(scratch, release)
            whole = patch_set.commit_patch_set(scratch, base, release, WHEEL)
        tip = commit_folded(scratch, base, release, form)
        if scratch.run("diff-tree", "-r", whole, tip):
            raise Error("the folded commits come to another tree than `make checkout` gives")

        parent = os.path.join(patch_set.TOP, "dist", "pr")
        os.makedirs(parent, exist_ok=True)
        path = os.path.join(parent, "%s-%s" % (release, form))
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            made = os.path.join(folder, "made")
            write_folder(made, scratch, base, tip, release, form)
            patch_set.replace_folder(made, path)
        print(scratch.text("log", "--oneline", "--reverse", "%s..%s" % (base, tip)))
    print("Pull request: %s" % os.path.relpath(path))


if __name__ == "__main__":
    patch_set.call(main)
