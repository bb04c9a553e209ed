"""Fuzzes the convolution ops of the TensorFlow that it imports.

  fuzz_ops.py [--seed N] [--cases N] [--case I]

Each case is a small random convolution, forward or a gradient, of which, more
often than not, something is spoilt: a shape, a size, an attribute. It must give
what the definition of a convolution gives or, where that gives nothing, an
error that names an argument. A case follows from the seed and its number alone,
and runs in a child process, so that one that ends the process is told of like
any other. Ends with the status 1 if a case fails.
"""

import argparse
import math
import multiprocessing
import re
import resource
import sys
import traceback

import numpy as np
from conv_cases import FIRST_FORMS, LIMIT, ONE_DNN_OPS, Case, Convolution

TOLERANCE = {"bfloat16": 3e-2, "float16": 4e-3, "float32": 1e-4, "float64": 1e-11, "int32": 0}
SECONDS = 60  # After which a case hangs.
CASES_OF_A_CHILD = 1000
# What a child may allocate beyond what an imported TensorFlow has.
MEMORY = 2 << 30
NAMES = re.compile(
    r"\b(input|filter|out_backprop|strides?|dilations?|(explicit_)?paddings?|data_format|fused_ops)\b"
    r"|\b(input|filter)_sizes\b|\bbias\b|\bargs\[|'args'|[Ff]used|[Ff]usion"
    # Before any op is asked.
    r"|^Invalid value in tensor used for shape"
)


def reason(error):
    """Returns what an op says, without what TensorFlow adds, where names of arguments stand too."""
    message = getattr(error, "message", None) or str(error)
    message = message.rpartition("Node: 'convolution'\n")[2]
    message = re.sub(r"\{\{.*?\}\} *", "", message)
    return re.split(r"\n| for '| \[Op:|\[\[", message)[0]


