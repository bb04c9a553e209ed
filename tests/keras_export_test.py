"""Tests that models of a patched Keras 3 convert to TensorFlow Lite, by all ways.

TensorFlow Lite is to compute what the model does.
"""

import itertools
import os
import pathlib
import shutil
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from tensorflow.lite.python import split_grouped_convolutions

layers = keras.layers
LAYERS = ("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")


def random(shape):
    return np.random.RandomState(1).standard_normal(shape).astype(np.float32)


def make_model(*new_layers, channels=4):
    """Returns a model of layers of one rank, and an input for it."""
    rank = new_layers[0].rank
    model = keras.Sequential([keras.Input((7, 6, 5)[:rank] + (channels,)), *new_layers])
    return model, random((1,) + model.input_shape[1:])


def concrete(model, x):
    return tf.function(lambda x: model(x)).get_concrete_function(tf.TensorSpec(x.shape))


def exported(model, folder):
    model.export(folder, verbose=False)
    return folder


lite = tf.lite.TFLiteConverter
lite_v1 = tf.compat.v1.lite.TFLiteConverter
WAYS = {
    "model": lambda model, x, folder: lite.from_keras_model(model),
    "saved_model": lambda model, x, folder: lite.from_saved_model(exported(model, folder)),
    "function": lambda model, x, folder: lite.from_concrete_functions([concrete(model, x)]),
    "saved_model_v1": lambda model, x, folder: lite_v1.from_saved_model(exported(model, folder)),
}


def interpret(content, *inputs):
    """Returns what TensorFlow Lite computes, and the names of the ops that do it."""
    interpreter = tf.lite.Interpreter(model_content=content)
    for details, value in zip(interpreter.get_input_details(), inputs):
        interpreter.resize_tensor_input(details["index"], value.shape)
    interpreter.allocate_tensors()
    for details, value in zip(interpreter.get_input_details(), inputs):
        interpreter.set_tensor(details["index"], value)
    interpreter.invoke()
    (details,) = interpreter.get_output_details()
    ops = [op["op_name"] for op in interpreter._get_ops_details()]
    return interpreter.get_tensor(details["index"]), ops


class ExportTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enter_context(tempfile.TemporaryDirectory())

    def check(self, converter, expected, *inputs, tolerance=1e-5):
        actual, ops = interpret(converter.convert(), *inputs)
        self.assertEqual(actual.shape, expected.shape)
        error = np.abs(actual - expected).max()
        self.assertLessEqual(error, tolerance * np.abs(expected).max())
        return ops

    @parameterized.parameters(*itertools.product(LAYERS, (1, 2, 4)))
    def test_layer(self, name, groups):
        layer = getattr(layers, name)(8, 3, strides=2, padding="same", groups=groups)
        model, x = make_model(layer)
        for way, new_converter in WAYS.items():
            with self.subTest(way):
                folder = os.path.join(self.folder, way)
                ops = self.check(new_converter(model, x, folder), model(x).numpy(), x)
                # What TensorFlow Lite has groups for stays whole.
                split = groups > 1 and name not in ("Conv1D", "Conv2D")
                convolutions = [op for op in ops if "CONV" in op]
                self.assertLen(convolutions, groups if split else 1)

    def test_model_of_many_layers(self):
        model, x = make_model(
            layers.Conv2D(8, 3, groups=2, activation="relu"),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.BatchNormalization(),
            layers.SeparableConv2D(8, 3, padding="same"),
            layers.Conv2DTranspose(8, 3, strides=2, groups=4, activation="relu"),
            layers.Conv2DTranspose(4, 3),
            layers.Conv2DTranspose(6, 3, groups=2, use_bias=False),
        )
        for way, new_converter in WAYS.items():
            with self.subTest(way):
                folder = os.path.join(self.folder, way)
                self.check(new_converter(model, x, folder), model(x).numpy(), x)

    def test_any_batch_and_signature(self):
        model, _ = make_model(layers.Conv2DTranspose(8, 3, strides=2, groups=2))
        x = random((3,) + model.input_shape[1:])
        content = lite.from_keras_model(model).convert()
        actual, _ = interpret(content, x)
        np.testing.assert_allclose(actual, model(x), rtol=1e-5, atol=1e-5)
        signatures = tf.lite.Interpreter(model_content=content).get_signature_list()
        self.assertEqual(list(signatures), ["serving_default"])

    def test_saved_model_stays_as_it_is(self):
        model, x = make_model(layers.Conv3D(8, 3, groups=2))
        folder = pathlib.Path(exported(model, self.folder))

        def contents():
            return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

        before = contents()
        self.check(lite.from_saved_model(str(folder)), model(x).numpy(), x)
        self.assertEqual(contents(), before)

    def test_split_saved_model_leaves_nothing_half_done(self):
        source, target = os.path.join(self.folder, "source"), os.path.join(self.folder, "target")
        module = tf.Module()
        module.transposed = tf.function(
            lambda x, sizes: tf.nn.conv2d_transpose(x, random((3, 3, 2, 4)), sizes, 1),
            input_signature=[tf.TensorSpec([1, 7, 7, 4]), tf.TensorSpec([4], tf.int32)],
        )
        tf.saved_model.save(module, source, module.transposed)
        with self.assertRaisesRegex(ValueError, "cannot be converted: whether it is grouped"):
            split_grouped_convolutions.split_saved_model(source, target)
        self.assertEqual(os.listdir(self.folder), ["source"])
        shutil.rmtree(source)
        model, _ = make_model(layers.Conv3D(8, 3, groups=2))
        exported(model, source)
        os.mkdir(target)
        with self.assertRaisesRegex(FileExistsError, target):
            split_grouped_convolutions.split_saved_model(source, target)
        self.assertEmpty(os.listdir(target))

    @parameterized.parameters(
        *itertools.product(("Conv2D", "Conv2DTranspose"), ("model", "function"))
    )
    def test_quantization(self, name, way):
        # Not quantized where there are few weights.
        model, x = make_model(getattr(layers, name)(128, 3, groups=2), channels=64)
        float_size = len(WAYS[way](model, x, self.folder).convert())
        for kind, tolerance in ("float16", 2e-3), ("dynamic_range", 3e-2), ("int8", 5e-2):
            with self.subTest(kind):
                converter = WAYS[way](model, x, self.folder)
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                if kind == "float16":
                    converter.target_spec.supported_types = [tf.float16]
                elif kind == "int8":
                    converter.representative_dataset = lambda: [[x]]
                self.assertLess(len(converter.convert()), 0.6 * float_size)
                self.check(converter, model(x).numpy(), x, tolerance=tolerance)

    def test_control_flow(self):
        x, filters = random((1, 7, 7, 4)), random((3, 3, 2, 4)) / 9

        @tf.function(input_signature=[tf.TensorSpec(x.shape)])
        def convolve(x):
            def step(i, x):
                return i + 1, tf.nn.conv2d_transpose(x, filters, [1, 7, 7, 4], 1)

            return tf.while_loop(lambda i, x: i < 2, step, [0, x])[1]

        converter = lite.from_concrete_functions([convolve.get_concrete_function()])
        self.check(converter, convolve(x).numpy(), x)

    @parameterized.parameters(2, 3)
    def test_filters_that_are_not_constant(self, rank):
        x, filters = random((1,) + (5,) * rank + (4,)), random((3,) * rank + (2, 6))

        @tf.function(input_signature=[tf.TensorSpec(x.shape), tf.TensorSpec(filters.shape)])
        def convolve(x, filters):
            return tf.nn.convolution(x, filters)

        converter = lite.from_concrete_functions([convolve.get_concrete_function()])
        self.check(converter, convolve(x, filters).numpy(), x, filters)

    def test_only_signatures_that_are_converted_count(self):
        x, filters = random((1, 7, 7, 4)), random((3, 3, 2, 4)) / 9

        @tf.function
        def transposed(x, sizes):
            return tf.nn.conv2d_transpose(x, filters, sizes, 1, name="transposed")

        module = tf.Module()
        module.known = tf.function(
            lambda x: transposed(x, [1, 7, 7, 4]), input_signature=[tf.TensorSpec(x.shape)]
        )
        module.unknown = tf.function(
            lambda x, sizes: transposed(x, sizes),
            input_signature=[tf.TensorSpec(x.shape), tf.TensorSpec([4], tf.int32)],
        )
        signatures = {name: getattr(module, name) for name in ("known", "unknown")}
        tf.saved_model.save(module, self.folder, signatures)
        converter = lite.from_saved_model(self.folder, signature_keys=["known"])
        ops = self.check(converter, module.known(x).numpy(), x)
        self.assertEqual(ops.count("TRANSPOSE_CONV"), 2)
        for names in ["unknown"], ["known", "unknown"], None:
            converter = lite.from_saved_model(self.folder, signature_keys=names)
            with self.assertRaisesRegex(ValueError, "'transposed' cannot be converted: whether"):
                converter.convert()

    @parameterized.parameters("function", "saved_model")
    def test_names_that_are_taken(self, way):
        x, filters = random((1, 7, 7, 4)), random((3, 3, 2, 4)) / 9
        names = "axis", "split", "filters_0", "begin_1", "group_0", "group_1", "group_1_1"

        @tf.function(input_signature=[tf.TensorSpec(x.shape)])
        def convolve(x):
            y = tf.nn.conv2d_transpose(x, filters, [1, 7, 7, 4], 1, name="layer")
            for i, name in enumerate(names):
                y += tf.cos(x + i, name="layer/" + name)
            return y

        function = convolve.get_concrete_function()
        nodes = {node.name for node in function.graph.as_graph_def().node}
        self.assertContainsSubset(["layer/" + name for name in names], nodes)
        if way == "function":
            converter = lite.from_concrete_functions([function])
        else:
            module = tf.Module()
            module.convolve = convolve
            tf.saved_model.save(module, self.folder, convolve)
            converter = lite.from_saved_model(self.folder)
        ops = self.check(converter, convolve(x).numpy(), x)
        self.assertEqual(ops.count("TRANSPOSE_CONV"), 2)

    def test_refuses_unknown_channels_by_name(self):
        filters = random((3, 3, 2, 4))

        @tf.function(input_signature=[tf.TensorSpec([1, 7, 7, 4]), tf.TensorSpec([4], tf.int32)])
        def convolve(x, sizes):
            return tf.nn.conv2d_transpose(x, filters, sizes, 1, name="transposed")

        converter = lite.from_concrete_functions([convolve.get_concrete_function()])
        with self.assertRaisesRegex(ValueError, "'transposed' cannot be converted: whether"):
            converter.convert()


if __name__ == "__main__":
    absltest.main()
