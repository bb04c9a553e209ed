"""Tests of builds that share a cache with other machines, against real servers.

Each build is one of another machine: in another folder, for another user, with
an output root of its own.
"""

import contextlib
import hashlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from absl.testing import absltest
from workspace import COMPILED, SOURCE, Workspace, make_variables

OFFICIAL = pathlib.Path(os.environ["OFFICIAL_NAME"]).resolve().parent
CHOICE = make_variables(os.environ["OFFICIAL_NAME"])
REBUILT_NAME = pathlib.Path(os.environ["REBUILT_NAME"]).read_text().strip()

KERNELS = "tensorflow/core/kernels/grouped_conv"

NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
NGINX_CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/incoming;
  client_max_body_size 0;
  server {{
    listen 127.0.0.1:{port};
    root {folder}/kept;
    location / {{
      dav_methods PUT;
      create_full_put_path on;
    }}
  }}
}}
"""

BUILDGRID = shutil.which("bgd", path="%s/build/buildgrid/bin:%s" % (SOURCE, os.environ["PATH"]))
BUILDGRID_CONFIGURATION = """
server:
  - !channel
    address: 127.0.0.1:{port}
    insecure-mode: true
authorization:
  method: none
monitoring:
  enabled: false
storages:
  - !disk-storage &storage
    path: {folder}/kept
caches:
  - !lru-action-cache &results
    storage: *storage
    max-cached-refs: 10000
    allow-updates: true
instances:
  - name: ""
    services:
      - !action-cache
        cache: *results
      - !cas
        storage: *storage
      - !bytestream
        storage: *storage
