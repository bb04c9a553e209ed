"""Processes that each run one framework, of which one runs at a time."""

import collections
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

WORKERS = pathlib.Path(__file__).resolve().parent / "workers"

# Whose environment below build/bench, and which program of workers/ it runs with
# which first argument.
Peer = collections.namedtuple("Peer", "name environment program script")
Peer.__new__.__defaults__ = ("worker.py",)


class Failure(Exception):
    """What a worker could not do."""


class Slow(Failure):
    """What it did not do in time."""


class Worker:
    """A process that runs only while it is asked something.

    `top` is where the environments are, `logs` a folder for what it says, `patience`
    the seconds in which an answer must come.
    """

    def __init__(self, peer, threads, top, logs, variables=None, patience=600):
        self._peer = peer
        self._threads = threads
        self._python = top / peer.environment / "bin" / "python"
        self._log = logs / ("%s-%d.txt" % (peer.name, threads))
        self._environment = dict(
            os.environ,
            OMP_NUM_THREADS=str(threads),
            TF_CPP_MIN_LOG_LEVEL="2",
            **(variables or {}),
        )
        self._patience = patience
        self._process = None

    def start(self):
        """Starts the process if need be; returns what it says it runs."""
        if not self._python.exists():
            raise Failure("not installed")
        with open(self._log, "a") as errors:
            self._process = subprocess.Popen(
                [self._python, "-B", WORKERS / self._peer.script]
                + [self._peer.program, str(self._threads)],
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                universal_newlines=True,
                bufsize=1,
                preexec_fn=_end_with_parent,
            )
        version = self._answer()["version"]
        self._process.send_signal(signal.SIGSTOP)
        return version

    def ask(self, **request):
        """Returns the answer; raises Failure if there is none, or an error."""
        if self._process is None:
            self.start()
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
        except BrokenPipeError:
            pass  # It died; no answer will come.
        answer = self._answer()
        self._process.send_signal(signal.SIGSTOP)
        if "error" in answer:
            raise Failure(answer["error"])
        return answer

    def forget(self):
        """Frees the tensors of the problem asked last."""
        if self._process is not None:
            try:
                self.ask(forget=True)
            except Failure:
                pass  # It died, and holds nothing.

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _answer(self):
        start = time.monotonic()
        timer = threading.Timer(self._patience, self._process.kill)
        timer.start()
        line = self._process.stdout.readline()
        timer.cancel()
        if not line:
            self.stop()
            if time.monotonic() - start >= self._patience:
                raise Slow("no answer in %d s" % self._patience)
            raise Failure("its process ended without an answer; see its log")
        return json.loads(line)


def _end_with_parent():
    """However the parent ends: a stopped process would never see it go."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
