"""Checks patches/ and the overlay against the pinned releases: see docs/patches.md.

For each release: every patch applies without fuzz and offset, changes files
only, has a complete header, and adds nothing to what the linter finds in the
files; no overlay file is in the release; every Python file of the overlay has a BUILD
target in one release at least, as not all are for all.
"""

import collections
import json
import os
import re
import tempfile
import zipfile

import patch_set
import source_tree
from patch_set import WHEEL, Error, PatchError, Stage

FORWARDED = re.compile(r"(no|not-needed|yes)\b")


def header_problems(patch):
    """Yields what a patch's message lacks."""
    with open(patch, encoding="utf-8") as stream:
        message = stream.read().partition("\ndiff --git ")[0]
    body = message.partition("\n\n")[2]
    if re.match(r"(%s): " % "|".join(patch_set.HEADER_FIELDS), body):
        yield "does not say why it exists"
    for field in patch_set.HEADER_FIELDS:
        if not patch_set.header_field(patch, field):
            yield "has no field %s" % field
    forwarded = patch_set.header_field(patch, "Forwarded")
    if forwarded and not FORWARDED.match(forwarded):
        yield "is forwarded neither yes, no nor not-needed: %s" % forwarded


def lint(folder):
    """Returns how often the linter finds what in the files below a folder.

    By file, rule and text of the line, since numbers of lines change.
    """
    configuration = os.path.join(patch_set.OVERLAY, "ruff.toml")
    command = [patch_set.lint_tool("ruff"), "check", "--no-cache", "--exit-zero", "--quiet"]
    command += ["--config", configuration, "--output-format", "json", folder]
    found = collections.Counter()
    for finding in json.loads(patch_set.run(command)):
        with open(finding["filename"], encoding="utf-8") as stream:
            line = stream.read().splitlines()[finding["location"]["row"] - 1]
        # Which TensorFlow's style lets be long, and ruff cannot.
        if finding["code"] == "E501" and line.startswith(("import ", "from ")):
            continue
        path = os.path.relpath(finding["filename"], os.path.realpath(folder))
        found[path, finding["code"], finding["message"], line.strip()] += 1
    return found


def lint_problems(before, after, paths):
    """Yields what the linter finds in files of one stage and not in those of another."""
    found = []
    for stage in (before, after):
        with tempfile.TemporaryDirectory() as folder:
            for path in paths:
                patch_set.write_file(os.path.join(folder, path), stage.read(path))
            found.append(lint(folder))
    for path, code, message, line in sorted(found[1] - found[0]):
        yield "%s: %s %s, in: %s" % (path, code, message, line)


def patch_problems(release, wheel, scratch):
    """Yields what is wrong with a release's patches."""
    patches = patch_set.all_patches(release)
    for patch in patches:
        for problem in header_problems(patch):
            yield "%s %s" % (os.path.basename(patch), problem)
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        paths = {path for patch in patches for path in patch_set.changed_files(patch)}
        paths = sorted(paths.intersection(archive.namelist()))
        archive.extractall(folder, paths)
        stage = Stage(scratch)
        stage.add(folder, paths)
    before = Stage(scratch, stage.commit("base\n"))
    for patch in patch_set.patches_of(release, WHEEL):
        stage.apply(patch, exactly=True)
    yield from lint_problems(before, stage, paths)


def overlay_problems(release, wheel):
    """Yields what is wrong with the overlay on a release of TensorFlow."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    overlay = patch_set.overlay_files(release)
    for path in overlay:
        # The wheel has headers in a folder of their own.
        header = path.replace("tensorflow/", "tensorflow/include/tensorflow/", 1)
        if names.intersection((path, header)):
            yield "tensorflow_overlay/%s: the release has that file" % path
    for path in sorted(source_tree.python_sources(release).difference(overlay)):
        yield "build_edits make a target for %s, which is not in the overlay" % path


def target_problems(releases):
    """Yields which Python files of the overlay have no target in any of the releases."""
    sources = {path for path in patch_set.overlay_files(releases[0]) if path.endswith(".py")}
    for path in sorted(sources.difference(*map(source_tree.python_sources, releases))):
        yield "no build_edits make a target for tensorflow_overlay/%s" % path


def problems(release):
    """Yields what is wrong with the patches and the overlay of a release."""
    try:
        wheel = patch_set.official_wheel(release)
        with patch_set.scratch_repository() as scratch:
            yield from patch_problems(release, wheel, scratch)
        if patch_set.package(release) == "tensorflow":
            yield from overlay_problems(release, wheel)
    except (Error, PatchError) as error:
        yield str(error)


def main():
    releases = patch_set.releases()
    found = {
        "%s: %d patches" % (release, len(patch_set.all_patches(release))): problems(release)
        for release in releases
    }
    of_tensorflow = [name for name in releases if patch_set.package(name) == "tensorflow"]
    if of_tensorflow:
        found["Python files of the overlay"] = target_problems(of_tensorflow)
    count = 0
    for title, lines in found.items():
        print(title)
        for problem in lines:
            print("  " + problem)
            count += 1
    if count:
        raise Error("%d problems" % count)
    print("No problems")


if __name__ == "__main__":
    patch_set.call(main)