class Runner:
    """Runs cases; it is made where TensorFlow may be imported."""

    def __init__(self):
        import tensorflow as tf
        from tensorflow.core.framework import graph_pb2
        from tensorflow.python.eager import context, execute
        from tensorflow.python.framework import kernels, op_def_registry, test_util

        self._tf = tf
        self._graph_def = graph_pb2.GraphDef
        self._context = context.context
        self._execute = execute.execute
        self._op_def = op_def_registry.get
        self._one_dnn = test_util.IsMklEnabled()
        self._kernels = kernels.get_registered_kernels_for_op
        with open("/proc/self/statm") as pages:
            used = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))

    def more(self):
        """What the release has CPU kernels for beyond OPS and their types, as Case takes it."""
        bfloat16 = self._tf.bfloat16.as_datatype_enum
        types = ["bfloat16"] * any(
            bfloat16 in constraint.allowed_values.list.type
            for kernel in self._kernels("Conv2D").kernel
            if kernel.device_type == "CPU"
            for constraint in kernel.constraint
        )
        ops = [op for op in ONE_DNN_OPS if self._one_dnn and self._kernels(op).kernel]
        return dict(more_types=types, more_ops=ops)

    def _is_left_out(self, case, convolution):
        """Whether no kernel would see the case, or the official one of oneDNN is known to fail."""
        of_type = next(attr for attr in self._op_def(case.op).attr if attr.name == "T")
        if self._tf.as_dtype(case.dtype).as_datatype_enum not in of_type.allowed_values.list.type:
            return True
        if not self._one_dnn:
            return False
        # An eager op is rewritten for it, which ends the process for more than an int32.
        values = case.attributes["strides"] + case.attributes["dilations"]
        if case.mode == "eager" and any(abs(value) > LIMIT for value in values):
            return True
        # It has lists of its own of what it fuses.
        if convolution.error == "fused_ops":
            return True
        # Of dense convolutions, it ends the process for want of memory.
        return convolution.groups == 1 and convolution.too_large

    def _may_be_wrong(self, case, convolution):
        """Whether the values of an official kernel of a dense convolution are known to be wrong."""
        if convolution.groups != 1:
            return False
        # Forward in 3-D takes other pixels than its gradients do.
        if case.op == "Conv3D" and any(pixels > 1 for pixels in convolution.spare):
            return True
        # Those of oneDNN at times in bfloat16, and forward of one channel where one column is left.
        one = convolution.depth == convolution.output[-1] == 1
        forward = case.kind == "forward" and one
        return self._one_dnn and (case.dtype == "bfloat16" or forward)

    def complaint(self, case):
        """Runs a case; returns what is wrong with its outcome, or None."""
        convolution = Convolution(case)
        if self._is_left_out(case, convolution):
            return None
        random = np.random.RandomState(0)
        values = {}
        for name, shape in case.shapes.items():
            if name.endswith("sizes"):
                values[name] = shape
            elif name == "args":
                for i, arg in enumerate(shape):
                    values["args%d" % i] = self._values(random, arg, case.dtype)
            else:
                values[name] = self._values(random, shape, case.dtype)
        run = self._run_eagerly if case.mode == "eager" else self._run_graph
        errors = self._tf.errors
        try:
            actual = run(case, values)
        except (errors.InvalidArgumentError, errors.UnimplementedError, ValueError) as error:
            if convolution.error is None and not convolution.may_fail:
                return "was refused: " + str(error)
            # A layout of quantized convolutions is left to the stock functions.
            quantized = case.attributes.get("data_format") == "NCHW_VECT_C"
            if not quantized and not NAMES.search(reason(error)):
                return "gave an error that names no argument: " + str(error)
            return None
        except errors.ResourceExhaustedError as error:
            return None if convolution.too_large else "wants memory: " + str(error)
        if convolution.error is not None:
            return "was accepted, but its %s is wrong" % convolution.error
        if list(actual.shape) != convolution.result_shape:
            return "has the shape %s, not %s" % (actual.shape, convolution.result_shape)
        if convolution.too_large or actual.size == 0 or self._may_be_wrong(case, convolution):
            return None
        return self._difference(actual, convolution.result(values), case.dtype)

    def _values(self, random, shape, dtype):
        numbers = random.randint(-9, 10, math.prod(shape))
        if dtype != "int32":
            # Of a batch normalization, the variance is one of them.
            numbers = numbers / 32 + 0.5
        # Reshaped last, as NumPy allocates some empty shapes as if they were not.
        return numbers.astype(self._tf.as_dtype(dtype).as_numpy_dtype).reshape(shape)

    def _difference(self, actual, expected, dtype):
        actual = actual.astype(expected.dtype)
        scale = max(1, np.abs(expected).max()) if expected.size else 1
        # Negated, so that a NaN differs.
        wrong = ~(np.abs(actual - expected) <= TOLERANCE[dtype] * scale)
        if not wrong.any():
            return None
        place = tuple(int(index[0]) for index in np.nonzero(wrong))
        return "is %s at %s, not %s" % (actual[place], place, expected[place])

    def _attributes(self, case):
        """Those that the op has."""
        attributes = dict(case.attributes, T=self._tf.as_dtype(case.dtype).as_datatype_enum)
        attributes["num_host_args"] = 0
        if "args" in case.shapes:
            count = len(case.shapes["args"])
            attributes.update(num_args=count, TArgs=[attributes["T"]] * count)
        known = {attribute.name: attribute.type for attribute in self._op_def(case.op).attr}
        return {name: (known[name], attributes[name]) for name in attributes if name in known}

    def _run_eagerly(self, case, values):
        tf = self._tf
        attributes = []
        for name, (_, value) in self._attributes(case).items():
            attributes += [name, value]
        tensors = [
            tf.constant(value, tf.int32) if isinstance(value, list) else tf.constant(value)
            for value in values.values()
        ]
        (output,) = self._execute(
            case.op.encode(), 1, inputs=tensors, attrs=tuple(attributes), ctx=self._context()
        )
        # NumPy allocates some empty shapes as if they were not.
        return output.numpy() if math.prod(output.shape) else np.zeros(0).reshape(output.shape)

    def _run_graph(self, case, values):
        tf = self._tf
        graph_def = self._graph_def()
        if case.op in FIRST_FORMS:
            graph_def.versions.producer = 9
        node = graph_def.node.add(name="convolution", op=case.op, input=values)
        if case.op in ONE_DNN_OPS:
            node.attr["_kernel"].s = b"MklNameChangeOp"
        for name, (kind, value) in self._attributes(case).items():
            attribute = node.attr[name]
            if kind == "type":
                attribute.type = value
            elif kind == "string":
                attribute.s = value.encode()
            elif kind == "int":
                attribute.i = value
            elif kind == "float":
                attribute.f = value
            elif kind == "list(int)":
                attribute.list.i.extend(value)
            elif kind == "list(type)":
                attribute.list.type.extend(value)
            else:
                attribute.list.s.extend(text.encode() for text in value)
        feed = {}
        with tf.Graph().as_default() as graph:
            inputs = {}
            for name, value in values.items():
                if isinstance(value, list) and case.mode != "unknown":
                    inputs[name] = tf.constant(value, tf.int32)
                    continue
                value = np.array(value, np.int32) if isinstance(value, list) else value
                inputs[name] = tf.compat.v1.placeholder(value.dtype, case.known_shape(value.shape))
                feed[inputs[name]] = value
            (fetch,) = tf.graph_util.import_graph_def(graph_def, inputs, ["convolution:0"], name="")
            with tf.compat.v1.Session(graph=graph) as session:
                output = session.run(fetch, feed)
        if not fetch.shape.is_compatible_with(output.shape):
            raise AssertionError("%s, where the graph expects %s" % (output.shape, fetch.shape))
        return output


