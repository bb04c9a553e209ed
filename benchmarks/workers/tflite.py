"""TensorFlow Lite with XNNPACK, which has no gradients: see worker.py."""

import tensorflow as tf


class TfLite:
    """One convolution; its input and its output stay in the interpreter."""

    version = "TensorFlow Lite of TensorFlow " + tf.__version__

    def __init__(self, threads):
        self._threads = threads

    def load(self, problem, inputs, filters, gradient):
        if len(problem.input) != 2:
            raise NotImplementedError("no grouped 3-D convolution")
        padding = problem.padding
        if padding == "EXPLICIT":
            # A Pad op, which XNNPACK makes part of the convolution.
            paddings, padding = [(0, 0)] + problem.paddings + [(0, 0)], "VALID"
        else:
            paddings = None
        depthwise = problem.channels_per_group == 1

        @tf.function(input_signature=[tf.TensorSpec(problem.input_shape)])
        def convolution(x):
            if paddings:
                x = tf.pad(x, paddings)
            if depthwise:
                return tf.nn.depthwise_conv2d(
                    x,
                    filters.reshape(problem.filter + [problem.groups, -1]),
                    [1] + problem.strides + [1],
                    padding,
                    dilations=problem.dilations,
                )
            return tf.nn.conv2d(x, filters, problem.strides, padding, dilations=problem.dilations)

        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [convolution.get_concrete_function()], convolution
        )
        interpreter = tf.lite.Interpreter(
            model_content=converter.convert(), num_threads=self._threads
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
        output = interpreter.get_output_details()[0]["index"]

        def forward():
            interpreter.invoke()
            return interpreter, output

        return {"forward": forward}

    def arrays(self, result):
        interpreter, output = result
        return [interpreter.get_tensor(output)]
