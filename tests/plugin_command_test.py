"""Tests of `python -m tensorflow_grouped_convolution`: the runner and the doctor."""

import installed_plugin  # noqa: F401, I001  before TensorFlow

import importlib
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import zipfile

import numpy as np
import tensorflow as tf
from absl.testing import absltest

from tensorflow_grouped_convolution import doctor, keras_patches

PACKAGE = "tensorflow_grouped_convolution"
SHOW = """
'''What it says of itself.'''
import pickle
import sys

class Thing:
    pass

def fail():
    raise ValueError("as asked")

module = sys.modules["__main__"]
print(sys.argv, sys.path[:1], sorted(globals()), __name__, __file__, __doc__, __package__)
print(type(__loader__), getattr(__spec__, "name", None), module.Thing is Thing)
print(type(pickle.loads(pickle.dumps(Thing()))) is Thing, __builtins__)
if "fail" in sys.argv:
    fail()
if "interrupt" in sys.argv:
    raise KeyboardInterrupt
if "exit" in sys.argv:
    sys.exit(7)
"""
LAYER = """
import sys
{before}
import {keras} as keras
import tensorflow as tf
layer = keras.layers.Conv2D(8, 3, groups=4)
function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec([1, 9, 9, 8]))
print(*sys.argv[1:], "_XlaMustCompile" in str(function.graph.as_graph_def()))
"""
NORMALIZE = """
import sys
import {keras} as keras
import tensorflow as tf
layer = keras.layers.BatchNormalization()
step = tf.function(lambda x: layer(x, training=True))
graph = step.get_concrete_function(tf.TensorSpec([1, 32, 32, 16])).graph
print(*sys.argv[1:], "FusedBatchNorm" in str(graph.as_graph_def()))
"""
SAVE = """
import inspect
import tensorflow_grouped_convolution
tensorflow_grouped_convolution.patch_keras()
from tensorflow import keras
layers = [keras.Input((9, 9, 4)), keras.layers.Conv2D(8, 3, groups=2)]
if "groups" in inspect.signature(keras.layers.Conv2DTranspose.__init__).parameters:
    layers.append(keras.layers.Conv2DTranspose(8, 3, groups=4))
keras.Sequential(layers).save("model.keras")
"""


class CommandTestCase(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(os.path.realpath(tempfile.mkdtemp()))
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, path, text):
        path = self.folder / path
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def run_python(self, *arguments, path=sys.path):
        result = subprocess.run(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
            cwd=str(self.folder),
            env=dict(
                os.environ,
                PYTHONPATH=os.pathsep.join(filter(None, path)),
                TF_CPP_MIN_LOG_LEVEL="3",
            ),
        )
        return result.returncode, result.stdout, result.stderr


class RunTest(CommandTestCase):
    def test_runs_as_python_does(self):
        self.write("show.py", SHOW)
        self.write("folder/__main__.py", SHOW)
        self.write("package/__init__.py", "")
        self.write("package/__main__.py", SHOW)
        self.write("wrong.py", "def f(:")
        (self.folder / "link.py").symlink_to(self.folder / "package/__main__.py")
        with zipfile.ZipFile(str(self.folder / "archive.zip"), "w") as archive:
            archive.writestr("__main__.py", SHOW)
        for arguments in (
            "show.py a -m b",
            "folder/../show.py fail",
            "show.py exit",
            "show.py interrupt",
            "link.py fail",
            "folder a",
            "archive.zip fail",
            "wrong.py",
            "missing.py",
            "-m show a fail",
            "-m package --help interrupt",
            "-m missing",
        ):
            with self.subTest(arguments):
                status, out, err = self.run_python(*arguments.split())
                own_status, own_out, own_err = self.run_python("-m", PACKAGE, *arguments.split())
                self.assertEqual(own_status, status)
                self.assertEqual(own_out, out)
                self.assertEqual(own_err, err)

    def test_keras_is_patched_before_it_is_imported(self):
        if not any(importlib.util.find_spec(name) for name in keras_patches.KERASES):
            self.skipTest("there is no Keras here")
        for keras in filter(importlib.util.find_spec, keras_patches.KERASES):
            for before in "", "import tensorflow":
                path = self.write("train.py", LAYER.format(before=before, keras=keras))
                status, out, err = self.run_python("-m", PACKAGE, str(path), "x")
                self.assertEqual((status, out), (0, "x False\n"), err)
            compiles = LAYER.format(before="", keras=keras)
            version = importlib.import_module(keras).__version__
            if tuple(map(int, version.split(".")[:2])) >= (2, 9):
                self.assertEqual(self.run_python("-c", compiles)[1], "True\n")

    def test_batch_normalization_is_an_option(self):
        if not any(importlib.util.find_spec(name) for name in keras_patches.KERASES):
            self.skipTest("there is no Keras here")
        for keras in filter(importlib.util.find_spec, keras_patches.KERASES):
            path = str(self.write("train.py", NORMALIZE.format(keras=keras)))
            by_itself = importlib.import_module(keras).__version__.startswith("2.")
            for options, fused in ([], by_itself), (["--batch-normalization"], True):
                status, out, err = self.run_python("-m", PACKAGE, *options, path, "-x")
                self.assertEqual((status, out), (0, "-x %s\n" % fused), err)

    def test_imports_no_keras(self):
        path = self.write("none.py", "import sys; print({'keras', 'tensorflow'} & {*sys.modules})")
        self.assertEqual(self.run_python("-m", PACKAGE, str(path))[:2], (0, "set()\n"))

    def test_says_how_to_use_it(self):
        status, out, _ = self.run_python("-m", PACKAGE, "--help")
        self.assertEqual(status, 0)
        self.assertIn("Usage: python -m", out)
        option = "--batch-normalization"
        for wrong in ["-m"], ["-x"], [option], [option, "-x"], [option, option]:
            status, _, err = self.run_python("-m", PACKAGE, *wrong)
            self.assertEqual(status, 1)
            self.assertIn("Usage: python -m", err)


