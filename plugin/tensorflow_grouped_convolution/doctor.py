"""Says what there is, whether it works, and how fast it is: what issue reports start with."""

import ctypes
import importlib
import importlib.metadata
import importlib.util
import itertools
import os
import pathlib
import platform
import sys
import time
import warnings

FOLDER = pathlib.Path(__file__).parent
LOADER = FOLDER.parent / "tensorflow-plugins" / ("lib%s.so" % __package__)
KERNELS = FOLDER / "libgrouped_conv_kernels.so"

# A convolution of each rank, in groups: the shapes of its input and filter.
_SHAPES = (
    ((2, 9, 6), (3, 2, 9)),
    ((2, 7, 6, 8), (3, 3, 2, 12)),
    ((2, 5, 4, 5, 6), (2, 3, 2, 3, 4)),
)
_TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


def _ask(library, function):
    """Returns what a C function without arguments says, None if it is not loaded."""
    try:
        # Only where it is loaded already.
        ask = getattr(ctypes.CDLL(str(library), mode=os.RTLD_NOLOAD | os.RTLD_LAZY), function)
    except (OSError, AttributeError):
        return None
    ask.restype = ctypes.c_char_p
    return ask().decode()


def _distributions(package):
    """Returns what distributions a package is of, and their versions."""
    found = {
        "%s %s" % (distribution.metadata["Name"], distribution.version)
        for distribution in importlib.metadata.distributions()
        if package in (distribution.read_text("top_level.txt") or "").split()
        or distribution.metadata["Name"].replace("-", "_") == package
    }
    return ", ".join(sorted(found)) or "not installed by pip"


def _reference(x, w, dy):
    """Returns a convolution in groups and its gradients, in float64.

    Args:
      x: its input, channels last.
      w: its filter.
      dy: the gradient of its output.
    """
    import numpy as np

    groups = x.shape[-1] // w.shape[-2]
    x = x.reshape(x.shape[:-1] + (groups, -1))
    w = w.reshape(w.shape[:-1] + (groups, -1))
    dy = dy.reshape(dy.shape[:-1] + (groups, -1))
    y, dx, dw = np.zeros_like(dy), np.zeros_like(x), np.zeros_like(w)
    for at in itertools.product(*map(range, w.shape[:-3])):
        place = (slice(None),) + tuple(slice(i, i + size) for i, size in zip(at, dy.shape[1:-2]))
        y += np.einsum("...gc,cgf->...gf", x[place], w[at])
        dx[place] += np.einsum("...gf,cgf->...gc", dy, w[at])
        axes = "nabd"[: dy.ndim - 2]
        dw[at] = np.einsum("%sgc,%sgf->cgf" % (axes, axes), x[place], dy)
    return [array.reshape(array.shape[:-2] + (-1,)) for array in (y, dx, dw)]


def _test_values(dtype):
    """Compares convolutions of all ranks and their gradients with numpy; returns what differs."""
    import numpy as np
    import tensorflow as tf

    random = np.random.RandomState(0)
    wrong = []
    for x_shape, w_shape in _SHAPES:
        spatial = [i - j + 1 for i, j in zip(x_shape[1:-1], w_shape)]
        dy_shape = x_shape[:1] + tuple(spatial) + w_shape[-1:]
        arrays = [random.standard_normal(shape) for shape in (x_shape, w_shape, dy_shape)]

        def step(x, w, dy):
            with tf.GradientTape() as tape:
                tape.watch((x, w))
                # Of this, TensorFlow has no eager gradient by default in 3-D.
                data_format = {3: "NWC", 4: "NHWC", 5: "NDHWC"}[len(x.shape)]
                y = tf.nn.convolution(x, w, padding="VALID", data_format=data_format)
            return [y] + tape.gradient(y, [x, w], dy)

        tensors = [tf.constant(array, dtype) for array in arrays]
        expected = _reference(*(tensor.numpy().astype(np.float64) for tensor in tensors))
        for how, run in (("eager", step), ("in tf.function", tf.function(step))):
            for what, got, want in zip(("values", "dx", "dw"), run(*tensors), expected):
                error = np.max(np.abs(got.numpy() - want)) / np.max(np.abs(want))
                if not error < _TOLERANCES[dtype]:
                    wrong.append("%s of %d-D, %s: off by %.1g" % (what, len(spatial), how, error))
    return wrong


def _test_jacobian():
    """Returns how a Jacobian by a grouped filter differs from what it is."""
    import numpy as np
    import tensorflow as tf

    x = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    w = tf.Variable(tf.ones([1, 1, 1, 2]))
    with tf.GradientTape() as tape:
        y = tf.nn.conv2d(x.reshape([1, 1, 2, 2]), w, 1, "VALID")
    got = tape.jacobian(y, w).numpy().reshape((2, 2, 2))
    # What pixel and group depend on of the filter: on its own group.
    want = x[:, :, np.newaxis] * np.eye(2)
    return [] if np.array_equal(got, want) else ["%s, not %s" % (got.tolist(), want.tolist())]


