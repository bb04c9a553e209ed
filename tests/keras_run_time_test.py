"""Tests of patch_keras() on whatever Keras there is: keras, tf_keras or both."""

import installed_plugin  # noqa: I001  before TensorFlow

import copy
import importlib
import importlib.util
import inspect
import itertools
import os
import pickle
import re
import subprocess
import sys
import warnings
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from tensorflow.core.framework import kernel_def_pb2
from tensorflow.python.framework import kernels as registry

import tensorflow_grouped_convolution as plugin
from tensorflow_grouped_convolution import keras_patches, kernels, source_patches
from tensorflow_grouped_convolution.changes import Changes

FOLDER = str(installed_plugin.FOLDER)
KERASES = [
    importlib.import_module(name)
    for name in keras_patches.KERASES
    if importlib.util.find_spec(name) is not None
]
EACH = parameterized.named_parameters((keras.__name__, keras) for keras in KERASES)
X = np.random.RandomState(0).standard_normal((2, 9, 9, 8)).astype(np.float32)


def detours(keras):
    """Whether a Keras compiles grouped layers with XLA by itself: not before 2.9."""
    return tuple(map(int, keras.__version__.split(".")[:2])) >= (2, 9)


def sources_fit(keras):
    try:
        return bool(source_patches.plan(keras))
    except source_patches.PatchError:
        return False


def conv(keras, rank, filters=8, **kwargs):
    kwargs.setdefault("data_format", "channels_last")
    return getattr(keras.layers, "Conv%dD" % rank)(filters, 3, **kwargs)


def compiled_by_xla(layer, x=X):
    graph = tf.function(lambda x: layer(x)).get_concrete_function(x).graph
    return "_XlaMustCompile" in str(graph.as_graph_def())


