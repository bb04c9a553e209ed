"""Tests of the plugin, the wheel that adds the kernels to an official TensorFlow."""

import base64
import email
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from unittest import mock

from absl.testing import absltest
from elftools.elf.elffile import ELFFile

VERSION = pathlib.Path(os.environ["OFFICIAL_NAME"]).read_text().split("-")[1]
PLUGIN = os.environ["PLUGIN"]
PLUGIN_NAME = pathlib.Path(os.environ["PLUGIN_NAME"]).read_text().strip()
PACKAGE = "tensorflow_grouped_convolution"
LOADER = "tensorflow-plugins/libtensorflow_grouped_convolution.so"
KERNELS = "libgrouped_conv_kernels.so"

# Computes and trains grouped filters, of which no official TensorFlow can the last
# on a CPU, and compares with what they are defined to be.
USE = """
import itertools
import numpy as np
import tensorflow as tf

def expected(x, w, y_gradient, groups):
    # Value and gradients in float64, tap by tap, of stride 1 and SAME.
    sizes = w.shape[:-2]
    padding = [(0, 0)] + [((size - 1) // 2, size // 2) for size in sizes] + [(0, 0)]
    x = np.pad(x, padding)
    pixels = y_gradient.shape[1:-1]
    y, x_gradient, w_gradient = np.zeros(y_gradient.shape), np.zeros(x.shape), np.zeros(w.shape)
    for g in range(groups):
        i = slice(g * w.shape[-2], (g + 1) * w.shape[-2])
        o = slice(*[k * w.shape[-1] // groups for k in (g, g + 1)])
        for tap in itertools.product(*map(range, sizes)):
            window = (slice(None),) + tuple(slice(t, t + n) for t, n in zip(tap, pixels)) + (i,)
            part = w[tap + (slice(None), o)]
            y[..., o] += x[window] @ part
            x_gradient[window] += y_gradient[..., o] @ part.T
            w_gradient[tap + (slice(None), o)] = np.tensordot(
                x[window], y_gradient[..., o], [range(len(pixels) + 1)] * 2)
    inside = tuple(slice(a, n - b) for (a, b), n in zip(padding, x.shape))
    return y, x_gradient[inside], w_gradient

def check(conv, x_shape, w_shape):
    random = np.random.RandomState(0)
    groups = x_shape[-1] // w_shape[-2]
    x, w = random.randn(*x_shape), random.randn(*w_shape)
    y_gradient = random.randn(*x_shape[:-1], w_shape[-1])
    wanted = expected(x, w, y_gradient, groups)

    def run(x, w):
        with tf.GradientTape() as tape:
            tape.watch([x, w])
            y = conv(x, w)
        return [y] + tape.gradient(y, [x, w], tf.constant(y_gradient, x.dtype))

    for dtype, tolerance in (tf.float32, 1e-4), (tf.float64, 1e-11), (tf.float16, 0.3):
        for function in run, tf.function(run):
            found = function(tf.constant(x, dtype), tf.constant(w, dtype))
            for value, exact in zip(found, wanted):
                np.testing.assert_allclose(value, exact, rtol=0, atol=tolerance)

check(lambda x, w: tf.nn.conv2d(x, w, 1, 'SAME'), (2, 7, 8, 12), (3, 3, 3, 8))
check(lambda x, w: tf.nn.conv3d(x, w, [1] * 5, 'SAME'), (2, 5, 5, 5, 6), (3, 3, 3, 2, 6))
"""

# Prints the highest priority of CPU kernels for some ops, and a value of one.
PRIORITIES = """
import tensorflow as tf
from tensorflow.python.framework import kernels

def priority(op):
    found = kernels.get_registered_kernels_for_op(op).kernel
    return max(kernel.priority for kernel in found if kernel.device_type == 'CPU')

ops = ('Conv2D', 'DepthwiseConv2dNative', 'DepthwiseConv2dNativeBackpropInput')
y = tf.nn.depthwise_conv2d(tf.ones([1, 5, 5, 2]), tf.ones([3, 3, 2, 1]), [1] * 4, 'VALID')
print([priority(op) for op in ops], float(y[0, 1, 1, 1]))
"""

