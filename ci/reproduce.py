"""Rebuilds a wheel that `make wheel` made and says whether it is the same: see docs/builds.md.

Nothing that was built before has a part in it, on this machine or in a cache:
all is fetched, compiled and packed anew.
"""

import argparse
import contextlib
import email
import hashlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
import zlib

import patch_set
from patch_set import Error

BAZEL = os.path.join(patch_set.TOP, "ci", "bazel")

# What reading a damaged entry of an archive raises.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError)


def dist_info(archive, name):
    """Returns the text of a file in a wheel's dist-info folder; none if it cannot be read."""
    for path in archive.namelist():
        if re.match(r"[^/]+\.dist-info/%s$" % name, path):
            with contextlib.suppress(*DAMAGED):
                return archive.read(path).decode(errors="replace")
    return ""


def release_of(archive):
    """Returns how ci/pinned_release is asked for what a wheel was made of."""
    metadata = email.message_from_string(dist_info(archive, "METADATA"))
    wheel = email.message_from_string(dist_info(archive, "WHEEL"))
    version = re.match(r"(.+)\+", metadata["Version"] or "")
    python = re.match(r"cp(\d)(\d+)-", wheel["Tag"] or "")
    machine = re.search(r"_(x86_64|[a-z0-9]+)$", wheel["Tag"] or "")
    if version and metadata["Name"] == "keras":
        return [], {"KERAS": version.group(1)}
    if wheel["Generator"] == "pack_plugin" and machine:
        # Of all releases, or of the one that it says.
        return ["--plugin"], {
            "ARCH": machine.group(1),
            "TF": (metadata["Version"] + "+").split("+")[1].partition(".")[2],
        }
    if version and python:
        return [], {
            "KERAS": "",
            "DIST": metadata["Name"].replace("_", "-"),
            "TF": version.group(1),
            "PYTHON_VERSION": ".".join(python.groups()),
        }
    raise Error(
        "not a wheel that was rebuilt: it says Version %s, Tag %s"
        % (metadata["Version"], wheel["Tag"])
    )


def compilers(archive):
    """Returns what a wheel's bill of materials says of compilers."""
    text = dist_info(archive, r"sboms/[^/]+\.cdx\.json")
    found = re.findall(r'"name": "build:compiler",\s+"value": "(.*)"', text)
    return ", ".join(found) or "not known"


@contextlib.contextmanager
def rebuilt(target, options):
    """Builds a wheel, a target, from nothing, with options of Bazel's; gives its path."""
    build = os.path.join(patch_set.TOP, "build")
    os.makedirs(build, exist_ok=True)
    output_root = tempfile.mkdtemp(dir=build, prefix="reproduce-")
    bazel = [BAZEL, "--output_user_root=" + output_root]
    try:
        result = subprocess.run(
            bazel
            + ["build", "--remote_cache=", "--remote_executor=", "--disk_cache=", *options]
            + ["--symlink_prefix=/", target]
        )
        if result.returncode != 0:
            raise Error("the wheel could not be rebuilt, see above")
        folder = patch_set.run(bazel + ["info", *options, "bazel-bin"])
        yield os.path.join(folder, "external", target[1:].replace(":", "/") + ".whl")
    finally:
        # Ends the server too, and makes all that it wrote writable.
        subprocess.run(bazel + ["clean", "--expunge"], stderr=subprocess.DEVNULL)
        shutil.rmtree(output_root, ignore_errors=True)


def sha256(stream):
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def entries(archive):
    """Returns what an archive holds under each path."""
    found = {}
    for info in archive.infolist():
        try:
            with archive.open(info) as stream:
                content = sha256(stream)
        except DAMAGED as error:
            content = str(error)
        what = (content, info.external_attr, info.date_time, info.compress_type)
        found.setdefault(info.filename, []).append(what)
    return found


def differences(given, made):
    """Yields a line for each entry in which two archives differ."""
    given, made = entries(given), entries(made)
    for path in sorted(given.keys() | made.keys()):
        if path not in made:
            yield "only in the wheel given:   " + path
        elif path not in given:
            yield "only in the wheel rebuilt: " + path
        elif len(given[path]) != len(made[path]):
            yield "%d times, not %d:           %s" % (len(given[path]), len(made[path]), path)
        elif [what[0] for what in given[path]] != [what[0] for what in made[path]]:
            yield "another content:           " + path
        elif given[path] != made[path]:
            yield "another mode or date:      " + path


def main():
    parser = argparse.ArgumentParser(prog="make reproduce", description=__doc__)
    parser.add_argument("wheel", help="wheel that `make wheel` made")
    wheel = parser.parse_args().wheel
    if not os.path.isfile(wheel):
        raise Error("there is no file %s; say WHEEL=<file>" % (wheel or "named"))
    with contextlib.ExitStack() as stack:
        try:
            given = stack.enter_context(zipfile.ZipFile(wheel))
        except zipfile.BadZipFile as error:
            raise Error("%s is no wheel: %s" % (wheel, error)) from None
        options, choice = release_of(given)
        pinned = os.path.join(patch_set.TOP, "ci", "pinned_release")
        name = patch_set.run([pinned] + options, **choice)
        target = name if options else "@%s//:wheel" % name
        foreign = choice.get("ARCH", platform.machine()) != platform.machine()
        config = ["--config=" + choice["ARCH"]] if foreign else []
        path = stack.enter_context(rebuilt(target, config))
        with open(wheel, "rb") as one, open(path, "rb") as other:
            hashes = sha256(one), sha256(other)
        if hashes[0] == hashes[1]:
            print("identical: %s, sha256 %s" % (wheel, hashes[0]))
            return
        made = stack.enter_context(zipfile.ZipFile(path))
        lines = list(differences(given, made)) or ["nothing that is in it, but in how it is packed"]
        built_by = compilers(given), compilers(made)
        if built_by[0] != built_by[1]:
            lines.append("the compiler: %s, here %s" % built_by)
    raise Error("%s differs from what is built here:\n  %s" % (wheel, "\n  ".join(lines)))


if __name__ == "__main__":
    patch_set.call(main)