class ExportTest(CommandTestCase):
    def test_model_file(self):
        if not importlib.util.find_spec("keras"):
            self.skipTest("TensorFlow finds no Keras here")
        status, _, err = self.run_python("-c", SAVE)
        self.assertEqual(status, 0, err)
        status, out, err = self.run_python(
            *("-m", PACKAGE + ".export_grouped", "model.keras", "exported", "--to", "tensorflow")
        )
        self.assertEqual(status, 0, err)
        self.assertIn("differ from the original's by up to", out)
        # Converters do not look into what Keras compiles.
        exported = (self.folder / "exported/saved_model/saved_model.pb").read_bytes()
        self.assertNotIn(b"_XlaMustCompile", exported)


class DoctorTest(CommandTestCase):
    def test_all_is_well(self):
        status, out, err = self.run_python("-m", PACKAGE)
        lines = out.splitlines()
        self.assertEqual((status, lines[-1][:12]), (0, "All is well:"), out + err)
        for line in (
            r"python: +%d\.%d" % sys.version_info[:2],
            r"tensorflow: +%s \((tensorflow|tf_nightly)" % re.escape(tf.__version__),
            r"oneDNN: +(on|off)$",
            r"float32: +right$",
            r"float64: +right$",
            r"jacobian: +right$",
            r"grouped step: +[\d.]+ ms, dense one [\d.]+ ms$",
        ):
            self.assertRegex(out, "(?m)^" + line)
        for name in filter(importlib.util.find_spec, keras_patches.KERASES):
            version = importlib.import_module(name).__version__
            self.assertRegex(out, r"(?m)^patch_keras\(\): +%s %s: it " % (name, re.escape(version)))
            self.assertRegex(out, r"(?m)^%s layers: +grouped ones are left to the kernels$" % name)
        self.assertNotIn(str(pathlib.Path.home()) + "/", out)

    def test_without_kernels(self):
        if "PLUGIN" not in os.environ:
            self.skipTest("TensorFlow loads the plugin from where it is installed")
        # Where TensorFlow does not look for plugins.
        shutil.copytree(os.path.dirname(doctor.__file__), str(self.folder / PACKAGE))
        plugin = str(installed_plugin.FOLDER)
        status, out, err = self.run_python(
            "-m", PACKAGE, path=[path for path in sys.path if not path.startswith(plugin)]
        )
        self.assertEqual(status, 1, out + err)
        self.assertRegex(out.splitlines()[-1], "^Not well: the kernels are not loaded: .+")
        self.assertNotIn("step:", out)


class ReferenceTest(absltest.TestCase):
    def test_what_is_wrong_is_found(self):
        self.assertEqual(doctor._test_values("float64"), [])
        convolution = tf.nn.convolution

        def wrong(x, w, **kwargs):
            return convolution(x, w, **kwargs) * (1 + 1e-9)

        with absltest.mock.patch.object(tf.nn, "convolution", wrong):
            self.assertLen(doctor._test_values("float64"), 18)

    def test_jacobian(self):
        self.assertEqual(doctor._test_jacobian(), [])
        with absltest.mock.patch.object(tf.nn, "conv2d", lambda x, w, *_: 2 * x * w[0, 0, 0]):
            self.assertLen(doctor._test_jacobian(), 1)

    def test_reference(self):
        # A dense one by hand: 2 pixels of 2 channels, to 1.
        x, w = np.array([[[1.0, 2], [3, 4]]]), np.array([[[5.0], [6]]])
        y, dx, dw = doctor._reference(x, w, np.array([[[1.0], [10]]]))
        np.testing.assert_array_equal(y, [[[17], [39]]])
        np.testing.assert_array_equal(dx, [[[5, 6], [50, 60]]])
        np.testing.assert_array_equal(dw, [[[31], [42]]])


if __name__ == "__main__":
    absltest.main()
