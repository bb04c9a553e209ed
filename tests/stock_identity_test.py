"""Tests that convolutions without groups compute what the official wheel computes.

Depthwise ones do so where they are left to the official kernels, and else but for rounding.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest


class StockIdentityTest(absltest.TestCase):
    def outputs(self, tensorflow, **variables):
        """Returns what dense_outputs.py writes with the TensorFlow of a folder."""
        folder = self.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "outputs.npz")
        program = pathlib.Path(__file__).parent / "dense_outputs.py"
        subprocess.check_call(
            [sys.executable, "-W", "ignore", program, path],
            env=dict(os.environ, PYTHONPATH=tensorflow, **variables),
        )
        return dict(self.enter_context(np.load(path)))

    def test_bits_are_those_of_the_official_wheel(self):
        official = self.outputs(os.environ["OFFICIAL"])
        self.assertGreater(len(official), 500)
        self.assertTrue(all(np.isfinite(value).all() for value in official.values()))
        rebuilt = self.outputs(os.environ["INSTALLED"], TF_GROUPED_CONV_DEPTHWISE="0")
        self.assertEqual(rebuilt.keys(), official.keys())
        self.assertEqual(self.different(official, rebuilt), [])
        rebuilt = self.outputs(os.environ["INSTALLED"])
        different = self.different(official, rebuilt)
        self.assertNotEmpty([name for name in different if "depthwise" in name])
        for name in different:
            # A model has a separable layer.
            self.assertRegex(name, "depthwise|separable|predicted|loss|trained")
            exact, value = (np.asarray(o[name], np.float64) for o in (official, rebuilt))
            tolerance = 3e-2 if official[name].dtype == np.float16 else 1e-3
            np.testing.assert_allclose(
                value, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max()
            )

    def different(self, official, rebuilt):
        """Returns the names of what has not the same bits."""
        return [
            name
            for name, value in official.items()
            if rebuilt[name].dtype != value.dtype
            or rebuilt[name].shape != value.shape
            or rebuilt[name].tobytes() != value.tobytes()
        ]


if __name__ == "__main__":
    absltest.main()
