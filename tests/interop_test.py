"""Tests that models can be exchanged with a later stock TensorFlow, both ways.

In the environment, INSTALLED and PEER are the folders to import the rebuilt and
the stock TensorFlow from, PEER_ENVIRONMENT the pyvenv.cfg of the virtual
environment for the latter.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest


def run(tensorflow, python, command, folder):
    """Runs exchanged_models.py and returns what the models compute."""
    program = pathlib.Path(__file__).parent / "exchanged_models.py"
    subprocess.check_call(
        [python, "-W", "ignore", program, command, folder],
        env=dict(os.environ, PYTHONPATH=os.environ[tensorflow]),
    )
    with np.load(os.path.join(folder, command + ".npz")) as outputs:
        return dict(outputs)


def run_rebuilt(command, folder):
    return run("INSTALLED", sys.executable, command, folder)


def run_stock(command, folder):
    environment = pathlib.Path(os.environ["PEER_ENVIRONMENT"]).resolve().parent
    return run("PEER", environment / "bin" / "python", command, folder)


class InteropTest(absltest.TestCase):
    def exchange(self, run_source, run_target):
        folder = self.enter_context(tempfile.TemporaryDirectory())
        saved = run_source("save", folder)
        loaded = run_target("load", folder)
        self.assertLen(loaded, 5 * len(saved))
        for name, actual in loaded.items():
            expected = saved[name.split("/")[0] + "/saved"]
            with self.subTest(name):
                np.testing.assert_allclose(
                    actual, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max()
                )

    def test_stock_loads_what_the_rebuilt_wheel_saved(self):
        self.exchange(run_rebuilt, run_stock)

    def test_the_rebuilt_wheel_loads_what_stock_saved(self):
        self.exchange(run_stock, run_rebuilt)


if __name__ == "__main__":
    absltest.main()
