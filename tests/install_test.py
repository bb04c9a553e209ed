"""Tests of the rebuilt wheel as pip installs it, in new environments."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile

from absl.testing import absltest

LIBRARY = pathlib.Path("tensorflow/core/kernels/libtfkernel_grouped_conv.so")
REBUILT_NAME = pathlib.Path(os.environ["REBUILT_NAME"]).read_text().strip()

# What is promised to run once the wheel is installed; prints where TensorFlow
# and the kernels came from.
USE = """
import numpy as np
import tensorflow as tf

x = np.random.RandomState(0).randn(2, 9, 9, 16).astype('float32')

# Which no official TensorFlow can on a CPU.
w = tf.Variable(np.random.RandomState(1).randn(3, 3, 3, 2, 16), dtype=tf.float32)
@tf.function
def loss():
  return tf.reduce_mean(tf.nn.conv3d(x[:, tf.newaxis], w, [1] * 5, 'SAME') ** 2)
with tf.GradientTape() as tape:
  before = loss()
w.assign_sub(1e-3 * tape.gradient(before, w))
assert loss() < before, (loss(), before)

layer = tf.keras.layers.Conv2D(32, 3, padding='same', groups=8)
eager = layer(x)
assert layer.kernel.shape == (3, 3, 2, 32), layer.kernel.shape
split = tf.concat(
    [tf.nn.conv2d(xs, ws, 1, 'SAME')
     for xs, ws in zip(tf.split(x, 8, -1), tf.split(layer.kernel, 8, -1))], -1)
np.testing.assert_allclose(eager, split, atol=1e-5)
np.testing.assert_allclose(tf.function(layer)(x), split, atol=1e-5)

model = tf.keras.Sequential([layer, tf.keras.layers.GlobalAveragePooling2D()])
model.compile('sgd', 'mse')
losses = model.fit(x, np.zeros([2, 32]), epochs=3, verbose=0).history['loss']
assert losses == sorted(losses, reverse=True) and losses[0] > losses[-1], losses
print(tf.__version__, model.predict(x).shape)
"""

# Prints the files that hold the imported TensorFlow and its kernels.
LOCATE = """
import tensorflow as tf
print(tf.__file__)
for path in sorted({line.split(None, 5)[5].strip() for line in open('/proc/self/maps')
                    if 'libtfkernel' in line}):
  print(path)
"""


def python(program, code, path=()):
    """Runs code in a Python of its own, with `path` first on its sys.path."""
    return subprocess.run(
        [program, "-W", "ignore", "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path))),
        cwd=os.path.dirname(program),
    )


class InstallTest(absltest.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = pathlib.Path(tempfile.mkdtemp())
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.wheel = cls.folder / REBUILT_NAME
        cls.wheel.symlink_to(os.path.realpath(os.environ["REBUILT_WHEEL"]))

        subprocess.check_call([sys.executable, "-m", "venv", cls.folder / "env"])
        cls.python = cls.folder / "env/bin/python"
        cls.site_packages = next((cls.folder / "env/lib").glob("python*")) / "site-packages"
        # The packages that TensorFlow needs, which this test does not fetch anew.
        (cls.site_packages / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        cls.install(cls.wheel)

    @classmethod
    def pip(cls, *arguments):
        """Runs the new environment's pip and returns what it prints."""
        result = subprocess.run(
            [cls.python, "-m", "pip", "--disable-pip-version-check", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if result.returncode != 0:
            raise AssertionError("pip %s:\n%s" % (" ".join(map(str, arguments)), result.stdout))
        return result.stdout

    @classmethod
    def install(cls, *arguments):
        return cls.pip("install", "--no-index", "--no-deps", *arguments)

    def copy_of_the_package(self):
        """Returns a folder that holds the installed files, each a hard link."""
        # Not a name that anything but a copy by hand would make.
        folder = pathlib.Path(tempfile.mkdtemp(prefix="a copy, ü ", dir=self.folder))
        self.addCleanup(shutil.rmtree, folder)
        shutil.copytree(
            self.site_packages / "tensorflow", folder / "tensorflow", copy_function=os.link
        )
        return folder

    def run_use(self, path=()):
        """Checks that what is promised runs, with TensorFlow from `path`."""
        result = python(self.python, USE + LOCATE, path)
        self.assertEqual(result.returncode, 0, result.stdout)
        folder = path[0] if path else self.site_packages
        expected = [folder / "tensorflow/__init__.py", folder / LIBRARY]
        self.assertEqual(result.stdout.splitlines()[-2:], [str(file) for file in expected])

    def test_runs_from_an_environment(self):
        self.run_use()

    def test_runs_from_a_target_folder(self):
        target = self.folder / "target"
        self.install("--no-compile", "--target", target, self.wheel)
        self.addCleanup(shutil.rmtree, target)
        self.run_use([target])

    def test_runs_from_a_copy(self):
        self.run_use([self.copy_of_the_package()])

    def test_satisfies_a_requirement_of_the_official_version(self):
        distribution, version = REBUILT_NAME.split("-")[:2]
        requirement = "%s==%s" % (distribution.replace("_", "-"), version.partition("+")[0])
        # There is no index: what is not installed cannot be had.
        self.assertIn("Requirement already satisfied: " + requirement, self.install(requirement))
        self.assertIn("No broken requirements found", self.pip("check"))

    def test_no_other_tensorflow_sees_the_kernels(self):
        self.assertFalse((self.site_packages / "tensorflow-plugins").exists())
        official = pathlib.Path(os.path.realpath(os.environ["OFFICIAL"]))
        located = python(self.python, LOCATE, [official]).stdout.splitlines()
        self.assertEqual(located[-1:], [str(official / "tensorflow/__init__.py")])

    def test_another_library_of_such_kernels_is_told_of_on_import(self):
        plugins = self.site_packages / "tensorflow-plugins"
        plugins.mkdir()
        self.addCleanup(shutil.rmtree, plugins)
        shutil.copy(self.site_packages / LIBRARY, plugins / "other.so")
        result = python(self.python, "import tensorflow")
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("another library overrides Conv2D", result.stdout.splitlines()[-1])

    def test_missing_kernels_are_named_on_import(self):
        folder = self.copy_of_the_package()
        (folder / LIBRARY).unlink()
        result = python(self.python, "import tensorflow", [folder])
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(str(folder / LIBRARY), result.stdout.splitlines()[-1])

    def test_corrupt_kernels_are_named_on_import(self):
        folder = self.copy_of_the_package()
        # A new file: what is installed is the same file under another name.
        (folder / LIBRARY).unlink()
        (folder / LIBRARY).write_bytes(b"cut short")
        result = python(self.python, "import tensorflow", [folder])
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(str(folder / LIBRARY), result.stdout.splitlines()[-1])


if __name__ == "__main__":
    absltest.main()