def serve(connection, seed):
    """What a child does: runs each case that it is sent the number of, until None."""
    runner = Runner()
    more = runner.more()
    connection.send(more)
    for number in iter(connection.recv, None):
        try:
            complaint = runner.complaint(Case(seed, number, **more))
        except Exception:
            complaint = traceback.format_exc()
        connection.send(complaint)


class Child:
    """A process that runs cases.

    Attributes:
      more: what Case is made with.
    """

    def __init__(self, seed):
        # Forked while no TensorFlow is imported, whose threads would be lost.
        fork = multiprocessing.get_context("fork")
        self._connection, childs = fork.Pipe()
        self._process = fork.Process(target=serve, args=(childs, seed), daemon=True)
        self._process.start()
        childs.close()
        self.more = self._connection.recv()

    def complaint(self, number):
        """Runs a case; returns what is wrong, or None, and whether the child lives on."""
        self._connection.send(number)
        if not self._connection.poll(SECONDS):
            self._process.kill()
            return "hangs", False
        try:
            return self._connection.recv(), True
        except EOFError:
            self._process.join()
            return "ends the process, with status %d" % self._process.exitcode, False

    def end(self):
        self._connection.send(None)
        self._process.join()


def fuzz(seed, numbers):
    """Yields each failed case: its number, what it is, what is wrong."""
    child = None
    for number in numbers:
        child = child or Child(seed)
        complaint, lives = child.complaint(number)
        if complaint is not None:
            yield number, Case(seed, number, **child.more), complaint
        # What oneDNN keeps of each is more than a child may have, in the end.
        if lives and number % CASES_OF_A_CHILD == CASES_OF_A_CHILD - 1:
            child.end()
            lives = False
        if not lives:
            child = None
    if child is not None:
        child.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cases", type=int, default=10000)
    parser.add_argument("--case", type=int, help="number of the one to run")
    arguments = parser.parse_args()
    numbers = range(arguments.cases) if arguments.case is None else [arguments.case]
    failed = 0
    for number, case, complaint in fuzz(arguments.seed, numbers):
        failed += 1
        print("FAILED, seed %d, case %d: %s" % (arguments.seed, number, case))
        print("  " + complaint, flush=True)
    print("%d cases of seed %d, %d failed" % (len(numbers), arguments.seed, failed))
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
