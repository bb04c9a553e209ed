"""The patches and the overlay of a release, as commits on a tree and as files.

What `make checkout`, `refresh`, `verify`, `rebase` and `pr` and ci/apply.sh have
in common. Commits are made in a scratch repository with an index of its own, so
that no work tree sees anything before all of it is there; they depend on their
parent, the patches and the overlay alone, so that the same commits come out
everywhere.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "build_defs"))
from apply_patches import PatchError, changed_files, failed_hunks, read_series  # noqa: E402

PATCHES = os.path.join(TOP, "patches")
OVERLAY = os.path.join(TOP, "tensorflow_overlay")
# Of checkouts: the commit that they start from, and the last that patches/ has.
BASE, EXPORTED = "refs/tags/base", "refs/patch_set/exported"
CHECKOUTS = os.path.join(TOP, "build", "checkout")

# The packages that there are patches for, and the variables that choose a version.
CHOICE = {"tensorflow": "TF", "keras": "KERAS"}

# Trees that a patch may apply to, by the names in its Applies-To field: a
# checkout of TensorFlow's sources, or the Python files of an official wheel.
SOURCE, WHEEL = "source", "wheel"

AUTHOR = ("TensorFlow Grouped Convolution", "grouped-convolution@users.noreply")
OVERLAY_DATE = "2026-11-23T00:00:00Z"
OVERLAY_MESSAGE = """\
Run grouped convolutions on the CPU

TensorFlow's CPU kernels refuse grouped convolutions, and one of their gradients
computes garbage.  These kernels register above them for the same ops and hand
convolutions of one group back.
"""

HEADER_FIELDS = ("Forwarded", "Drop-When", "Applies-To")


class Error(Exception):
    """What went wrong, for the user."""


# Programs and files.


def run(command, accept=(0,), **environment):
    """Runs a program and returns what it prints; its messages go to the user."""
    result = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        universal_newlines=True,
        env=dict(os.environ, **environment),
    )
    if result.returncode not in accept:
        raise Error("%s failed" % os.path.basename(command[0]))
    return result.stdout.strip()


def npm_tool(name):
    """Returns the path of a program that ci/package-lock.json pins."""
    return run([os.path.join(TOP, "ci", "npm_tools"), name])


def lint_tool(name):
    """Returns the path of a program that ci/lint_requirements.txt pins."""
    return run([os.path.join(TOP, "ci", "lint_tools"), name])


def write_file(path, data):
    """Writes a file, and the folders that it is in."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as stream:
        stream.write(data)


def replace_folder(new, old):
    """Moves a folder to the place of another on the same file system, which goes away."""
    with tempfile.TemporaryDirectory(dir=os.path.dirname(old)) as folder, undisturbed():
        if os.path.exists(old):
            os.rename(old, os.path.join(folder, "old"))
        os.rename(new, old)


# Releases, by the names of their folders below patches/, such as tensorflow-2.2.3.


def releases():
    """Returns the releases that there are patches for."""
    return sorted(name for name in os.listdir(PATCHES) if package(name) in CHOICE)


def package(release):
    """Returns the Python package that a release is of."""
    return release.partition("-")[0]


def chosen_by(release):
    """Returns the environment variables with which the programs in ci/ choose a release."""
    name, _, version = release.partition("-")
    return dict(dict.fromkeys(CHOICE.values(), ""), **{CHOICE[name]: version})


def pinned_release(**environment):
    """Returns the pinned release that KERAS, or DIST, TF and PYTHON_VERSION, choose."""
    repository = run([os.path.join(TOP, "ci", "pinned_release")], **environment)
    name, version = re.match(r"([a-z]+).*?((?:_\d+)+)", repository).groups()
    return name + "-" + version[1:].replace("_", ".")


def release_file(release, name):
    """Returns the text of a file that every release has beside its patches."""
    path = os.path.join(PATCHES, release, name)
    if not os.path.exists(path):
        raise Error("there is no %s" % os.path.relpath(path, TOP))
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def official_wheel(release):
    """Returns the path of a pinned release's official wheel, fetching it if need be."""
    return run([os.path.join(TOP, "ci", "official_wheel")], **chosen_by(release))


