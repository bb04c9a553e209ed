"""Writes the commits of a checkout back to patches/ and the overlay: see docs/patches.md.

What somebody else changed there since the checkout was made stays; if both
changed the same file, nothing is written.
"""

import os
import tempfile

import patch_set
import source_tree
from patch_set import BASE, EXPORTED, SOURCE, TOP, WHEEL, Error, Repository

# A patch is to be the same on every machine: it has nothing of the user's own
# configuration, and no names of commits, which depend on the base.
CONFIGURATION = {"HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
FORMAT = ("--zero-commit", "--no-signature", "--no-numbered", "--no-stat", "--no-renames")
FORMAT += ("--full-index",)


class Checkout:
    """A checkout's commits behind its base, sorted by what becomes of them."""

    def __init__(self, repository, tip):
        self._repository = repository
        self._tip = tip
        self._base_paths = set(self._paths(BASE))
        self.form = SOURCE if source_tree.version(repository, BASE) else WHEEL
        # Commits that become patches, each with the files of the release that it changes.
        self._patches = []
        # What the commit of source_tree.py changes, in git's words.
        self.edits = []
        for commit in repository.lines("rev-list", "--reverse", "%s..%s" % (BASE, tip)):
            if " " in repository.text("log", "-1", "--format=%P", commit):
                raise Error("%s is a merge, which cannot become a patch" % commit)
            changed = repository.lines("diff-tree", "-r", "--no-commit-id", "--name-only", commit)
            changed = sorted(self._base_paths.intersection(changed))
            if source_tree.base_of(repository, commit):
                self.edits.append(
                    repository.run("diff-tree", "--no-commit-id", "-p", commit, "--", *changed)
                )
            elif changed:
                self._patches.append((commit, changed))

    def _paths(self, commit):
        return self._repository.lines("ls-tree", "-r", "--name-only", commit)

    def files(self, release):
        """Returns patches, series and overlay: bytes by path below TOP."""
        files = dict(self._patch_files(release))
        files.update(self._overlay_files())
        return files

    def _patch_files(self, release):
        sources = list(self._patches)
        # Patches that the checkout has not keep their distance from the end.
        for behind, patch in enumerate(reversed(patch_set.all_patches(release))):
            if self.form not in patch_set.applies_to(patch):
                sources.insert(max(len(sources) - behind, 0), patch)
        names = []
        with tempfile.TemporaryDirectory() as folder:
            for number, source in enumerate(sources, 1):
                if isinstance(source, str):
                    path, name = source, "%04d-%s" % (number, os.path.basename(source)[5:])
                else:
                    commit, changed = source
                    options = FORMAT + ("--start-number=%d" % number, "-1", "-o", folder, commit)
                    path = self._repository.text("format-patch", *options, "--", *changed)
                    name = os.path.basename(path)
                names.append(name + "\n")
                with open(path, "rb") as stream:
                    yield "patches/%s/%s" % (release, name), stream.read()
        if names:
            yield "patches/%s/series" % release, "".join(names).encode()

    def _overlay_files(self):
        for path in set(self._paths(self._tip)) - self._base_paths:
            if not path.startswith("tensorflow/"):
                raise Error("%s is neither the release's nor below tensorflow/" % path)
            data = self._repository.run("cat-file", "blob", "%s:%s" % (self._tip, path))
            yield "tensorflow_overlay/" + path, data


def present_files(release):
    """Returns the bytes of the files below TOP that a checkout stands for, by path."""
    paths = ["tensorflow_overlay/" + path for path in patch_set.overlay_files(release)]
    patches = patch_set.all_patches(release)
    paths += [os.path.relpath(patch, TOP) for patch in patches]
    if patches:
        paths.append("patches/%s/series" % release)
    files = {}
    for path in paths:
        with open(os.path.join(TOP, path), "rb") as stream:
            files[path] = stream.read()
    return files


def merged(before, after, present):
    """Returns what changes from `before` to `after`, unless it has changed at present too."""
    changes, clashes = {}, []
    for path in sorted(set(before) | set(after)):
        if after.get(path) in (before.get(path), present.get(path)):
            continue
        if present.get(path) != before.get(path):
            clashes.append(path)
        changes[path] = after.get(path)
    if clashes:
        raise Error(
            "changed since the checkout was made: %s. Move your commits to a new checkout"
            % ", ".join(clashes)
        )
    return changes


def write(changes):
    """Writes files below TOP, given their bytes, or None to delete one; all or nothing."""
    with tempfile.TemporaryDirectory(dir=patch_set.CHECKOUTS) as folder:
        for path, data in changes.items():
            if data is not None:
                patch_set.write_file(os.path.join(folder, path), data)
        with patch_set.undisturbed():
            for path, data in changes.items():
                target = os.path.join(TOP, path)
                if data is None:
                    os.remove(target)
                else:
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.replace(os.path.join(folder, path), target)


def main():
    release = patch_set.pinned_release()
    path = os.path.join(patch_set.CHECKOUTS, release)
    if not os.path.exists(path):
        raise Error("there is no checkout of %s: run `make checkout`" % release)
    repository = Repository(path, **CONFIGURATION)
    repository.check_clean()
    tip = repository.commit("HEAD")
    before, after = Checkout(repository, EXPORTED), Checkout(repository, tip)
    if before.edits != after.edits:
        raise Error(
            "BUILD, golden or release files were changed in %s; they are made anew each time, "
            "from build_edits, release_note.md and the signatures" % path
        )
    changes = merged(before.files(release), after.files(release), present_files(release))
    write(changes)
    repository.run("update-ref", EXPORTED, tip)
    for changed, data in changes.items():
        print("%-8s %s" % ("deleted" if data is None else "written", changed))
    print("%d files changed" % len(changes))


if __name__ == "__main__":
    patch_set.call(main)
