"""Tests of models exported to other formats, as docs/exports.md has it.

What runs here is to compute what the model does.
"""

import gc
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import absltest, parameterized
from tensorflow.lite.python import export_grouped

layers = keras.layers

# What converts for a target, and what else runs the result.
PACKAGES = {
    "onnx": ("tf2onnx", "onnxruntime"),
    "openvino": ("openvino",),
    "coreml": ("coremltools",),
    "tfjs": ("tensorflowjs",),
    "tflite": (),
    "tensorflow": (),
}
# Those whose results run here.
RUN_HERE = ("onnx", "openvino", "tflite", "tensorflow")


def table():
    """Yields each cell of the table in docs/exports.md: layer, target and what is said."""
    text = pathlib.Path(os.environ["EXPORTS"]).read_text(encoding="utf-8")
    lines = re.search(r"(?m)(^\| layer .*\n)(^\|.*\n)+", text).group().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for layer, *cells in rows[2:]:
        for target, cell in zip(rows[0][1:], cells):
            yield layer, target, cell


def make_layer(description):
    """Returns the layer that a row of the table is of, and a shape for it."""
    name, _, kind = re.fullmatch(r"`(\w+)`(, (.*))?", description).groups()
    options = {"groups": 2, "padding": "same", "strides": 2}
    if kind == "dilated":
        options.update(padding="valid", strides=1, dilation_rate=2)
    elif kind == "1 channel a group":
        options.update(groups=4)
    elif kind:
        raise ValueError(description)
    filters = 4 if name.endswith("Transpose") and kind else 8
    layer = getattr(layers, name)(filters, 3, **options)
    return layer, (9, 8, 7)[: layer.rank] + (4,)


def random(shape, seed=1):
    return np.random.RandomState(seed).standard_normal(shape).astype(np.float32)


def make_model(*new_layers, shape):
    """Returns a model with weights and statistics that are not those of new layers."""
    model = keras.Sequential([keras.Input(shape), *new_layers])
    randomize(model)
    return model


def randomize(model):
    for i, weight in enumerate(model.weights):
        weight.assign(np.abs(random(weight.shape, i)) / max(1, np.prod(weight.shape[:-1])) ** 0.5)