# Patches and overlay files.


def all_patches(release):
    """Returns the paths of a release's patches, in order."""
    series = os.path.join(PATCHES, release, "series")
    return read_series(series) if os.path.exists(series) else []


def patches_of(release, form):
    """Returns the paths of a release's patches that apply to a form of its tree."""
    return [patch for patch in all_patches(release) if form in applies_to(patch)]


def subject(patch):
    """Returns the first line of a patch's message."""
    with open(patch, encoding="utf-8") as stream:
        line = re.search(r"^Subject: (?:\[.*?\] )?(.*(?:\n[ \t].*)*)", stream.read(), re.MULTILINE)
    return re.sub(r"\s+", " ", line.group(1))


def header_field(patch, name):
    """Returns the text of a field in a patch's message, or None."""
    with open(patch, encoding="utf-8") as stream:
        message = stream.read().partition("\ndiff --git ")[0]
    match = re.search(r"^%s: (.*(?:\n[ \t]+\S.*)*)" % name, message, re.MULTILINE)
    return re.sub(r"\s+", " ", match.group(1)).strip() if match else None


def applies_to(patch):
    """Returns the forms of the tree that a patch applies to."""
    forms = re.split(r",\s*", header_field(patch, "Applies-To") or "")
    if not set(forms) <= {SOURCE, WHEEL}:
        raise Error("%s: Applies-To is not of %s, %s" % (os.path.basename(patch), SOURCE, WHEEL))
    return forms


def overlay_files(release):
    """Returns the paths of all overlay files that a release has, as they are in its tree."""
    paths = []
    for folder, folders, names in os.walk(os.path.join(OVERLAY, package(release))):
        # Not what Python and linters leave there.
        folders[:] = [name for name in folders if name != "__pycache__" and name[0] != "."]
        paths += [os.path.relpath(os.path.join(folder, name), OVERLAY) for name in names]
    return sorted(paths)


# Repositories.


class Repository:
    """A git repository."""

    def __init__(self, path, **environment):
        self.path = path
        self.environment = dict(os.environ, LC_ALL="C", **environment)
        # Which a git that called us has set, for a repository of its own.
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
            self.environment.pop(name, None)

    def run(self, *arguments, stdin=b"", accept=(0,), **environment):
        """Runs git and returns its output, as bytes."""
        try:
            result = subprocess.run(
                ("git", "-C", self.path) + arguments,
                input=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.environment, **environment),
            )
        except FileNotFoundError:
            raise Error("git is not on PATH") from None
        if result.returncode not in accept:
            messages = (result.stderr or result.stdout).decode("utf-8", "replace").strip()
            raise Error("git %s in %s:\n%s" % (" ".join(arguments[:3]), self.path, messages))
        return result.stdout

    def text(self, *arguments, **options):
        """Runs git and returns its output, as text."""
        return self.run(*arguments, **options).decode("utf-8", "surrogateescape").strip()

    def lines(self, *arguments, **options):
        """Runs git and returns the lines of its output."""
        return self.text(*arguments, **options).splitlines()

    def commit(self, revision):
        """Returns the name of a commit, or None."""
        return (
            self.text("rev-parse", "-q", "--verify", revision + "^{commit}", accept=(0, 1)) or None
        )

    def git_path(self, name):
        return os.path.join(self.path, self.text("rev-parse", "--git-path", name))

    def check_clean(self):
        """Raises Error if there is work in the work tree that a commit lacks."""
        for name in (
            "MERGE_HEAD",
            "CHERRY_PICK_HEAD",
            "REVERT_HEAD",
            "rebase-merge",
            "rebase-apply",
        ):
            if os.path.exists(self.git_path(name)):
                raise Error("%s is in the middle of a merge or rebase" % self.path)
        changes = self.lines("--no-optional-locks", "status", "--porcelain")
        if changes:
            raise Error("%s is not clean:\n%s" % (self.path, "\n".join(changes[:20])))

    def move(self, commit, *command):
        """Moves branch and clean work tree to a commit by a git command, or not at all."""
        start = self.commit("HEAD")
        added = self.lines("diff", "--name-only", "--diff-filter=A", start, commit)
        added = [os.path.join(self.path, path) for path in added]
        added = [path for path in added if not os.path.lexists(path)]
        with undisturbed():
            try:
                self.run("-c", "core.hooksPath=" + os.devnull, *command)
            except Error:
                self.run("reset", "-q", "--hard", start)
                for path in filter(os.path.lexists, added):
                    os.remove(path)
                raise

    def adopt(self, scratch, commits, base=None):
        """Copies commits and their ancestors, up to `base`, from a scratch repository."""
        revisions = "".join(commit + "\n" for commit in commits) + ("^%s\n" % base if base else "")
        pack = scratch.run(
            "pack-objects", "-q", "--window=0", "--revs", "--stdout", stdin=revisions.encode()
        )
        self.run("index-pack", "--stdin", stdin=pack)


