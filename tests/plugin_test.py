"""Tests of the plugin, the wheel that adds the kernels to an official TensorFlow."""

import base64
import email
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile

from absl.testing import absltest
from elftools.elf.elffile import ELFFile

VERSION = pathlib.Path(os.environ["OFFICIAL_NAME"]).read_text().split("-")[1]
PLUGIN = os.environ["PLUGIN"]
PLUGIN_NAME = pathlib.Path(os.environ["PLUGIN_NAME"]).read_text().strip()
PACKAGE = "tensorflow_grouped_convolution"
LOADER = "tensorflow-plugins/libtensorflow_grouped_convolution.so"

# Trains grouped filters, of which no official TensorFlow can the last on a CPU.
USE = """
import numpy as np
import tensorflow as tf

def train(conv, x_shape, w_shape):
  random = np.random.RandomState(0)
  x = tf.constant(random.randn(*x_shape), tf.float32)
  w = tf.Variable(random.randn(*w_shape), dtype=tf.float32)
  loss = lambda: tf.reduce_mean(conv(x, w) ** 2)
  losses = []
  for run in loss, tf.function(loss):
    with tf.GradientTape() as tape:
      losses.append(run())
    w.assign_sub(1e-3 * tape.gradient(losses[-1], w))
  losses.append(loss())
  assert losses[0] > losses[1] > losses[2], losses

train(lambda x, w: tf.nn.conv2d(x, w, 1, 'SAME'), (2, 7, 8, 12), (3, 3, 3, 8))
train(lambda x, w: tf.nn.conv3d(x, w, [1] * 5, 'SAME'), (2, 5, 5, 5, 6), (3, 3, 3, 2, 6))
"""

# Prints the version and how many libraries of such kernels are loaded.
SHOW = """
import tensorflow as tf
kernels = {line.split()[-1] for line in open('/proc/self/maps')
           if 'libtfkernel_grouped_conv' in line}
print(tf.__version__, len(kernels))
"""


def files(folder):
    return sorted(str(path) for path in folder.rglob("*") if "__pycache__" not in str(path))


class PluginTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)

    def run_python(self, python, code, *path):
        """Runs code; returns the exit status and what the plugin and the code print."""
        result = subprocess.run(
            [python, "-W", "ignore", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path))),
            cwd=self.folder,
        )
        lines = result.stdout.splitlines()
        if result.returncode == 0:
            lines = [line for line in lines if PACKAGE in line] + lines[-1:]
        return result.returncode, lines

    def site_packages(self, tensorflow):
        """Returns a folder as of an environment with a TensorFlow and the plugin."""
        folder = self.folder / "site-packages"
        with zipfile.ZipFile(PLUGIN) as wheel:
            wheel.extractall(folder)
        (folder / "tensorflow").symlink_to(os.path.realpath(tensorflow) + "/tensorflow")
        return folder

    def test_comes_and_goes_with_pip(self):
        subprocess.check_call([sys.executable, "-m", "venv", self.folder / "env"])
        python = self.folder / "env/bin/python"
        installed = next((self.folder / "env/lib").glob("python*")) / "site-packages"
        # What TensorFlow needs, and itself, which this test does not install anew.
        (installed / "needed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (installed / "tensorflow").symlink_to(os.environ["OFFICIAL"] + "/tensorflow")
        wheel = self.folder / PLUGIN_NAME
        wheel.symlink_to(os.path.realpath(PLUGIN))
        pip = [python, "-m", "pip", "--disable-pip-version-check"]
        before = files(installed)
        self.assertNotEqual(self.run_python(python, USE)[0], 0)

        subprocess.check_call(pip + ["install", "--no-index", wheel])
        self.assertEqual(self.run_python(python, USE)[0], 0)
        self.assertEqual(self.run_python(python, SHOW), (0, [VERSION + " 1"]))

        subprocess.check_call(pip + ["uninstall", "--yes", PACKAGE])
        self.assertEqual(files(installed), before)
        self.assertNotEqual(self.run_python(python, USE)[0], 0)

    def test_other_releases_go_on_without_it(self):
        others = [value for name, value in os.environ.items() if name.startswith("OTHER_")]
        self.assertNotEmpty(others)
        for other in [pathlib.Path(os.path.realpath(name)).parent for name in others]:
            version = (other / "official.txt").read_text().split("-")[1]
            with self.subTest(version):
                path = self.site_packages(other / "official")
                status, lines = self.run_python(other / "env/bin/python", SHOW, path)
                self.assertEqual(status, 0, lines)
                self.assertLen(lines, 2)
                self.assertRegex(lines[0], "not loaded: .* %s, this is %s$" % (VERSION, version))
                self.assertEqual(lines[1], version + " 0")
                shutil.rmtree(path)

    def test_rebuilt_wheel_keeps_its_own_kernels(self):
        path = self.site_packages(os.environ["INSTALLED"])
        status, lines = self.run_python(sys.executable, SHOW, path)
        self.assertEqual(status, 0, lines)
        self.assertRegex(lines[0], "not loaded: this TensorFlow has them already")
        self.assertEqual(lines[1:], [VERSION + " 1"])

    def test_missing_kernels_are_named(self):
        path = self.site_packages(os.environ["OFFICIAL"])
        missing = path / PACKAGE / "libtfkernel_grouped_conv.so"
        missing.unlink()
        status, lines = self.run_python(sys.executable, SHOW, path)
        self.assertEqual(status, 0, lines)
        self.assertRegex(lines[0], "not loaded: .*libtfkernel_grouped_conv.so: cannot open")
        self.assertEqual(lines[1:], [VERSION + " 0"])

    def test_loader_needs_nothing_of_tensorflow(self):
        with zipfile.ZipFile(PLUGIN) as wheel:
            loader = wheel.extract(LOADER, self.folder)
        with open(loader, "rb") as stream:
            dynamic = ELFFile(stream).get_section_by_name(".dynamic")
            needed = [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]
        self.assertNotIn("tensorflow", " ".join(needed))
        status, lines = self.run_python(
            sys.executable, "import ctypes; ctypes.CDLL(%r); print('on')" % loader
        )
        self.assertEqual((status, lines[-1]), (0, "on"))
        self.assertRegex(lines[0], "not loaded: .* this is another$")


class PluginWheelTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.wheel = self.enter_context(zipfile.ZipFile(PLUGIN))
        self.info = "-".join(PLUGIN_NAME.split("-")[:2]) + ".dist-info/"

    def test_names_the_release_that_it_fits(self):
        metadata = email.message_from_bytes(self.wheel.read(self.info + "METADATA"))
        self.assertEqual(metadata["Version"], PLUGIN_NAME.split("-")[1])
        self.assertStartsWith(metadata["Version"], VERSION + "+")
        # Which of the two distributions it is, the user says.
        self.assertEqual(
            metadata.get_all("Requires-Dist"),
            [
                '{0}=={1}; extra == "{0}"'.format(name, VERSION)
                for name in ("tensorflow-cpu", "tensorflow")
            ],
        )

    def test_is_small_and_for_every_python(self):
        self.assertLess(os.path.getsize(PLUGIN), 1e6)
        tag = PLUGIN_NAME[: -len(".whl")].split("-", 2)[2]
        official_platform = pathlib.Path(os.environ["OFFICIAL_NAME"]).read_text().split("-")[-1]
        self.assertEqual(tag + ".whl", "py3-none-" + official_platform.strip())
        wheel = email.message_from_bytes(self.wheel.read(self.info + "WHEEL"))
        self.assertEqual(wheel.get_all("Tag"), [tag])

    def test_record_has_every_file_with_its_hash(self):
        rows = dict(
            line.split(",", 1) for line in self.wheel.read(self.info + "RECORD").decode().split()
        )
        self.assertEqual(rows.pop(self.info + "RECORD"), ",")
        for path in set(self.wheel.namelist()) - {self.info + "RECORD"}:
            data = self.wheel.read(path)
            code = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
            self.assertEqual(rows.pop(path), "sha256=%s,%d" % (code, len(data)))
        self.assertEmpty(rows)


if __name__ == "__main__":
    absltest.main()