def reference(layer, x):
    """Returns what a layer is to compute, in float64: dense convolutions, beside each other."""
    kernel, bias = (weight.astype(np.float64) for weight in layer.get_weights())
    outputs = []
    for part, filters in zip(
        np.split(x.astype(np.float64), layer.groups, -1), np.split(kernel, layer.groups, -1)
    ):
        if isinstance(layer, layers.Conv1D | layers.Conv2D | layers.Conv3D):
            dilations = layer.dilation_rate
            outputs.append(
                tf.nn.convolution(
                    part, filters, layer.strides, layer.padding.upper(), dilations=dilations
                )
            )
        else:
            shape = layer.compute_output_shape(x.shape)
            shape = [*shape[:-1], layer.filters // layer.groups]
            outputs.append(
                tf.nn.conv_transpose(part, filters, shape, layer.strides, layer.padding.upper())
            )
    return np.concatenate(outputs, -1) + bias


def count_ops(path, target):
    """Returns how often each op is in an exported model."""
    if target == "onnx":
        import onnx

        ops = [node.op_type for node in onnx.load(path).graph.node]
    elif target == "openvino":
        layer_elements = xml.etree.ElementTree.parse(path).getroot().find("layers")
        ops = [element.get("type") for element in layer_elements]
    elif target == "tflite":
        interpreter = tf.lite.Interpreter(
            path,
            experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN_REF,
        )
        ops = [op["op_name"] for op in interpreter._get_ops_details()]
    elif target == "coreml":
        import coremltools

        program = coremltools.utils.load_spec(path).mlProgram
        (function,) = program.functions.values()
        (block,) = function.block_specializations.values()
        ops = [operation.type for operation in block.operations]
    else:
        raise ValueError(target)
    return {op: ops.count(op) for op in ops}


class ExportTestCase(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        # What is there is not looked at any more for garbage, which coremltools asks for
        # several times for each model.
        gc.freeze()
        self.folder = os.path.join(self.enter_context(tempfile.TemporaryDirectory()), "exported")

    def skip_without(self, target):
        for package in PACKAGES[target]:
            if not importlib.util.find_spec(package):
                self.skipTest("%s is not installed" % package)

    def export(self, model, target, **options):
        result = export_grouped.export(model, self.folder, target, **options)
        if target in RUN_HERE:
            self.assertLess(result.error, 1e-5)
            self.assertIsNone(result.unchecked)
        return result


class TableTest(ExportTestCase):
    def test_table_is_whole(self):
        rows = list(table())
        self.assertLen(rows, 14 * len(PACKAGES))
        self.assertSameElements({target for _, target, _ in rows}, PACKAGES)

    @parameterized.parameters(*table())
    def test_cell(self, description, target, cell):
        self.skip_without(target)
        layer, shape = make_layer(description)
        model = make_model(layer, layers.BatchNormalization(), layers.ReLU(), shape=shape)
        if cell == "refused":
            reason = "SpaceToBatchND|dilations|Rank of spatial|Unsupported Ops"
            with self.assertRaisesRegex(Exception, reason):
                self.export(model, target)
            self.assertFalse(os.path.exists(self.folder))
            return
        x = random((2, *shape))
        np.testing.assert_allclose(layer(x), reference(layer, x), rtol=1e-4, atol=1e-5)
        result = self.export(model, target)
        self.assertEqual(list(result.split.values()), [layer.groups] * (cell != "whole"))
        if target not in ("tensorflow", "tfjs"):
            ops = count_ops(result.path, target)
            convolutions = sum(ops[op] for op in ops if "conv" in op.lower())
            # OpenVINO puts the groups of dense ones together again.
            if target != "openvino" or "Transpose" in description:
                self.assertEqual(convolutions, layer.groups if cell == "split" else 1)


def gelu(x):
    """The one with a tanh: converters do not know the Erfc of the other."""
    return keras.activations.gelu(x, approximate=True)


class ModelTest(ExportTestCase):
    """Models that people have, at small sizes."""

    def residual(self, shape, *branch):
        x = y = keras.Input(shape)
        for layer in branch:
            y = layer(y)
        model = keras.Model(x, layers.ReLU()(layers.Add()([x, y])))
        randomize(model)
        return model

    def resnext_block(self):
        return self.residual(
            (8, 8, 32),
            layers.Conv2D(16, 1, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(16, 3, padding="same", groups=8, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(32, 1, use_bias=False),
            layers.BatchNormalization(),
        )

    def shufflenet_unit(self):
        return self.residual(
            (6, 6, 24),
            layers.Conv2D(12, 1, groups=3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Reshape((6, 6, 3, 4)),
            layers.Permute((1, 2, 4, 3)),
            layers.Reshape((6, 6, 12)),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.Conv2D(24, 1, groups=3, use_bias=False),
            layers.BatchNormalization(),
        )

    def convnext_block(self):
        return self.residual(
            (8, 8, 12),
            layers.Conv2D(12, 7, padding="same", groups=12),
            layers.LayerNormalization(epsilon=1e-6),
            layers.Dense(48, activation=gelu),
            layers.Dense(12),
        )

    def u_net(self):
        x = y = keras.Input((16, 16, 4))
        levels = []
        for filters in 8, 16:
            y = layers.Conv2D(filters, 3, padding="same", groups=4, activation="relu")(y)
            levels.append(y)
            y = layers.MaxPooling2D()(y)
        for filters, level in zip((16, 8), reversed(levels)):
            y = layers.Conv2DTranspose(filters, 3, strides=2, padding="same", groups=4)(y)
            y = layers.BatchNormalization()(y)
            y = layers.Concatenate()([layers.ReLU()(y), level])
        model = keras.Model(x, layers.Conv2D(2, 1)(y))
        randomize(model)
        return model

    def wav2vec_position(self):
        return self.residual(
            (20, 32),
            layers.ZeroPadding1D(8),
            layers.Conv1D(32, 16, groups=4),
            layers.Cropping1D((0, 1)),
            layers.Activation(gelu),
        )

    # How many convolutions are whole in ONNX, and how many are split, in 4 groups.
    MODELS = {
        "resnext_block": (3, 0),
        "shufflenet_unit": (3, 0),
        "convnext_block": (1, 0),
        "u_net": (3, 2),
        "wav2vec_position": (1, 0),
    }

    @parameterized.product(name=list(MODELS), target=(*RUN_HERE, "coreml"))
    def test_model(self, name, target):
        self.skip_without(target)
        result = self.export(getattr(self, name)(), target)
        whole, split = self.MODELS[name]
        self.assertEqual(list(result.split.values()), [4] * split)
        if target == "onnx":
            ops = count_ops(result.path, target)
            self.assertEqual(ops["Conv"], whole)
            self.assertEqual(ops.get("ConvTranspose", 0), 4 * split)


def convolution_model(function, *shape):
    """Returns a module that convolves with ops that no Keras layer makes."""
    module = tf.Module()
    module.call = tf.function(function, input_signature=[tf.TensorSpec(shape, name="x")])
    return module


class ExportTest(ExportTestCase):
    def transposed(self):
        layer = layers.Conv2DTranspose(8, 3, strides=2, padding="same", groups=4, name="up")
        return make_model(layer, shape=(9, 10, 8))

    def test_known_sizes_are_constants(self):
        model = self.transposed()
        result = self.export(model, "tflite")
        self.assertEqual(count_ops(result.path, "tflite")["CONCATENATION"], 1)
        self.skip_without("openvino")
        # OpenVINO reads TensorFlow Lite's files too, if their sizes are known.
        import openvino

        x = random((2, 9, 10, 8))
        compiled = openvino.compile_model(result.path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        np.testing.assert_allclose(compiled(x)[0], model(x), rtol=1e-5, atol=1e-5)

    def test_few_ops_in_onnx(self):
        self.skip_without("onnx")
        result = self.export(self.transposed(), "onnx")
        self.assertLessEqual(sum(count_ops(result.path, "onnx").values()), 12)

    @parameterized.parameters("onnx", "openvino", "tflite", "tensorflow")
    def test_sizes_that_are_not_known(self, target):
        self.skip_without(target)
        filters = random((3, 3, 2, 8))

        def call(x):
            n, h, w, _ = tf.unstack(tf.shape(x))
            return tf.nn.conv2d_transpose(x, filters, tf.stack([n, 2 * h, 2 * w, 4]), 2)

        module = convolution_model(call, None, None, 5, 8)
        if target == "tflite":
            # It fixes unknown sizes at 1, and resizes nothing by a signature.
            module = convolution_model(call, 2, 6, 5, 8)
        self.export(module, target, inputs=random((2, 6, 5, 8)))

    @parameterized.parameters("onnx", "openvino")
    def test_channels_first(self, target):
        self.skip_without(target)
        model = keras.Sequential(
            [
                keras.Input((8, 9, 10)),
                layers.Conv2DTranspose(
                    8, 3, strides=2, padding="same", groups=4, data_format="channels_first"
                ),
            ]
        )
        randomize(model)
        result = self.export(model, target)
        self.assertEqual(list(result.split.values()), [4])

    def test_function_that_is_called_with_several_shapes(self):
        filters = random((3, 3, 2, 8))

        @tf.function
        def transposed(x):
            n, h, w, _ = tf.unstack(tf.shape(x))
            return tf.nn.conv2d_transpose(x, filters, tf.stack([n, 2 * h, 2 * w, 4]), 2)

        concrete = transposed.get_concrete_function(tf.TensorSpec([None, None, None, 8]))
        module = convolution_model(
            lambda x: tf.concat(
                [tf.reshape(concrete(x), [2, -1]), tf.reshape(concrete(x[:, :4]), [2, -1])], 1
            ),
            *(2, 6, 5, 8),
        )
        self.export(module, "tensorflow")

    @parameterized.parameters("openvino", "tensorflow")
    def test_says_what_was_split(self, target):
        self.skip_without(target)
        result = self.export(self.transposed(), target)
        ((name, groups),) = result.split.items()
        self.assertIn("up", name)
        self.assertEqual(groups, 4)
        self.assertIn("%s (4 groups)" % name, str(result))

    def test_wrong_outputs_are_refused(self):
        self.skip_without("openvino")
        targets = export_grouped._TARGETS
        whole = targets["openvino"]._replace(split=())
        layer = layers.Conv2DTranspose(4, 3, groups=4, use_bias=False)
        with mock.patch.dict(targets, openvino=whole):
            with self.assertRaisesRegex(ValueError, "not exported to 'openvino'.*wrong.*has shape"):
                self.export(make_model(layer, shape=(5, 5, 4)), "openvino")
        self.assertEmpty(os.listdir(os.path.dirname(self.folder)))

        right = targets["openvino"]

        def run(path, inputs):
            return {name: 1.01 * value for name, value in right.run(path, inputs).items()}

        wrong = right._replace(run=run)
        with mock.patch.dict(targets, openvino=wrong):
            with self.assertRaisesRegex(ValueError, "differs there by up to 1.0e-02"):
                self.export(self.transposed(), "openvino")
            self.assertEmpty(os.listdir(os.path.dirname(self.folder)))
            # What the caller puts up with.
            export_grouped.export(self.transposed(), self.folder, "openvino", tolerance=0.02)

    def test_missing_converter_is_named(self):
        for target, package in ("onnx", "tf2onnx"), ("openvino", "openvino"):
            with mock.patch.dict(sys.modules, {package: None}):
                with self.assertRaisesRegex(
                    ImportError, "'%s' needs the package %s" % (target, package)
                ):
                    self.export(self.transposed(), target)
        self.assertEmpty(os.listdir(os.path.dirname(self.folder)))

    def test_missing_run_time_is_told(self):
        self.skip_without("onnx")
        with mock.patch.dict(sys.modules, onnxruntime=None):
            result = export_grouped.export(self.transposed(), self.folder, "onnx")
        self.assertIsNone(result.error)
        self.assertIn("not checked: onnxruntime cannot be imported", str(result))

    def test_what_is_refused(self):
        model = self.transposed()
        with self.assertRaisesRegex(ValueError, "'onnx', .*, not to 'caffe'"):
            self.export(model, "caffe")
        with self.assertRaisesRegex(ValueError, r"arrays for \['y'\].* inputs \['keras_tensor"):
            self.export(model, "tensorflow", inputs={"y": random((2, 9, 10, 8))})
        unknown = convolution_model(lambda x: x + 1, None, None)
        with self.assertRaisesRegex(ValueError, "cannot be checked without inputs: .* 'x'"):
            self.export(unknown, "tensorflow")
        self.assertEmpty(os.listdir(os.path.dirname(self.folder)))
        os.mkdir(self.folder)
        with self.assertRaisesRegex(FileExistsError, "exported' exists"):
            self.export(model, "tensorflow")
        self.assertEmpty(os.listdir(self.folder))

    @parameterized.parameters(
        ("Conv2D", {}),
        ("Conv2D", {"groups": 8}),
        ("Conv3D", {}),
        ("Conv2DTranspose", {}),
        ("Conv2DTranspose", {"groups": 1}),
    )
    def test_channels_first_is_refused_for_tfjs(self, name, options):
        options = {"groups": 2, "data_format": "channels_first", **options}
        layer = getattr(layers, name)(8, 3, **options, name="first")
        model = make_model(layer, shape=(8, 9, 8, 7)[: layer.rank + 1])
        with self.assertRaisesRegex(ValueError, "'.*first.*' cannot be .* channels last.* NC"):
            self.export(model, "tfjs")
        self.assertEmpty(os.listdir(os.path.dirname(self.folder)))

    @parameterized.parameters(("Conv1D", 2), ("Conv2D", 2), ("Conv2D", 1))
    def test_dilated_transposed_is_refused_for_tfjs(self, name, groups):
        layer = getattr(layers, name + "Transpose")(8, 3, groups=groups, dilation_rate=2)
        model = make_model(layer, shape=(9, 8, 8)[-layer.rank - 1 :])
        with self.assertRaisesRegex(ValueError, r"cannot be .*none with dilations, .* 2, 1\]"):
            self.export(model, "tfjs")
        self.assertEmpty(os.listdir(os.path.dirname(self.folder)))

    def test_command(self):
        path = self.folder + ".keras"
        self.transposed().save(path)
        command = [sys.executable, "-m", "tensorflow.lite.python.export_grouped", path]
        arguments = [self.folder, "--to", "tflite"]
        run = subprocess.run(command + arguments, stdout=subprocess.PIPE, text=True, check=True)
        self.assertRegex(
            run.stdout,
            r"Wrote .*exported/model.tflite.\nSplit, .*up.* \(4 groups\).\nIts outputs differ .*e-",
        )
        run = subprocess.run(command + arguments, stderr=subprocess.PIPE, text=True)
        self.assertEqual(run.returncode, 1)
        self.assertRegex(run.stderr, "export_grouped.*: Folder '.*exported' exists")


class TensorFlowLiteTest(ExportTestCase):
    """What TensorFlow Lite's converter is asked for by itself."""

    def test_dynamic_range_quantization(self):
        # The filters of a group are too small for it; all together are not.
        model = make_model(layers.Conv2DTranspose(64, 3, strides=2, groups=8), shape=(9, 10, 64))
        x = random((1, 9, 10, 64))
        for way in "model", "function", "saved_model":
            with self.subTest(way):
                sizes = []
                for optimizations in [], [tf.lite.Optimize.DEFAULT]:
                    if way == "model":
                        converter = tf.lite.TFLiteConverter.from_keras_model(model)
                    elif way == "saved_model":
                        folder = self.folder + way + str(len(sizes))
                        model.export(folder, verbose=False)
                        converter = tf.lite.TFLiteConverter.from_saved_model(folder)
                    else:
                        call = tf.function(lambda x: model(x))
                        concrete = call.get_concrete_function(tf.TensorSpec(x.shape))
                        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
                    converter.optimizations = optimizations
                    content = converter.convert()
                    sizes.append(len(content))
                # Of 4 bytes, each of the filters' elements has 1, and each filter a scale.
                self.assertLess(sizes[1], sizes[0] - 2.7 * 3 * 3 * 8 * 64)
                interpreter = tf.lite.Interpreter(model_content=content)
                interpreter.allocate_tensors()
                interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
                interpreter.invoke()
                actual = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
                expected = reference(model.layers[0], x)
                self.assertLess(np.abs(actual - expected).max(), 0.03 * np.abs(expected).max())

    @parameterized.parameters(1, 2)
    def test_refuses_dilated_3d(self, groups):
        filters = random((3, 3, 3, 4 // groups, 6))

        @tf.function(input_signature=[tf.TensorSpec([1, 9, 8, 7, 4])])
        def call(x):
            return tf.raw_ops.Conv3D(
                input=x,
                filter=filters,
                strides=[1] * 5,
                padding="SAME",
                dilations=[1, 2, 2, 2, 1],
                name="dilated",
            )

        converter = tf.lite.TFLiteConverter.from_concrete_functions([call.get_concrete_function()])
        with self.assertRaisesRegex(
            ValueError, r"'dilated' cannot be converted.* \[1, 2, 2, 2, 1\]"
        ):
            converter.convert()


if __name__ == "__main__":
    absltest.main()
