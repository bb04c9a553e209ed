"""What a TensorFlow source tree needs beyond patches and overlay.

Its wheel has none of these files: BUILD files, which take buildozer commands
(they survive changes around them, as a patch would not); the API golden files,
which record the signatures that the patches change; and RELEASE.md.
"""

import ast
import os
import re
import tempfile

import patch_set
from patch_set import Error, Repository, Stage

VERSION_HEADER = "tensorflow/core/public/version.h"
GOLDEN_FILES = "tensorflow/tools/api/golden"
MESSAGE = """\
Build, record and announce grouped convolution

The kernels become a part of the stock convolution kernels, the tests get their
targets, and the API golden files the new signatures.

Patch-Set: %s
Patch-Base: %s
"""


def version(repository, commit):
    """Returns the version of TensorFlow whose sources a commit holds, or None."""
    header = repository.text("cat-file", "blob", commit + ":" + VERSION_HEADER, accept=(0, 128))
    parts = re.findall(r"#define TF_(?:MAJOR|MINOR|PATCH)_VERSION (\d+)", header)
    return ".".join(parts) if len(parts) == 3 else None


def known_release(repository, commit):
    """Returns the release, of those in patches/, whose sources a commit holds."""
    found = version(repository, commit)
    if found is None:
        raise Error("%s is not a TensorFlow source tree: no %s" % (repository.path, VERSION_HEADER))
    release = "tensorflow-" + found
    if release not in patch_set.releases():
        raise Error(
            "%s is TensorFlow %s; there are patches for %s"
            % (repository.path, found, ", ".join(patch_set.releases()))
        )
    return release


def base_of(repository, commit):
    """Returns the commit that a patch set was applied to, given its last; else None."""
    message = repository.text("log", "-1", "--format=%B", commit)
    match = re.search(r"^Patch-Set: .+\nPatch-Base: ([0-9a-f]{40,})$", message, re.MULTILINE)
    return match and match.group(1)


def applied_commit(repository):
    """Returns the last commit of the patch set that HEAD contains, or None."""
    for commit in repository.lines("log", "--format=%H", "--fixed-strings", "--grep=Patch-Base: "):
        if base_of(repository, commit):
            return commit
    return None


def unpatched(clone):
    """Returns the commit that a clone is at and its release; there must be no patch set yet."""
    if applied_commit(clone):
        raise Error("the patch set is applied to %s: ci/apply.sh --reverse it" % clone.path)
    base = clone.commit("HEAD")
    return base, known_release(clone, base)


def commit_source(scratch, base, release):
    """Commits patches, overlay and these edits on a base; returns the last commit."""
    tip = patch_set.commit_patch_set(scratch, base, release, patch_set.SOURCE)
    return commit_edits(scratch, base, tip, release)


def commit_edits(scratch, base, tip, release):
    """Commits these edits, given the trees before and after the patches; returns the commit."""
    stage = Stage(scratch, tip)
    stage.write(build_files(stage, release))
    stage.write(golden_files(stage, Stage(scratch, base)))
    stage.write(release_notes(stage, release))
    return stage.commit(MESSAGE % (release, base))


# BUILD files.


def build_commands(release):
    """Returns a release's buildozer commands, each with the target that it changes."""
    lines = [line.strip() for line in patch_set.release_file(release, "build_edits").splitlines()]
    return [tuple(line.rsplit("|", 1)) for line in lines if line and not line.startswith("#")]


def python_sources(release):
    """Returns the paths of the Python files that a release's commands make targets for."""
    return {
        os.path.join(os.path.dirname(build_file(label)), command.split()[-1])
        for command, label in build_commands(release)
        if command.startswith("set srcs ")
    }


def build_file(label):
    """Returns the path of the BUILD file that a label is in."""
    return label[2:].partition(":")[0] + "/BUILD"


def build_files(stage, release):
    """Returns the BUILD files that a release's commands change, changed."""
    commands = build_commands(release)
    buildozer = patch_set.npm_tool("buildozer")
    paths = sorted({build_file(label) for _, label in commands})
    missing = set(paths) - set(stage.modes())
    if missing:
        raise Error("the tree has no %s" % ", ".join(sorted(missing)))
    with tempfile.TemporaryDirectory() as top:
        trees = {name: os.path.join(top, name) for name in ("original", "formatted", "edited")}
        for tree in trees.values():
            for path in paths:
                patch_set.write_file(os.path.join(tree, path), stage.read(path))
            patch_set.write_file(os.path.join(tree, "WORKSPACE"), b"")

        def run(tree, lines):
            patch_set.write_file(os.path.join(top, "commands"), "\n".join(lines).encode())
            # 3: nothing changed.
            patch_set.run(
                [buildozer, "-quiet", "-root_dir", tree, "-f", os.path.join(top, "commands")],
                accept=(0, 3),
            )

        # buildozer formats the whole of each file.  What it would change in any
        # case is merged away, to leave what the commands ask for; but where both
        # meet, its format stays.
        run(trees["formatted"], ["format|//%s:__pkg__" % os.path.dirname(path) for path in paths])
        run(trees["edited"], ["|".join(command) for command in commands])
        return {
            path: Repository(top).run(
                "merge-file", "-p", "--theirs", *(os.path.join(trees[name], path) for name in trees)
            )
            for path in paths
        }


