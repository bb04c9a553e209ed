"""Tests that models of a patched Keras 3 can be exchanged with other releases.

In the environment, PATCHED_KERAS and INSTALLED are the folders to import the patched
Keras and the rebuilt TensorFlow from, OFFICIAL that of the official TensorFlow, whose
environment has an official Keras; OLD that of a rebuilt TensorFlow that Keras is a part
of, and OLD_ENVIRONMENT the pyvenv.cfg of the virtual environment for it.
"""

import itertools
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest

MODELS = ("dense", "separable", "conv_1d", "conv_2d", "conv_3d")
TRANSPOSED = ("transposed_2d", "transposed_3d")
KERAS_3_SUFFIXES = (".keras", ".h5", ".weights.h5")


def run(folders, command, folder, python=sys.executable, **environment):
    """Runs exchanged_keras_models.py and returns what the models compute."""
    program = pathlib.Path(__file__).parent / "exchanged_keras_models.py"
    path = os.pathsep.join(os.environ[name] for name in folders)
    subprocess.check_call(
        [python, "-W", "ignore", program, command, folder],
        env=dict(os.environ, PYTHONPATH=path, **environment),
    )
    with np.load(os.path.join(folder, command + ".npz")) as outputs:
        return dict(outputs)


def run_patched(command, folder):
    return run(["PATCHED_KERAS", "INSTALLED"], command, folder)


def run_official(command, folder, **environment):
    return run(["OFFICIAL"], command, folder, **environment)


def run_old(command, folder):
    environment = pathlib.Path(os.environ["OLD_ENVIRONMENT"]).resolve().parent
    return run(["OLD"], command, folder, python=environment / "bin" / "python")


class ExchangeTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enter_context(tempfile.TemporaryDirectory())

    def check(self, saved, loaded, models, suffixes):
        """Checks what some models compute; returns what became of the others."""
        others = {key: str(output) for key, output in loaded.items()}
        for name, suffix in itertools.product(models, suffixes):
            with self.subTest(name + suffix):
                expected, actual = saved[name + "/saved"], loaded[name + "/" + suffix]
                self.assertEqual(actual.shape, expected.shape, msg=str(actual))
                tolerance = 1e-5 * np.abs(expected).max()
                np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=tolerance)
            del others[name + "/" + suffix]
        return others

    def test_official_keras_loads_what_was_saved_here(self):
        saved = run_patched("save", self.folder)
        others = self.check(saved, run_official("load", self.folder), MODELS, KERAS_3_SUFFIXES)
        self.assertLen(others, len(TRANSPOSED) * len(KERAS_3_SUFFIXES))
        for key, error in others.items():
            # Not silently as layers of one group.
            self.assertRegex(error, "Error: [^$]*'groups'", msg=key)

    def test_models_of_official_keras_load_here(self):
        saved = run_official("save", self.folder)
        loaded = run_patched("load", self.folder)
        self.assertEmpty(self.check(saved, loaded, MODELS, KERAS_3_SUFFIXES))

    def test_models_of_the_old_release_load_here(self):
        saved = run_old("save", self.folder)
        loaded = run_patched("load", self.folder)
        # Keras 3 knows no kernel_initializer there, which 2.2's layer always saves.
        error = str(loaded.pop("separable/.h5"))
        self.assertRegex(error, "Error: [^$]*'kernel_initializer'")
        self.check(saved, loaded, MODELS + TRANSPOSED, [".old_weights.h5"])
        models = [name for name in MODELS + TRANSPOSED if name != "separable"]
        self.check(saved, loaded, models, [".h5"])

    def test_models_of_the_old_release_load_in_official_keras(self):
        saved = run_old("save", self.folder)
        loaded = run_official("load", self.folder)
        models = [name for name in MODELS if name != "separable"]
        others = self.check(saved, loaded, models, [".h5", ".old_weights.h5"])
        for name in TRANSPOSED:
            self.assertRegex(others[name + "/.h5"], "Error: [^$]*'groups'")

    def test_official_tensorflow_serves_what_it_has_kernels_for(self):
        saved = run_patched("save", self.folder)
        one_dnn = run_official("serve", self.folder, TF_ENABLE_ONEDNN_OPTS="1")
        plain = run_official("serve", self.folder, TF_ENABLE_ONEDNN_OPTS="0")
        models = [name for name in MODELS if name != "conv_3d"] + ["transposed_2d"]
        failed = self.check_served(saved, one_dnn, models)
        self.assertCountEqual(failed, ["conv_3d/exported", "transposed_3d/exported"])
        failed.update(self.check_served(saved, plain, ["dense", "separable"]))
        for key, error in failed.items():
            self.assertRegex(error, "^(Unimplemented|InvalidArgument)Error: ", msg=key)

    def check_served(self, saved, served, models):
        """As check, of models as exported; those with their groups split must all run."""
        split = {key: served.pop(key) for key in list(served) if key.endswith("/split")}
        self.assertEmpty(self.check(saved, split, MODELS + TRANSPOSED, ["split"]))
        return self.check(saved, served, models, ["exported"])


if __name__ == "__main__":
    absltest.main()
