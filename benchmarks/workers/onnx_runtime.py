"""ONNX Runtime, which has no gradients: see worker.py."""

import numpy as np
import onnx
import onnxruntime


class OnnxRuntime:
    """One Conv node; its input, channels first, and its output stay where they are."""

    version = "ONNX Runtime " + onnxruntime.__version__

    def __init__(self, threads):
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads

    def load(self, problem, inputs, filters, gradient):
        rank = len(problem.input)
        node = onnx.helper.make_node(
            "Conv",
            ["x", "w"],
            ["y"],
            group=problem.groups,
            strides=problem.strides,
            dilations=problem.dilations,
            pads=[pads[side] for side in (0, 1) for pads in problem.paddings],
        )
        output_shape = [problem.batch, problem.output_channels] + problem.output
        dtype = np.dtype(problem.dtype)
        x = np.ascontiguousarray(np.moveaxis(inputs, -1, 1), dtype)
        w = np.ascontiguousarray(np.moveaxis(filters, (rank + 1, rank), (0, 1)), dtype)

        def describe(name, shape):
            element = onnx.helper.np_dtype_to_tensor_dtype(dtype)
            return onnx.helper.make_tensor_value_info(name, element, shape)

        graph = onnx.helper.make_graph(
            [node],
            "conv",
            [describe("x", x.shape)],
            [describe("y", output_shape)],
            [onnx.numpy_helper.from_array(w, "w")],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
        )
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), self._options, providers=["CPUExecutionProvider"]
        )
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", onnxruntime.OrtValue.ortvalue_from_numpy(x))
        output = onnxruntime.OrtValue.ortvalue_from_shape_and_type(output_shape, dtype)
        binding.bind_ortvalue_output("y", output)

        def forward():
            session.run_with_iobinding(binding)
            return output

        return {"forward": forward}

    def arrays(self, result):
        return [np.moveaxis(result.numpy(), 1, -1).astype(np.float32)]