@contextlib.contextmanager
def undisturbed():
    """Puts off Ctrl-C and the like until the end of a block of a second or less."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


@contextlib.contextmanager
def scratch_repository(origin=None):
    """A repository to make commits in, which goes away; it sees the objects of `origin`."""
    with tempfile.TemporaryDirectory(prefix="patch_set.") as folder:
        Repository(folder).run("init", "-q", "--bare", ".")
        if origin is not None:
            with open(os.path.join(folder, "objects", "info", "alternates"), "w") as stream:
                stream.write(os.path.abspath(origin.git_path("objects")) + "\n")
            if os.path.exists(origin.git_path("shallow")):
                shutil.copy(origin.git_path("shallow"), folder)
        yield Repository(folder)


class Stage:
    """A tree in the making: an index without a work tree, and the commit it stands on."""

    def __init__(self, scratch, commit=None):
        self.scratch = scratch
        self.head = commit
        self._index = os.path.join(tempfile.mkdtemp(dir=scratch.path), "index")
        self._run("read-tree", commit or "--empty")

    def _run(self, *arguments, **options):
        return self.scratch.run(*arguments, GIT_INDEX_FILE=self._index, **options)

    def modes(self):
        """Returns the modes of all files in the tree by their paths."""
        listing = self._run("ls-files", "-s", "-z").decode("utf-8", "surrogateescape")
        entries = [entry.split("\t") for entry in listing.split("\0") if entry]
        return {path: details.split()[0] for details, path in entries}

    def read(self, path):
        """Returns a file's bytes."""
        return self._run("cat-file", "blob", ":" + path)

    def text(self, path):
        """Returns a file's text."""
        return self.read(path).decode()

    def changed_since(self, stage):
        """Returns the paths of files that another stage has too, but not the same."""
        trees = [other._run("write-tree").decode().strip() for other in (stage, self)]
        return self.scratch.lines("diff-tree", "-r", "--name-only", "--diff-filter=M", *trees)

    def add(self, folder, paths):
        """Takes files from a folder into the tree, below the same paths."""
        files = [os.path.join(os.path.abspath(folder), path) for path in paths]
        blobs = self._run(
            "hash-object", "-w", "--no-filters", "--stdin-paths", stdin="\n".join(files).encode()
        )
        self.put(dict(zip(paths, blobs.decode().split())))

    def write(self, files):
        """Writes files, given by their paths and bytes, into the tree."""
        with tempfile.TemporaryDirectory() as folder:
            for path, data in files.items():
                write_file(os.path.join(folder, path), data)
            self.add(folder, list(files))

    def put(self, blobs):
        """Puts files into the tree, given the names of their blobs by their paths."""
        modes = self.modes()
        entries = [
            "%s %s\t%s\n" % (modes.get(path, "100644"), blob, path) for path, blob in blobs.items()
        ]
        self._run("update-index", "--index-info", stdin="".join(entries).encode())

    def apply(self, patch, exactly=False):
        """Applies a patch whole and without fuzz; `exactly`: without an offset either."""
        changed_files(patch)
        name = os.path.basename(patch)
        result = subprocess.run(
            ["git", "apply", "--cached", "--verbose", "--whitespace=nowarn", patch],
            cwd=self.scratch.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            env=dict(self.scratch.environment, GIT_INDEX_FILE=self._index),
        )
        if result.returncode != 0:
            hunks = "; ".join(failed_hunks(patch, result.stdout))
            raise Error("%s does not apply: %s\n%s" % (name, hunks, result.stdout))
        if exactly and "(offset " in result.stdout:
            raise Error("%s applies with an offset:\n%s" % (name, result.stdout))

    def commit(self, message, author=AUTHOR, date=OVERLAY_DATE):
        """Commits the tree as the child of the last commit and returns it."""
        tree = self._run("write-tree").decode().strip()
        parents = ("-p", self.head) if self.head else ()
        # The committer is the author, so that names of commits can be repeated.
        identity = {
            "GIT_%s_%s" % (role, key): value
            for role in ("AUTHOR", "COMMITTER")
            for key, value in (("NAME", author[0]), ("EMAIL", author[1]), ("DATE", date))
        }
        commit = self._run("commit-tree", tree, *parents, stdin=message.encode(), **identity)
        self.head = commit.decode().strip()
        return self.head

    def commit_patch(self, patch):
        """Commits the tree with the message, author and date of a patch."""
        message = os.path.join(self.scratch.path, "message")
        with open(patch, "rb") as stream:
            mail = self.scratch.text(
                "mailinfo", "--encoding=UTF-8", message, os.devnull, stdin=stream.read()
            )
        with open(message, "rb") as stream:
            body = self.scratch.text("stripspace", stdin=stream.read())
        fields = dict(line.split(": ", 1) for line in mail.splitlines())
        return self.commit(
            "%s\n\n%s\n" % (fields["Subject"], body),
            (fields["Author"], fields["Email"]),
            fields["Date"],
        )