# Prints the version and how many libraries of such kernels are loaded.
SHOW = """
import tensorflow as tf
kernels = {line.split()[-1] for line in open('/proc/self/maps')
           if 'libtfkernel_grouped_conv' in line or 'libgrouped_conv_kernels' in line}
print(tf.__version__, len(kernels))
"""


def served_versions():
    """Returns the minor versions that the wheel has adapters for, the oldest first."""
    with zipfile.ZipFile(PLUGIN) as wheel:
        found = [re.match(r".*/adapters/([\d.]+)\.so$", name) for name in wheel.namelist()]
    return sorted(
        (match.group(1) for match in found if match),
        key=lambda version: [int(part) for part in version.split(".")],
    )


def needed(library):
    """Returns the names of the libraries that an ELF file needs."""
    with open(library, "rb") as stream:
        dynamic = ELFFile(stream).get_section_by_name(".dynamic")
        return [tag.needed for tag in dynamic.iter_tags() if tag.entry.d_tag == "DT_NEEDED"]


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

    def releases(self, prefix):
        """Yields version, folder and Python of the official releases in such variables."""
        names = [value for name, value in sorted(os.environ.items()) if name.startswith(prefix)]
        self.assertNotEmpty(names)
        for folder in [pathlib.Path(os.path.realpath(name)).parent for name in names]:
            version = (folder / "official.txt").read_text().split("-")[1]
            with self.subTest(version):
                yield version, folder / "official", folder / "env/bin/python"

    def test_serves_releases(self):
        for version, official, python in self.releases(("SERVED_", "OFFICIAL_NAME")):
            path = self.site_packages(official)
            status, lines = self.run_python(python, USE, path)
            self.assertEqual(status, 0, "\n".join(lines))
            self.assertEqual(self.run_python(python, SHOW, path), (0, [version + " 1"]))
            shutil.rmtree(path)

    def test_other_releases_go_on_without_it(self):
        served = ", ".join(version for version in served_versions())
        for version, official, python in self.releases("OTHER_"):
            path = self.site_packages(official)
            status, lines = self.run_python(python, SHOW, path)
            self.assertEqual(status, 0, lines)
            self.assertLen(lines, 2)
            self.assertIn(
                "not loaded: there is no adapter for TensorFlow %s, only for %s; `make "
                "plugin FOR=" % (version, served),
                lines[0],
            )
            self.assertEqual(lines[1], version + " 0")
            shutil.rmtree(path)

    def loaded_by(self, version, *adapters):
        """Returns what the loader says in a process where a TensorFlow of that version runs.

        Args:
          version: what its TF_Version() returns.
          *adapters: files that are there besides; none is a library.

        """
        path = self.site_packages(os.environ["OFFICIAL"])
        for adapter in adapters:
            (path / PACKAGE / "adapters" / adapter).write_text("no library")
        source = self.folder / "version.c"
        source.write_text('const char* TF_Version(void) { return "%s"; }' % version)
        library = self.folder / "libtensorflow_framework.so.2"
        subprocess.check_call(
            [os.environ.get("CC") or "gcc", "-shared", "-fPIC", source, "-o", library]
            + ["-Wl,-soname," + library.name]
        )
        code = "import ctypes; ctypes.CDLL(%r); ctypes.CDLL(%r)"
        status, lines = self.run_python(sys.executable, code % (str(library), str(path / LOADER)))
        shutil.rmtree(path)
        self.assertEqual(status, 0, lines)
        return lines[0]

    def test_adapter_serves_its_minor_version(self):
        minor = served_versions()[-1]
        # It is tried, and needs more of a TensorFlow than its version.
        for patch in ".0", ".7", ".0-rc1":
            self.assertRegex(
                self.loaded_by(minor + patch), "do not fit this TensorFlow: .*/%s.so" % minor
            )
        for version in minor + "0.0", minor + ".0-dev20260101", "3." + minor:
            self.assertIn("no adapter for TensorFlow %s," % version, self.loaded_by(version))

    def test_adapter_of_a_nightly_serves_that_one_alone(self):
        nightly = "9.1.0-dev20260101"
        message = self.loaded_by(nightly, nightly + ".so")
        self.assertRegex(message, "do not fit this TensorFlow: .*/%s.so" % nightly)
        message = self.loaded_by("9.1.0-dev20260102", nightly + ".so")
        self.assertIn("no adapter for TensorFlow 9.1.0-dev20260102", message)

    def test_rebuilt_wheel_keeps_its_own_kernels(self):
        path = self.site_packages(os.environ["INSTALLED"])
        status, lines = self.run_python(sys.executable, SHOW, path)
        self.assertEqual(status, 0, lines)
        self.assertRegex(lines[0], "not loaded: this TensorFlow has them already")
        self.assertEqual(lines[1:], [VERSION + " 1"])

    def test_depthwise_ops_can_be_left_to_tensorflow(self):
        path = self.site_packages(os.environ["OFFICIAL"])
        for value, priorities in ("0", [1, 0, 0]), ("1", [1, 1, 1]):
            with mock.patch.dict(os.environ, TF_GROUPED_CONV_DEPTHWISE=value):
                status, lines = self.run_python(sys.executable, PRIORITIES, path)
            self.assertEqual(status, 0, lines)
            self.assertEqual(lines[-1], "%s 9.0" % priorities)

    def test_missing_kernels_are_named(self):
        path = self.site_packages(os.environ["OFFICIAL"])
        (path / PACKAGE / KERNELS).unlink()
        status, lines = self.run_python(sys.executable, SHOW, path)
        self.assertEqual(status, 0, lines)
        self.assertRegex(lines[0], "not loaded: .*%s: cannot open" % KERNELS)
        self.assertEqual(lines[1:], [VERSION + " 0"])

    def test_loader_needs_nothing_of_tensorflow(self):
        with zipfile.ZipFile(PLUGIN) as wheel:
            loader = wheel.extract(LOADER, self.folder)
            kernels = wheel.extract("%s/%s" % (PACKAGE, KERNELS), self.folder)
        for library in loader, kernels:
            self.assertNotIn("tensorflow", " ".join(needed(library)))
        with open(kernels, "rb") as stream:
            symbols = ELFFile(stream).get_section_by_name(".dynsym").iter_symbols()
            exported = [
                symbol.name
                for symbol in symbols
                if symbol.entry.st_shndx != "SHN_UNDEF" and symbol.entry.st_info.bind != "STB_LOCAL"
            ]
        # Nothing of C++, of which adapters may have their own.
        self.assertNotEmpty(exported)
        self.assertEmpty([name for name in exported if not name.startswith("GroupedConv")])
        status, lines = self.run_python(
            sys.executable, "import ctypes; ctypes.CDLL(%r); print('on')" % loader
        )
        self.assertEqual((status, lines[-1]), (0, "on"))
        self.assertRegex(lines[0], "not loaded: cannot tell which TensorFlow this is$")


class PluginWheelTest(absltest.TestCase):
    def setUp(self):
        super().setUp()
        self.wheel = self.enter_context(zipfile.ZipFile(PLUGIN))
        self.info = "-".join(PLUGIN_NAME.split("-")[:2]) + ".dist-info/"

    def test_names_the_releases_that_it_serves(self):
        metadata = email.message_from_bytes(self.wheel.read(self.info + "METADATA"))
        self.assertEqual(metadata["Version"], PLUGIN_NAME.split("-")[1])
        # Which of the two distributions it is, the user says.
        self.assertIsNone(metadata.get_all("Requires-Dist"))
        for version in served_versions():
            self.assertIn("  - TensorFlow %s\n" % version, metadata.get_payload())

    def test_is_small_and_for_every_python(self):
        adapters = len(served_versions())
        self.assertLess(os.path.getsize(PLUGIN), 1e6 + adapters * 0.3e6)
        tag = PLUGIN_NAME[: -len(".whl")].split("-", 2)[2]
        self.assertRegex(tag, r"^py3-none-manylinux\w+_x86_64$")
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
