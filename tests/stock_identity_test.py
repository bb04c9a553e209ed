"""Tests that convolutions without groups compute what the official wheel computes."""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest


class StockIdentityTest(absltest.TestCase):
    def outputs(self, tensorflow):
        """Returns what dense_outputs.py writes with the TensorFlow of a folder."""
        folder = self.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "outputs.npz")
        program = pathlib.Path(__file__).parent / "dense_outputs.py"
        subprocess.check_call(
            [sys.executable, "-W", "ignore", program, path],
            env=dict(os.environ, PYTHONPATH=tensorflow),
        )
        return dict(self.enter_context(np.load(path)))

    def test_bits_are_those_of_the_official_wheel(self):
        official = self.outputs(os.environ["OFFICIAL"])
        rebuilt = self.outputs(os.environ["INSTALLED"])
        self.assertGreater(len(official), 500)
        self.assertEqual(rebuilt.keys(), official.keys())
        self.assertTrue(all(np.isfinite(value).all() for value in official.values()))
        different = [
            name
            for name, value in official.items()
            if rebuilt[name].dtype != value.dtype
            or rebuilt[name].shape != value.shape
            or rebuilt[name].tobytes() != value.tobytes()
        ]
        self.assertEqual(different, [])


if __name__ == "__main__":
    absltest.main()