def commit_wheel(scratch, release):
    """Commits the Python files of a release's official wheel, dated as the youngest of them."""
    wheel = official_wheel(release)
    stage = Stage(scratch)
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        entries = [
            entry
            for entry in archive.infolist()
            if entry.filename.startswith(package(release) + "/") and entry.filename.endswith(".py")
        ]
        archive.extractall(folder, entries)
        stage.add(folder, [entry.filename for entry in entries])
    name = os.path.basename(wheel)
    date = "%d-%02d-%02dT%02d:%02d:%02dZ" % max(entry.date_time for entry in entries)
    return stage.commit("Python files of %s\n" % name, date=date)


def commit_patches(scratch, base, release, form):
    """Commits a release's patches on a base; returns the last commit."""
    stage = Stage(scratch, base)
    for patch in patches_of(release, form):
        stage.apply(patch)
        stage.commit_patch(patch)
    return stage.head


def commit_overlay(scratch, patched, release):
    """Commits the overlay, if there is one, after the patches; returns the last commit."""
    stage = Stage(scratch, patched)
    paths = overlay_files(release)
    if not paths:
        return patched
    clashes = set(stage.modes()).intersection(paths)
    if clashes:
        raise Error("the tree has files of the overlay's already: %s" % ", ".join(sorted(clashes)))
    stage.add(OVERLAY, paths)
    return stage.commit(OVERLAY_MESSAGE)


def commit_patch_set(scratch, base, release, form):
    """Commits a release's patches and then the overlay on a base; returns the last commit."""
    return commit_overlay(scratch, commit_patches(scratch, base, release, form), release)


def call(main):
    """Calls a program's main function; its errors become messages."""
    # A program that is told to end cleans up, as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    name = os.path.relpath(sys.argv[0], TOP)
    try:
        main()
    except (Error, PatchError) as error:
        sys.exit("%s: %s" % (name, error))
    except KeyboardInterrupt:
        sys.exit("%s: interrupted; nothing has changed" % name)