thread-pool-size: 20
"""


def sha256(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()


class Server:
    """A cache on loopback.

    Attributes:
      address: as Bazel's --remote_cache takes it.
    """

    def __init__(self, test, scheme, configuration, *command):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        test.addCleanup(shutil.rmtree, self.folder)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = "%s://127.0.0.1:%d" % (scheme, self.port)
        self.configuration = self.folder / "configuration.yml"
        self.configuration.write_text(configuration.format(folder=self.folder, port=self.port))
        (self.folder / "kept").mkdir()
        self.command = [*command, str(self.configuration)]
        self.process = None
        test.addCleanup(self.stop)
        self.start()

    def start(self):
        with (self.folder / "log").open("a") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)
        for _ in range(1800):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError("no server: " + (self.folder / "log").read_text())

    def stop(self):
        """Ends it at once, as a machine does that loses its power."""
        self.process.kill()
        self.process.wait()

    def stop_after(self, files):
        """Stops it when it holds so many files; returns the thread that does."""

        def watch():
            while len(self.kept()) < files and self.process.poll() is None:
                time.sleep(0.05)
            self.stop()

        thread = threading.Thread(target=watch)
        thread.start()
        return thread

    def kept(self):
        return [path for path in (self.folder / "kept").rglob("*") if path.is_file()]

    def falsify(self):
        """Changes a byte in the largest file that it keeps."""
        largest = max(self.kept(), key=lambda path: path.stat().st_size)
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)


# What a machine compiles for itself, of each kind: with no header of TensorFlow's, and
# with them.
COMPILED_ANEW = rb"/_objs/[^/]+/(geometry|scratch|register_when_loaded)[./]"


def put_compiled(kept):
    """Puts into an HTTP cache what compiles for minutes, if it is there."""
    for folder in "ac", "cas":
        (kept / folder).mkdir(exist_ok=True)
    for result in COMPILED.glob("ac_*"):
        data = result.read_bytes()
        if b"/_objs/" in data and not re.search(COMPILED_ANEW, data):
            shutil.copy(result, kept / "ac" / result.name[len("ac_") :])
            for digest in re.findall(r"[0-9a-f]{64}", data.decode(errors="ignore")):
                if (COMPILED / digest).exists():
                    shutil.copy(COMPILED / digest, kept / "cas")


class SharedBuildTest(absltest.TestCase):
    def machine(self, server):
        """Returns a workspace of one more machine, whose builds use the server."""
        workspace = Workspace(self)
        workspace.use_bazel(
            self,
            "--override_repository=%s=%s" % (OFFICIAL.name, OFFICIAL),
            "--config=remote-cache",
            "--remote_cache=" + server.address,
        )
        return workspace

    def run_in(self, workspace, *command):
        """Runs a command in a workspace as a user with a PATH of their own."""
        path = "%s/bin:%s" % (workspace.folder.parent, os.environ["PATH"])
        return workspace.run(*command, USER=workspace.folder.parent.name, PATH=path, **CHOICE)

    def make_wheel(self, workspace):
        """Runs `make wheel`, which has to make the right wheel or none."""
        status, printed = self.run_in(workspace, "make", "wheel")
        if status == 0:
            self.assertEqual(workspace.made(), [REBUILT_NAME])
            made = sha256(workspace.dist / REBUILT_NAME)
            self.assertEqual(made, sha256(os.environ["REBUILT_WHEEL"]))
        else:
            self.assertEmpty(workspace.made())
        return status, printed

    def build_small(self, workspace):
        """Builds a program of some files; returns its hash and what is printed."""
        target = "@%s//%s:geometry_test" % (OFFICIAL.name[len("stock_") :], KERNELS)
        status, printed = self.run_in(workspace, "ci/bazel", "build", target)
        self.assertEqual(status, 0, printed)
        built = workspace.folder / "bazel-bin/external" / target[1:].replace("//", "/")
        return sha256(str(built).replace(":", "/")), printed

    def assert_compiled_nothing(self, printed):
        processes = re.search(r"INFO: \d+ processes: (.*)\.\n", printed).group(1)
        counts = {kind: int(count) for count, kind in re.findall(r"(\d+) ([^,]*)", processes)}
        # The others patch files, write the bill of materials and pack the wheel,
        # on the machine itself.
        self.assertGreater(counts.pop("remote cache hit"), 3)
        here = 3 if "Packing the rebuilt wheel" in printed else 0
        self.assertEqual(sum(counts.values()), here)

    def check_what_it_has(self, server):
        """Checks with a small build that a cache serves the next machine, and when it lies."""
        with self.subTest("has what the next machine needs"):
            built, _ = self.build_small(self.machine(server))
            again, printed = self.build_small(self.machine(server))
            self.assertEqual(built, again)
            self.assert_compiled_nothing(printed)
        with self.subTest("lies"):
            server.falsify()
            again, printed = self.build_small(self.machine(server))
            self.assertEqual(built, again)
            self.assertIn("did not match the received hash", printed)

    @unittest.skipUnless(NGINX, "there is no nginx: see ci/test_servers")
    def test_plain_http_cache(self):
        server = Server(self, "http", NGINX_CONFIGURATION, NGINX, "-e", "errors", "-c")
        self.check_what_it_has(server)
        with self.subTest("has what the next wheel needs"):
            put_compiled(server.folder / "kept")
            # The rest of the first wheel is compiled there, and gives the same bytes.
            for _ in range(2):
                status, printed = self.make_wheel(self.machine(server))
                self.assertEqual(status, 0, printed)
            self.assert_compiled_nothing(printed)
        server = Server(self, "http", NGINX_CONFIGURATION, NGINX, "-e", "errors", "-c")
        with self.subTest("goes away in the middle of a build"):
            watch = server.stop_after(files=3)
            built, printed = self.build_small(self.machine(server))
            server.stop()
            watch.join()
            self.assertRegex(printed, "WARNING: (Reading from|Writing to) Remote Cache")
            # What it was left with does no harm.
            server.start()
            self.assertEqual(self.build_small(self.machine(server))[0], built)

    @unittest.skipUnless(BUILDGRID, "there is no BuildGrid: see ci/test_servers")
    def test_remote_execution_api_cache(self):
        server = Server(self, "grpc", BUILDGRID_CONFIGURATION, BUILDGRID, "server", "start")
        self.check_what_it_has(server)
        with self.subTest("goes away in the middle of a build"):
            watch = server.stop_after(files=len(server.kept()) + 3)
            status, printed = self.make_wheel(self.machine(server))
            server.stop()
            watch.join()
            # Bazel 2.0.0 ends there.
            self.assertNotEqual(status, 0, printed)
            self.assertIn("no wheel was made", printed)
        with self.subTest("is not there"):
            status, printed = self.make_wheel(self.machine(server))
            self.assertNotEqual(status, 0)
            self.assertIn("Failed to query remote execution capabilities", printed)


if __name__ == "__main__":
    absltest.main()