def _milliseconds(groups):
    """Returns the time of a training step of Conv2D(128, 3) on 8x56x56x128."""
    import tensorflow as tf

    x = tf.random.normal([8, 56, 56, 128])
    w = tf.random.normal([3, 3, 128 // groups, 128])

    @tf.function
    def step(x, w):
        with tf.GradientTape() as tape:
            tape.watch((x, w))
            loss = tf.reduce_sum(tf.nn.conv2d(x, w, 1, "SAME"))
        return tape.gradient(loss, (x, w))

    times = []
    while len(times) < 5 or sum(times) < 2 and len(times) < 50:
        start = time.perf_counter()
        step(x, w)[1].numpy()
        times.append(time.perf_counter() - start)
    return 1000 * min(times)


def _is_compiled(keras):
    """Whether a grouped layer of a Keras is compiled with XLA on its own."""
    import tensorflow as tf

    layer = keras.layers.Conv2D(2, 1, groups=2, data_format="channels_last")
    layer.build((1, 3, 3, 2))
    function = tf.function(lambda x: layer(x))
    graph = function.get_concrete_function(tf.TensorSpec((1, 3, 3, 2))).graph
    return "_XlaMustCompile" in str(graph.as_graph_def())


class _Doctor:
    """What was found out."""

    def __init__(self):
        # What is not well.
        self.problems = []

    def tell(self, what, value):
        """Prints a line."""
        print("%-18s %s" % (what + ":", value), flush=True)

    def check(self, what, test, *arguments):
        """Prints what a test finds wrong, if anything."""
        try:
            wrong = test(*arguments)
        except Exception as error:
            wrong = ["%s: %s" % (type(error).__name__, str(error).splitlines()[:1])]
        self.tell(what, "; ".join(wrong) or "right")
        if wrong:
            self.problems.append(what + " wrong")

    def tell_versions(self):
        """Prints what is installed; returns TensorFlow, if that can be imported."""
        self.tell("python", "%s on %s" % (platform.python_version(), platform.platform()))
        self.tell("this package", _distributions(__package__))
        try:
            import tensorflow as tf
        except Exception as error:
            self.tell("tensorflow", "cannot be imported: %s" % error)
            self.problems.append("TensorFlow cannot be imported")
            return None
        self.tell("tensorflow", "%s (%s)" % (tf.__version__, _distributions("tensorflow")))
        return tf

    def tell_kernels(self, tf):
        """Prints which kernels are loaded; returns whether they are."""
        from . import kernels

        loaded = kernels.are_loaded()
        adapter = _ask(LOADER, __package__ + "_adapter")
        status = _ask(LOADER, __package__ + "_status")
        if status is None:
            status = "" if loaded else "TensorFlow has not loaded tensorflow-plugins/" + LOADER.name
        if adapter:
            adapter = os.path.relpath(adapter, FOLDER)
        self.tell("adapter", status or adapter or "loaded")
        if not loaded:
            self.problems.append("the kernels are not loaded: %s" % (status or "reason unknown"))
        self.tell("instruction set", _ask(KERNELS, "GroupedConvInstructionSet") or "unknown")
        self.tell("oneDNN", {True: "on", False: "off", None: "unknown"}[kernels.one_dnn()])
        devices = sorted({device.device_type for device in tf.config.list_logical_devices()})
        self.tell("devices", ", ".join(devices))
        if loaded and not kernels.cpu_only():
            self.tell("", "not only CPUs: Keras goes on compiling convolutions with XLA")
        return loaded

    def tell_keras(self, loaded):
        """Prints what patch_keras() does to each Keras, and whether that has the effect."""
        from . import kernels
        from .keras_patches import KERASES, patch_keras

        found = []
        for name in KERASES:
            if importlib.util.find_spec(name) is None:
                self.tell(name, "not installed")
                continue
            try:
                found.append(importlib.import_module(name))
            except Exception as error:
                self.tell(name, "cannot be imported: %s" % error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = patch_keras()
        for line in report.lines if found else ():
            self.tell("patch_keras()", line)
        for keras in found if loaded and kernels.cpu_only() else ():
            if keras.backend.backend() == "tensorflow":
                compiled = _is_compiled(keras)
                how = "still compiled with XLA" if compiled else "left to the kernels"
                self.tell("%s layers" % keras.__name__, "grouped ones are " + how)
                if compiled:
                    self.problems.append("%s compiles grouped layers" % keras.__name__)


def main():
    """Prints all that is to be known; returns the exit status."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    doctor = _Doctor()
    tf = doctor.tell_versions()
    if tf is not None:
        # Of functions that are traced anew for each test.
        tf.get_logger().setLevel("ERROR")
        loaded = doctor.tell_kernels(tf)
        doctor.tell_keras(loaded)
        if loaded:
            with tf.device("CPU:0"):
                for dtype in _TOLERANCES:
                    doctor.check(dtype, _test_values, dtype)
                doctor.check("jacobian", _test_jacobian)
                grouped, dense = (
                    min(_milliseconds(groups) for _ in range(2)) for groups in (32, 1)
                )
            doctor.tell("grouped step", "%.1f ms, dense one %.1f ms" % (grouped, dense))
            if grouped > dense:
                doctor.problems.append("a grouped step takes longer than a dense one")
    if doctor.problems:
        print("Not well: %s." % "; ".join(doctor.problems))
        return 1
    print("All is well: grouped convolutions run on the kernels.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