# API golden files.


def golden_files(new, old):
    """Returns the golden files that record signatures that changed, with the new ones."""
    edited = {}
    paths = new.modes()
    for path in sorted(new.changed_since(old)):
        if not path.endswith(".py"):
            continue
        before, after = signatures(old.text(path)), signatures(new.text(path))
        for key in sorted(set(before) & set(after)):
            if before[key] == after[key]:
                continue
            api, symbol, member = key
            golden = "%s/%s/%s.pbtxt" % (GOLDEN_FILES, api, golden_name(symbol))
            if golden not in paths:
                raise Error("%s changes %s.%s, but there is no %s" % (path, symbol, member, golden))
            text = edited[golden].decode() if golden in edited else new.text(golden)
            entry = 'name: "%s"\n    argspec: "%s"\n'
            old_entry, new_entry = (
                entry % (member, spec.replace("'", "\\'")) for spec in (before[key], after[key])
            )
            if text.count(old_entry) != 1:
                raise Error("%s does not record %s of %s as it is" % (golden, member, symbol))
            edited[golden] = text.replace(old_entry, new_entry).encode()
    return edited


def golden_name(symbol):
    """Returns the name of the golden file of an API symbol."""
    return re.sub("([A-Z])", r"-\1", "tensorflow." + symbol).lower()


def signatures(source):
    """Returns the signatures that a module exports, in the words of golden files.

    By API version ("v1" or "v2"), symbol of the class or module, and name of the
    method or function.
    """
    found = {}
    nodes = {
        node.name: node
        for node in ast.parse(source).body
        if isinstance(node, (ast.ClassDef, ast.FunctionDef))
    }
    for node in nodes.values():
        for api, symbol in exports(node):
            if isinstance(node, ast.ClassDef):
                for method in methods(node, nodes):
                    found[api, symbol, method.name] = argspec(method)
            else:
                module, _, name = symbol.rpartition(".")
                found[api, module, name] = argspec(node)
    return found


def exports(node):
    """Returns the names under which tf_export or keras_export exports a definition."""
    names = []
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Name):
            continue
        if decorator.func.id not in ("tf_export", "keras_export"):
            continue
        both = [ast.literal_eval(argument) for argument in decorator.args]
        v1 = [keyword.value for keyword in decorator.keywords if keyword.arg == "v1"]
        names += [("v2", name) for name in both]
        names += [("v1", name) for name in (ast.literal_eval(v1[0]) if v1 else both)]
    return names


def methods(node, classes):
    """Returns the public methods of a class, with those of its bases in the same module."""
    found = {}
    for base in node.bases:
        if isinstance(base, ast.Name) and isinstance(classes.get(base.id), ast.ClassDef):
            found.update({method.name: method for method in methods(classes[base.id], classes)})
    for member in node.body:
        if isinstance(member, ast.FunctionDef):
            if member.name == "__init__" or not member.name.startswith("_"):
                found[member.name] = member
    return list(found.values())


def argspec(function):
    """Returns a function's signature as golden files have it."""
    arguments = function.args
    defaults = [default_text(default) for default in arguments.defaults]
    return "args=%s, varargs=%s, keywords=%s, defaults=%s" % (
        [argument.arg for argument in arguments.args],
        arguments.vararg.arg if arguments.vararg else None,
        arguments.kwarg.arg if arguments.kwarg else None,
        "%s, " % defaults if defaults else None,
    )


def default_text(node):
    """Returns a default value as str() gives it, or its source if it has to be run for that."""
    try:
        return str(ast.literal_eval(node))
    except ValueError:
        return ast.dump(node)


# RELEASE.md.


def release_notes(stage, release):
    """Returns RELEASE.md with a release's note, under the changes of its first release."""
    path, heading = "RELEASE.md", "## Bug Fixes and Other Changes"
    note = patch_set.release_file(release, "release_note.md")
    top, first, rest = re.split(r"(?m)^(# Release .*\n+)", stage.text(path), maxsplit=1)
    place = re.search("^%s\n+" % heading, rest.partition("\n# Release ")[0], re.MULTILINE)
    if place:
        rest = rest[: place.end()] + note + rest[place.end() :]
    else:
        rest = "%s\n\n%s\n%s" % (heading, note, rest)
    return {path: (top + first + rest).encode()}