def reference(x, w, strides, dilation, padding):
    """Returns a convolution in groups, of channels last, in float64."""
    x, w = x.astype(np.float64), w.astype(np.float64)
    rank = x.ndim - 2
    reach = [(size - 1) * dilation + 1 for size in w.shape[:rank]]
    if padding == "same":
        sizes = [-(-size // strides) for size in x.shape[1:-1]]
        pads = [
            max((size - 1) * strides + r - full, 0)
            for size, r, full in zip(sizes, reach, x.shape[1:-1])
        ]
        x = np.pad(x, [(0, 0)] + [(pad // 2, pad - pad // 2) for pad in pads] + [(0, 0)])
    else:
        sizes = [(full - r) // strides + 1 for r, full in zip(reach, x.shape[1:-1])]
    groups = x.shape[-1] // w.shape[-2]
    x = x.reshape(x.shape[:-1] + (groups, -1))
    w = w.reshape(w.shape[:-1] + (groups, -1))
    y = np.zeros(x.shape[:1] + tuple(sizes) + w.shape[-2:])
    for at in itertools.product(*map(range, w.shape[:rank])):
        place = (slice(None),) + tuple(
            slice(i * dilation, i * dilation + (size - 1) * strides + 1, strides)
            for i, size in zip(at, sizes)
        )
        y += np.einsum("...gc,cgf->...gf", x[place], w[at])
    return y.reshape(y.shape[:-2] + (-1,))


def train(layer):
    """Takes a step down; returns by how much the loss changes."""
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(layer(X) ** 2)
    for weight, gradient in zip(layer.weights, tape.gradient(loss, layer.weights)):
        weight.assign(weight - 0.01 * gradient)
    return tf.reduce_mean(layer(X) ** 2) - loss


def state_of_keras():
    """Returns all that the modules which are changed define."""
    state = {}

    def note(owner, prefix):
        for name, value in vars(owner).items():
            state[prefix + name] = value
            if inspect.isfunction(value):
                value = inspect.unwrap(value)
                for attribute in "__code__", "__defaults__", "__kwdefaults__", "__doc__":
                    state[prefix + name + attribute] = getattr(value, attribute)
            elif inspect.isclass(value) and value.__module__ == owner.__name__:
                note(value, "%s%s." % (prefix, name))

    names = list(source_patches._changes(source_patches.PATCH.read_text()))
    for keras in KERASES:
        names += [base.__module__ for base in inspect.getmro(keras.layers.Conv2D)]
    names += ["keras.src.backend.tensorflow.nn", "keras.src.backend.tensorflow.ops.nn"]
    for name in set(names) - {"builtins"}:
        if name in sys.modules:  # Not of another backend.
            note(sys.modules[name], name + ":")
    return state


class KerasTestCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.addCleanup(plugin.unpatch_keras)

    def skip_unless_sources_fit(self):
        if not any(map(sources_fit, KERASES)):
            self.skipTest("the patches of Keras' sources are for another release")


class DetourTest(KerasTestCase):
    @EACH
    def test_layers_that_are_there_leave_xla_and_come_back(self, keras):
        layers = []
        for rank, data_format in itertools.product((1, 2, 3), ("channels_last", "channels_first")):
            x = np.ones((1,) + (8,) + (4,) * rank, np.float32)
            if data_format == "channels_last":
                x = np.moveaxis(x, 1, -1)
            layers.append((conv(keras, rank, groups=4, data_format=data_format), x))
        for layer, x in layers:
            self.assertEqual(compiled_by_xla(layer, x), detours(keras))
        before = [layer(x) for layer, x in layers if layer.data_format == "channels_last"]
        self.assertEqual(bool(plugin.patch_keras()), any(map(detours, KERASES)))
        for layer, x in layers:
            self.assertFalse(compiled_by_xla(layer, x))
        after = [layer(x) for layer, x in layers if layer.data_format == "channels_last"]
        for one, other in zip(before, after):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        plugin.unpatch_keras()
        for layer, x in layers:
            self.assertEqual(compiled_by_xla(layer, x), detours(keras))

    @EACH
    def test_layers_train(self, keras):
        plugin.patch_keras()
        layer = conv(keras, 2, groups=4)
        model = keras.Sequential([layer, keras.layers.Flatten(), keras.layers.Dense(1)])
        self.assertLess(train(layer), 0)
        model.compile("sgd", "mse")
        model.fit(X, np.ones(2), verbose=0)
        self.assertEqual(model.predict(X, verbose=0).shape, (2, 1))

    def check_values_and_gradients(self, layer, x):
        """Compares a layer with the reference; `x` has the channels last."""
        first = layer.data_format == "channels_first"
        inputs = tf.constant(np.moveaxis(x, -1, 1) if first else x)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
            loss = tf.reduce_sum(outputs)
        dx, dw = tape.gradient(loss, [inputs, layer.trainable_weights[0]])
        self.assertFalse(compiled_by_xla(layer, inputs))
        y, dx, dw = outputs.numpy(), dx.numpy(), np.array(dw)
        if first:
            y, dx = np.moveaxis(y, 1, -1), np.moveaxis(dx, 1, -1)

        def convolve(x, w):
            return reference(x, w, layer.strides[0], layer.dilation_rate[0], layer.padding)

        kernel, bias = (np.array(weight) for weight in layer.get_weights())
        expected = convolve(x, kernel) + bias
        eps = {"float16": 2e-2, "float32": 1e-5, "float64": 1e-12}[x.dtype.name]
        np.testing.assert_allclose(y, expected, rtol=eps, atol=eps * np.max(np.abs(expected)))
        # The sum of outputs is linear in both, so its gradients are its values at unit
        # vectors, of which some tell.
        for gradient, value in (
            (dx, lambda one: convolve(one, kernel)),
            (dw, lambda one: convolve(x, one)),
        ):
            for at in np.random.RandomState(0).randint(gradient.size, size=5):
                one = np.zeros(gradient.shape)
                one.flat[at] = 1
                expected = value(one).sum()
                np.testing.assert_allclose(gradient.flat[at], expected, rtol=eps, atol=50 * eps)

    @EACH
    def test_values_and_gradients(self, keras):
        plugin.patch_keras()
        random = np.random.RandomState(0)
        for rank, dtype, data_format, padding, (strides, dilation) in itertools.product(
            (1, 2, 3),
            ("float32", "float64", "float16"),
            ("channels_last", "channels_first"),
            ("same", "valid"),
            ((1, 1), (2, 1), (1, 2)),
        ):
            options = {
                "data_format": data_format,
                "dilation_rate": dilation,
                "dtype": dtype,
                "padding": padding,
                "strides": strides,
            }
            layer = conv(keras, rank, groups=4, bias_initializer="random_normal", **options)
            x = random.standard_normal((2,) + (7,) * rank + (8,)).astype(dtype)
            with self.subTest(rank=rank, **options):
                self.check_values_and_gradients(layer, x)

    @EACH
    def test_what_the_kernels_do_not_serve_stays_compiled(self, keras):
        get_kernels = registry.get_registered_kernels_for_op

        def without_float64(op_name):
            found = get_kernels(op_name)
            for kernel in found.kernel:
                for constraint in kernel.constraint:
                    types = constraint.allowed_values.list.type
                    if kernel.priority and tf.float64.as_datatype_enum in types:
                        types.remove(tf.float64.as_datatype_enum)
            return found

        plugin.patch_keras()
        self.enter_context(mock.patch.object(kernels, "_served", set()))
        with mock.patch.object(registry, "get_registered_kernels_for_op", without_float64):
            for dtype in "float32", "float64":
                layer = conv(keras, 2, groups=4, dtype=dtype)
                compiled = compiled_by_xla(layer, X.astype(dtype))
                self.assertEqual(compiled, detours(keras) and dtype == "float64")
        if sources_fit_before(keras):
            return  # It has asked already, and remembers.
        devices = [tf.config.LogicalDevice("/device:%s:0" % kind, kind) for kind in ("CPU", "GPU")]
        with mock.patch.object(tf.config, "list_logical_devices", return_value=devices):
            self.assertEqual(compiled_by_xla(conv(keras, 2, groups=4)), detours(keras))

    @EACH
    def test_other_functions_stay_compiled(self, keras):
        if not keras.__version__.startswith("3"):
            self.skipTest("of Keras 3 alone")
        namespace = keras_detour_namespace(keras)
        plugin.patch_keras()
        ours = namespace["tf"]
        self.assertIsNot(ours, tf)
        self.assertIs(ours.nn.relu, tf.nn.relu)
        self.assertEqual(set(dir(ours)), set(dir(tf)))

        @ours.function(jit_compile=True)
        def compiled(x):
            return x + 1

        @ours.function
        def not_compiled(x):
            return x + 1

        for function, expected in ((compiled, True), (not_compiled, False)):
            graph = tf.function(lambda x, function=function: function(x))
            graph = graph.get_concrete_function(X).graph.as_graph_def()
            self.assertEqual("_XlaMustCompile" in str(graph), expected)
            np.testing.assert_array_equal(function(X), X + 1)

    @EACH
    def test_a_compiled_model_compiles_them_with_the_rest(self, keras):
        plugin.patch_keras()
        layer = conv(keras, 2, groups=4)
        expected = layer(X)
        compiled = tf.function(lambda x: layer(x), jit_compile=True)
        np.testing.assert_allclose(compiled(X), expected, rtol=1e-4, atol=1e-4)

    @EACH
    def test_layers_in_a_function_of_the_users(self, keras):
        plugin.patch_keras()
        layer = conv(keras, 2, groups=4)

        @tf.function
        def twice(x, again):
            if again:  # For AutoGraph.
                x = layer(x)
            return layer(x) if not hasattr(keras, "ops") else keras.ops.relu(layer(x))

        self.assertEqual(twice(X, tf.constant(False)).shape, (2, 7, 7, 8))

    def test_missing_kernels_are_told_of(self):
        none = kernel_def_pb2.KernelList()
        with mock.patch.object(registry, "get_registered_kernels_for_op", return_value=none):
            with mock.patch.object(kernels, "_served", set()):
                with self.assertWarnsRegex(UserWarning, "without the CPU kernels"):
                    plugin.patch_keras()
                for keras in KERASES:
                    layer = conv(keras, 2, groups=4)
                    self.assertEqual(compiled_by_xla(layer), detours(keras))

    def test_once_is_enough(self):
        first = plugin.patch_keras()
        again = plugin.patch_keras()
        self.assertFalse(again)
        self.assertEqual(str(first), str(again))

    def test_report_names_each_keras_and_what_it_does(self):
        text = str(plugin.patch_keras())
        for keras in KERASES:
            version = re.escape("%s %s: " % (keras.__name__, keras.__version__))
            does = "compiles no" if detours(keras) else "was not found to compile"
            self.assertRegex(text, version + "it " + does)
            takes = "layers take" if sources_fit_before(keras) else "layers take no groups: .*"
            self.assertRegex(text, version + "its transposed " + takes)

    def test_all_comes_back(self):
        before = state_of_keras()
        for _ in range(2):
            plugin.patch_keras()
            if any(map(detours, KERASES)):
                self.assertNotEqual(state_of_keras(), before)
            plugin.unpatch_keras()
            self.assertEqual(state_of_keras(), before)


def keras_detour_namespace(keras):
    backend = keras.src.backend
    return inspect.unwrap(getattr(backend, "ops", backend).nn.conv).__globals__


def sources_fit_before(keras):
    """Whether the sources fitted before they were patched."""
    return keras.__version__ == "3.15.1"


class LateTest(KerasTestCase):
    """Keras is imported when patching is on already."""

    PROGRAM = """
import os
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
import warnings
warnings.simplefilter("error")
import sys
import tensorflow_grouped_convolution as plugin
assert "tensorflow" not in sys.modules and "keras" not in sys.modules
report = plugin.patch_keras()
assert report and "as soon as it is" in str(report), report
warnings.resetwarnings()
warnings.simplefilter("error", UserWarning)
{imports}
import {keras} as keras
import tensorflow as tf
assert not plugin.patch_keras()
assert "{keras} %s: it " % keras.__version__ in str(plugin.patch_keras()), plugin.patch_keras()
layer = keras.layers.Conv2D(8, 3, groups=4)
function = tf.function(lambda x: layer(x)).get_concrete_function(tf.TensorSpec([1, 9, 9, 8]))
assert "_XlaMustCompile" not in str(function.graph.as_graph_def())
print(plugin.patch_keras())
plugin.unpatch_keras()
"""

    def run_program(self, program):
        result = subprocess.run(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
            env=dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))),
        )
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    @EACH
    def test_is_patched_when_it_comes(self, keras):
        for imports in "", "import tensorflow":
            with self.subTest(imports):
                self.run_program(self.PROGRAM.format(keras=keras.__name__, imports=imports))

    def test_importing_tensorflow_imports_no_keras_more_than_before(self):
        program = "import sys; {} import tensorflow; print('tf_keras' in sys.modules)"
        patched = "import tensorflow_grouped_convolution as plugin; plugin.patch_keras();"
        self.assertEqual(
            self.run_program(program.format(patched)).split()[-1],
            self.run_program(program.format("")).split()[-1],
        )


class SourcesTest(KerasTestCase):
    """The Keras that the patches of sources are for."""

    def setUp(self):
        super().setUp()
        self.skip_unless_sources_fit()
        self.keras = importlib.import_module("keras")

    def test_transposed_layers_take_groups(self):
        keras = self.keras
        signature = inspect.signature(keras.ops.conv_transpose)
        documentation = keras.layers.Conv2DTranspose.__doc__
        self.assertTrue(plugin.patch_keras())
        layer = keras.layers.Conv2DTranspose(8, 3, groups=4, strides=2)
        model = keras.Sequential([keras.Input(X.shape[1:]), layer])
        self.assertEqual(layer.kernel.shape, (3, 3, 2, 8))
        self.assertFalse(compiled_by_xla(layer))
        path = os.path.join(FOLDER, "model.keras")
        model.save(path)
        np.testing.assert_array_equal(keras.models.load_model(path)(X), model(X))
        self.assertIn("groups:", keras.layers.Conv2DTranspose.__doc__)

        plugin.unpatch_keras()
        self.assertEqual(inspect.signature(keras.ops.conv_transpose), signature)
        self.assertEqual(keras.layers.Conv2DTranspose.__doc__, documentation)
        with self.assertRaisesRegex(ValueError, "groups"):
            keras.layers.Conv2DTranspose(8, 3, groups=4)

    def test_models_without_grouped_transposed_layers_load_in_official_keras(self):
        keras = self.keras
        self.assertTrue(plugin.patch_keras())
        layers = [
            keras.layers.Conv2D(8, 3, groups=4),
            keras.layers.Conv2DTranspose(6, 3, strides=2),
            keras.layers.Conv2D(6, 3, groups=3, data_format="channels_last"),
        ]
        model = keras.Sequential([keras.Input(X.shape[1:])] + layers)
        expected = model(X)
        paths = [os.path.join(FOLDER, name) for name in ("exchanged.keras", "exchanged.h5")]
        for path in paths:
            model.save(path)
        plugin.unpatch_keras()
        for path in paths:
            loaded = keras.models.load_model(path)
            np.testing.assert_allclose(loaded(X), expected, rtol=1e-5, atol=1e-5)
            # And back.
            loaded.save(path)
        self.assertTrue(plugin.patch_keras())
        for path in paths:
            loaded = keras.models.load_model(path)
            np.testing.assert_allclose(loaded(X), expected, rtol=1e-5, atol=1e-5)

    def test_bias_of_channels_first_goes_to_the_channels(self):
        x = np.zeros((2, 3, 3), np.float32)
        bias = np.arange(3, dtype=np.float32).reshape((1, 3, 1))
        self.assertTrue(plugin.patch_keras())
        np.testing.assert_array_equal(self.keras.ops.add(x, bias), x + bias)

    def test_source_is_that_of_what_runs(self):
        self.assertTrue(plugin.patch_keras())
        convolve = self.keras.src.backend.nn.conv
        self.assertStartsWith(inspect.getsource(convolve), "def conv(\n")
        self.assertIn("_needs_xla(", inspect.getsource(convolve))
        transposed = inspect.getsource(self.keras.layers.Conv2DTranspose.__init__)
        self.assertIn("groups=groups", transposed)
        plugin.unpatch_keras()
        self.assertNotIn("_needs_xla(", inspect.getsource(convolve))

    def replace_patch(self, text):
        self.addCleanup(mock.patch.stopall)
        mock.patch.object(
            source_patches, "PATCH", mock.Mock(read_text=lambda encoding=None: text)
        ).start()

    def test_another_keras_keeps_its_sources(self):
        text = source_patches.PATCH.read_text()
        self.replace_patch(text.replace("\n-", "\n-# Not there: "))
        report = str(plugin.patch_keras())
        message = "no groups: the patches are for Keras 3.15.1, and this one's keras.* differs"
        self.assertRegex(report, message)
        self.assertFalse(compiled_by_xla(self.keras.layers.Conv2D(8, 3, groups=4)))
        with self.assertRaisesRegex(ValueError, "groups"):
            self.keras.layers.Conv2DTranspose(8, 3, groups=4)

    def test_a_keras_without_such_modules_keeps_its_sources(self):
        names = list(source_patches._changes(source_patches.PATCH.read_text()))
        own = [name for name in names if re.match("keras.src.(layers|backend.common)", name)]
        self.assertGreater(len(own), 1)
        for name in own:
            with self.subTest(name), mock.patch.dict(sys.modules, {name: None}):
                self.assertRegex(str(plugin.patch_keras()), "no groups: .* %s is missing" % name)
                plugin.unpatch_keras()

    def test_patches_that_fail_midway_leave_nothing(self):
        text = source_patches.PATCH.read_text()
        before = state_of_keras()
        added = "\n+def convert_grouped_conv_transpose_kernel("
        self.assertIn(added, text)
        for line, error in (
            # Binds the one name before it misses the other.
            ("from os import path, not_there", ImportError),
            ("constant = 1", NotImplementedError),
            ("class New:\n+    def method(self):\n+        pass", NotImplementedError),
        ):
            with self.subTest(line):
                self.replace_patch(text.replace(added, "\n+" + line + added))
                with self.assertRaises(error):
                    plugin.patch_keras()
                self.assertEqual(state_of_keras(), before)
                mock.patch.stopall()

        later = Changes.later

        def failing_later(count):
            calls = itertools.count()

            def fail(self, undo):
                if next(calls) == count:
                    raise KeyboardInterrupt
                return later(self, undo)

            return fail

        for count in 0, 5, 20, 50:
            with mock.patch.object(Changes, "later", failing_later(count)):
                with self.assertRaises(KeyboardInterrupt):
                    plugin.patch_keras()
            self.assertEqual(state_of_keras(), before)

        self.assertTrue(plugin.patch_keras())
        self.assertNotEqual(state_of_keras(), before)
        plugin.unpatch_keras()
        self.assertEqual(state_of_keras(), before)


class OldObjectsTest(KerasTestCase):
    """What was made before and after patching and unpatching, pickled and cloned."""

    @EACH
    def test_layers_and_models(self, keras):
        def make():
            layers = [
                conv(keras, 2, groups=4),
                keras.layers.Conv2DTranspose(6, 3, strides=2),
                keras.layers.Conv2D(6, 3, groups=3, data_format="channels_last"),
                keras.layers.Conv2DTranspose(4, 3, data_format="channels_first"),
            ]
            model = keras.Sequential([keras.layers.InputLayer(X.shape[1:])] + layers[:3])
            return model, layers[3]

        def use(model, layer, expected):
            self.assertAllClose(model(X), expected)
            self.assertAllClose(model.predict(X, verbose=0), expected)
            clone = keras.models.clone_model(model)
            clone.set_weights(model.get_weights())
            self.assertAllClose(clone(X), expected)
            for copied in [make_copy(model) for make_copy in copies]:
                copied.set_weights(model.get_weights())
                self.assertAllClose(copied(X), expected)
            path = os.path.join(FOLDER, "model.h5")
            model.save(path)
            self.assertAllClose(keras.models.load_model(path)(X), expected)
            # As does one that is not built yet.
            other = type(layer).from_config(layer.get_config())
            self.assertEqual(tuple(other.compute_output_shape((2, 3, 7, 7))), (2, 4, 9, 9))
            other.build((2, 3, 7, 7))
            self.assertEqual(other.get_config().get("groups", 1), 1)
            return clone

        objects = [make()]
        copies = [lambda model: keras.Sequential.from_config(model.get_config())]
        if keras.__version__[:3] != "3.0":  # Whose models cannot be pickled.
            copies += [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
        expected = [np.array(objects[0][0](X))]
        for change in (
            plugin.patch_keras,
            plugin.unpatch_keras,
            plugin.patch_keras,
            plugin.unpatch_keras,
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                change()
            objects.append(make())
            expected.append(np.array(objects[-1][0](X)))
            for (model, layer), values in list(zip(objects, expected)):
                clone = use(model, layer, values)
                del clone

    def assertAllClose(self, one, other):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)

    def test_a_dense_layer_of_before(self):
        keras = KERASES[0]
        layer = keras.layers.Conv2DTranspose(4, 3)
        before, config = layer(X), layer.get_config()
        plugin.patch_keras()
        np.testing.assert_array_equal(layer(X), before)
        self.assertEqual(layer.get_config(), config)

    def test_operations_of_before(self):
        keras = KERASES[0]
        if not hasattr(keras, "ops"):
            self.skipTest("of Keras 3 alone")
        kernel = np.ones((3, 3, 5, 8), np.float32)
        inputs = keras.Input(X.shape[1:])
        model = keras.Model(inputs, keras.ops.conv_transpose(inputs, kernel, 1, padding="valid"))
        # Keras 3.15.1 hands over the arguments of such a model in another order.
        expected = keras.ops.conv_transpose(X, kernel, 1, padding="valid")
        for change in plugin.patch_keras, plugin.unpatch_keras, plugin.patch_keras:
            change()
            if sources_fit_before(keras) and change is plugin.patch_keras:
                np.testing.assert_allclose(model(X), expected, rtol=1e-5)

    def test_grouped_transposed_layers_are_refused_when_unpatched(self):
        self.skip_unless_sources_fit()
        keras = KERASES[0]
        plugin.patch_keras()
        layer = keras.layers.Conv2DTranspose(8, 3, groups=4, use_bias=False)
        unbuilt = keras.layers.Conv2DTranspose(8, 3, groups=4)
        inputs = keras.Input(X.shape[1:])
        model = keras.Model(inputs, layer(inputs))
        expected = model(X)
        plugin.unpatch_keras()
        for use in (
            lambda: layer(X),
            lambda: model(X),
            lambda: unbuilt(X),
            layer.get_config,
            lambda: keras.models.clone_model(model),
            lambda: pickle.dumps(layer),
            lambda: layer.compute_output_shape(X.shape),
        ):
            with self.assertRaisesRegex(RuntimeError, "Conv2DTranspose .* with groups=4"):
                use()
        plugin.patch_keras()
        np.testing.assert_array_equal(model(X), expected)
        self.assertEqual(unbuilt(X).shape, (2, 11, 11, 8))
        self.assertEqual(layer.get_config()["groups"], 4)


if __name__ == "__main__":
    absltest.main()
