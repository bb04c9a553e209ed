"""Random uses of the convolution ops, spoilt more often than not, and what they mean."""

import itertools
import json
import math
import random

import numpy as np

LIMIT = 2**31 - 1  # Of a size or an attribute.
# What is larger may not fit memory, or take too long, and is not compared.
MOST_ELEMENTS = 1 << 22
MOST_TAPS = 1 << 12

# By op: its spatial rank, what it computes, its types, its arguments.
OPS = {
    "Conv2D": (2, "forward", "float16 float32 float64 int32", "input filter"),
    "Conv2DBackpropInput": (
        2,
        "input_gradient",
        "float16 float32 float64 int32",
        "input_sizes filter out_backprop",
    ),
    "Conv2DBackpropFilter": (
        2,
        "filter_gradient",
        "float16 float32 float64",
        "input filter_sizes out_backprop",
    ),
    "Conv3D": (3, "forward", "float16 float32 float64", "input filter"),
    "Conv3DBackpropInputV2": (
        3,
        "input_gradient",
        "float16 float32 float64",
        "input_sizes filter out_backprop",
    ),
    "Conv3DBackpropFilterV2": (
        3,
        "filter_gradient",
        "float16 float32 float64",
        "input filter_sizes out_backprop",
    ),
    # Of graphs that are older than the V2 above: a tensor stands for its shape.
    "Conv3DBackpropInput": (
        3,
        "input_gradient",
        "float16 float32 float64",
        "input filter out_backprop",
    ),
    "Conv3DBackpropFilter": (
        3,
        "filter_gradient",
        "float16 float32 float64",
        "input filter out_backprop",
    ),
    "_FusedConv2D": (2, "forward", "float32 float64", "input filter args"),
    "DepthwiseConv2dNative": (2, "forward", "float16 float32 float64", "input filter"),
    "DepthwiseConv2dNativeBackpropInput": (
        2,
        "input_gradient",
        "float16 float32 float64",
        "input_sizes filter out_backprop",
    ),
    "DepthwiseConv2dNativeBackpropFilter": (
        2,
        "filter_gradient",
        "float16 float32 float64",
        "input filter_sizes out_backprop",
    ),
}
# Those of oneDNN, which graphs alone have.
ONE_DNN_OPS = {
    "_MklNativeFusedConv2D": (2, "forward", "float32", "input filter args"),
    "_MklNativeFusedConv3D": (3, "forward", "float32", "input filter args"),
    "_MklNativeFusedDepthwiseConv2dNative": (2, "forward", "float32", "input filter args"),
    "_MklNativeConv2DBackpropFilterWithBias": (
        2,
        "filter_gradient",
        "float32",
        "input filter_sizes out_backprop",
    ),
}
ALL_OPS = {**OPS, **ONE_DNN_OPS}
# Whose filters are [height, width, input channels, multiplier].
DEPTHWISE = tuple(op for op in ALL_OPS if "Depthwise" in op)
# Which are padded by numbers, depthwise ones not in every release.
PADDED = tuple(op for op in ALL_OPS if "2D" in op and op[-8:] != "WithBias")
FIRST_FORMS = ("Conv3DBackpropInput", "Conv3DBackpropFilter")
FUSED = [
    ["BiasAdd"],
    ["BiasAdd", "Relu"],
    ["BiasAdd", "Relu6"],
    ["BiasAdd", "Elu"],
    ["FusedBatchNorm"],
    ["FusedBatchNorm", "Relu"],
]
EPSILON = 0.5

# How the op is run: at once; in a graph that knows all shapes, or all but some
# sizes, or nothing.
MODES = ["eager", "eager", "graph", "partial", "unknown"]


class Case:
    """What is asked of an op. Shapes are as its arguments state them.

    Attributes:
      op: its name.
      mode: one of MODES.
      dtype: name of the type T.
      shapes: by the argument's name, in their order; a list of shapes for args.
      attributes: by name.
    """

    def __init__(self, seed, number, more_types=(), more_ops=()):
        """A release may have `more_types` than OPS have, and of ONE_DNN_OPS `more_ops`."""
        self._random = random.Random("%d %d" % (seed, number))
        self.op = self._random.choice([*OPS, *more_ops])
        rank, self.kind, types, names = ALL_OPS[self.op]
        self.mode = self._random.choice(MODES)
        if (self.op in FIRST_FORMS or self.op in ONE_DNN_OPS) and self.mode == "eager":
            self.mode = "graph"
        self.dtype = self._random.choice(types.split() + list(more_types))
        self._make_convolution(rank, names.split())
        for _ in range(self._random.choice([0, 0, 1, 1, 1, 1, 2, 3])):
            self._random.choice([self._spoil_shape] * 3 + [self._spoil_attribute] * 2)()

    def __str__(self):
        return json.dumps(
            [self.op, self.mode, self.dtype, self.shapes, self.attributes], separators=(",", ":")
        )

    def known_shape(self, shape):
        """What a graph knows of an argument's shape."""
        if self.mode == "partial":
            return [self._random.choice([None, size]) for size in shape]
        return None if self.mode == "unknown" else shape

    def _make_convolution(self, rank, names):
        pick = self._random.choice
        groups = pick([1, 1, 2, 3, 4, 8])
        depthwise = self.op in DEPTHWISE
        first = pick([False, False, True]) and self.op not in FIRST_FORMS
        filters = [pick([1, 1, 2, 3]) for _ in range(rank)]
        strides = [pick([1, 1, 2, 3]) for _ in range(rank)]
        dilations = [pick([1, 1, 1, 2, 3]) for _ in range(rank)]
        padding = pick(["VALID", "SAME"] + ["EXPLICIT"] * (self.op in PADDED))
        pads = [pick([0, 1, 2]) for _ in range(2 * rank)]
        sizes = [pick([0, 1, 2, 3, 4, 5]) for _ in range(rank)]
        if padding != "SAME":
            sizes = [n + (k - 1) * d for n, k, d in zip(sizes, filters, dilations)]
        depth, width = pick([1] if depthwise else [1, 2, 3, 8]), pick([1, 2, 3, 8])

        def per_dimension(values, other):
            return other + other + values if first else other + values + other

        self.attributes = dict(
            strides=per_dimension(strides, [1]),
            dilations=per_dimension(dilations, [1]),
            padding=padding,
            data_format=("NC" + "DHW"[3 - rank :]) if first else ("N" + "DHW"[3 - rank :] + "C"),
        )
        if self.op in FIRST_FORMS:
            del self.attributes["data_format"]
        if self.op in PADDED:
            self.attributes["explicit_paddings"] = (
                per_dimension(pads, [0, 0]) if padding == "EXPLICIT" else []
            )
        batch = pick([0, 1, 2, 2])
        channels = [groups * depth]
        inputs = [batch] + (channels + sizes if first else sizes + channels)
        last = [groups, width] if depthwise else [depth, groups * width]
        self.shapes = dict(input=inputs, filter=filters + last)
        conv = Convolution(self)
        output = conv.output_shape if conv.error is None else [batch] + [1] * (rank + 1)
        whole = dict(
            self.shapes,
            input_sizes=self.shapes["input"],
            filter_sizes=self.shapes["filter"],
            out_backprop=output,
        )
        if self.op == "Conv2DBackpropInput" and pick([False, False, False, True]):
            whole["input_sizes"] = sizes
        if "args" in names:
            # In 3-D, oneDNN fuses no normalization.
            self.attributes["fused_ops"] = pick(FUSED[:4] if rank == 3 else FUSED)
            self.attributes["epsilon"] = EPSILON
            count = 4 if self.attributes["fused_ops"][0] == "FusedBatchNorm" else 1
            whole["args"] = [[groups * width] for _ in range(count)]
        self.shapes = {name: list(whole[name]) for name in names}

    def _spoil_shape(self):
        name = self._random.choice(list(self.shapes))
        if name == "args":
            shapes = self.shapes[name]
            place = self._random.randrange(len(shapes))
            shapes[place] = self._spoilt(shapes[place], stated=False)
        else:
            self.shapes[name] = self._spoilt(self.shapes[name], name.endswith("sizes"))

    def _spoilt(self, shape, stated):
        """A shape with something else in it; if only `stated`, then anything."""
        shape = list(shape)
        place = self._random.randrange(len(shape)) if shape else 0
        kind = self._random.randrange(8)
        if kind == 0 and shape:
            del shape[place]
        elif kind == 1:
            shape.insert(place, self._random.choice([0, 1, 2]))
        elif kind == 2 and len(shape) > 1:
            other = self._random.randrange(len(shape))
            shape[place], shape[other] = shape[other], shape[place]
        elif shape:
            values = [0, 0, 1, shape[place] + 1, shape[place] * 2, max(shape[place] - 1, 0)]
            if stated:
                values = [min(value, LIMIT) for value in values]
                values += [-1, -LIMIT - 1, LIMIT, LIMIT - 1, 1 << 16, 1 << 30]
            shape[place] = self._random.choice(values)
            if not stated and self._random.randrange(8) == 0:
                # What has no elements can be of almost any size.
                shape[place] = self._random.choice([LIMIT, LIMIT + 1, 1 << 40])
                shape[self._random.randrange(len(shape))] = 0
        possible = math.prod(shape) <= MOST_ELEMENTS and math.prod(filter(None, shape)) < 1 << 60
        return shape if stated or possible else [0] * len(shape)

    def _spoil_attribute(self):
        pick = self._random.choice
        name = pick([name for name in self.attributes if name != "epsilon"])
        if name == "padding":
            self.attributes[name] = pick(["VALID", "SAME", "EXPLICIT", "", "same"])
        elif name == "data_format":
            self.attributes[name] = pick(["NHWC", "NCHW", "NDHWC", "NCDHW", "HWNC", "NCHW_VECT_C"])
        elif name == "fused_ops":
            self.attributes[name] = pick(FUSED + [[], ["Relu"], ["BiasAdd", "BiasAdd"], ["", ""]])
        else:
            values = list(self.attributes[name])
            place = self._random.randrange(len(values)) if values else 0
            kind = self._random.randrange(6)
            if kind == 0:
                values.insert(place, 1)
            elif values:
                if kind == 1:
                    del values[place]
                else:
                    hostile = [0, -1, 2, 7, LIMIT, LIMIT + 1, 1 << 62, -(1 << 63), (1 << 63) - 1]
                    values[place] = pick(hostile)
            self.attributes[name] = values


class Convolution:
    """What a case asks for, by the definition of a convolution.

    Attributes:
      error: why it has no meaning, or None.
      may_fail: whether TensorFlow may refuse it nevertheless.
      too_large: whether it may take too much memory or time to compare.
      groups: how many it has, if its channels say that.
      depth: channels a group has.
      output: of each dimension, the size.
      spare: of each dimension, how many of the last pixels no window reaches.
      output_shape: of the convolution.
      result_shape: of what the op returns.
    """

    def __init__(self, case):
        self._case = case
        self.may_fail = False
        self.too_large = False
        self.groups = None
        self.spare = []
        self.error = self._read()

    def _read(self):
        case = self._case
        rank, kind, _, _ = ALL_OPS[case.op]
        shapes, attributes = case.shapes, case.attributes
        layouts = ["N" + "DHW"[3 - rank :] + "C", "NC" + "DHW"[3 - rank :]]
        layout = attributes.get("data_format", layouts[0])
        if layout not in layouts:
            return "data_format"
        self.first = layout == layouts[1]
        spatial = slice(2, None) if self.first else slice(1, -1)

        for name in "strides", "dilations":
            values = attributes[name]
            if len(values) != rank + 2 or not all(1 <= v <= LIMIT for v in values):
                return name
            setattr(self, name, values[spatial])
            if math.prod(values) != math.prod(values[spatial]):
                return name
        padding, pads = attributes["padding"], attributes.get("explicit_paddings", [])
        if padding == "EXPLICIT" and rank == 2:
            pairs = list(zip(pads[::2], pads[1::2]))
            if len(pads) != 2 * rank + 4 or not all(0 <= pad <= LIMIT for pad in pads):
                return "explicit_paddings"
            if sum(map(sum, pairs)) != sum(map(sum, pairs[spatial])):
                return "explicit_paddings"
            self.pads = pairs[spatial]
        elif padding not in ("VALID", "SAME") or pads:
            return "padding"

        inputs = shapes.get("input_sizes", shapes.get("input"))
        filters = shapes.get("filter_sizes", shapes.get("filter"))
        if case.op == "Conv2DBackpropInput" and len(inputs) == 2:
            # The image alone, in some releases: the rest follows from the other arguments.
            self.may_fail = True
            if len(shapes["out_backprop"]) != rank + 2 or len(filters) != rank + 2:
                return "shape"
            inputs = [shapes["out_backprop"][0]] + inputs
            inputs.insert(1 if self.first else 3, filters[rank])
        for shape in inputs, filters:
            if len(shape) != rank + 2 or not all(0 <= size <= LIMIT for size in shape):
                return "shape"
        self.sizes = inputs[spatial]
        channels = inputs[1] if self.first else inputs[-1]
        self.taps, self.depth, self.filters = filters[:rank], filters[rank], filters[-1]
        if case.op in DEPTHWISE:
            if channels != self.depth:
                return "channels"
            self.groups, self.depth = max(1, channels), min(1, channels)
            self.filters *= channels
            if self.filters > LIMIT:
                return "filter"
        elif channels == self.depth:
            self.groups = 1
        elif self.depth == 0 or channels == 0 or channels % self.depth:
            return "channels"
        else:
            self.groups = channels // self.depth
        if self.filters % self.groups or 0 in self.taps:
            return "filter"

        windows = [(k - 1) * d + 1 for k, d in zip(self.taps, self.dilations)]
        if padding == "SAME":
            output = [-(-size // stride) for size, stride in zip(self.sizes, self.strides)]
            needed = [
                max(0, (o - 1) * stride + window - size)
                for o, stride, window, size in zip(output, self.strides, windows, self.sizes)
            ]
            self.pads = [(n // 2, n - n // 2) for n in needed]
        else:
            if padding == "VALID":
                self.pads = [(0, 0)] * rank
            room = [
                size + sum(pad) - window
                for size, pad, window in zip(self.sizes, self.pads, windows)
            ]
            self.may_fail |= min(room) < 0
            output = [max(0, r // s + 1) for r, s in zip(room, self.strides)]
        self.output = output
        self.spare = [
            size + sum(pad) - (o - 1) * stride - window
            for size, pad, o, stride, window in zip(
                self.sizes, self.pads, output, self.strides, windows
            )
        ]
        self.batch = inputs[0]

        def whole(batch, sizes, channels):
            return [batch] + ([channels] + sizes if self.first else sizes + [channels])

        self.output_shape = whole(self.batch, output, self.filters)
        self.result_shape = {
            "forward": self.output_shape,
            "input_gradient": inputs,
            "filter_gradient": filters,
        }[kind]
        all_shapes = inputs, filters, self.output_shape
        sizes = [math.prod(shape) for shape in all_shapes]
        if any(math.prod(filter(None, shape)) >= 1 << 63 for shape in all_shapes):
            self.may_fail = True
        # Graphs do not take what has no channels.
        if self._case.mode != "eager" and 0 in (channels, self.depth):
            self.may_fail = True
        self.too_large = max(sizes) > MOST_ELEMENTS or math.prod(self.taps) > MOST_TAPS
        if shapes.get("out_backprop", self.output_shape) != self.output_shape:
            return "out_backprop"
        if "args" in shapes:
            fused = attributes["fused_ops"]
            if fused not in FUSED:
                return "fused_ops"
            if len(shapes["args"]) != (4 if fused[0] == "FusedBatchNorm" else 1):
                return "args"
            if not all(map(self._is_of_channels, shapes["args"])):
                return "args"
            # oneDNN's passes take a tensor like an output for a bias; others do not.
            if any(len(shape) > 1 for shape in shapes["args"]):
                if fused[0] != "BiasAdd":
                    return "args"
                self.may_fail = True
        return None

    def _is_of_channels(self, shape):
        """Whether a shape is that of the output's channels, with or without dimensions of 1."""
        place = 0 if len(shape) == 1 else len(shape) - (3 if self.first else 1)
        return 0 <= place < len(shape) <= 4 and shape[place] == self.filters == math.prod(shape)

    def result(self, values):
        """Returns what the op must return for its arguments' values."""

        def last(array):
            array = np.moveaxis(array, 1, -1) if self.first else array
            return split(array)

        def split(array):
            size = array.shape[-1] // self.groups
            return array.reshape(array.shape[:-1] + (self.groups, size))

        kind = self._case.kind
        dtype = np.int64 if self._case.dtype == "int32" else np.float64
        values = {
            name: value.astype(dtype)
            for name, value in values.items()
            if isinstance(value, np.ndarray)
        }
        inputs = [self.batch] + self.sizes + [self.groups, self.depth]
        output = [self.batch] + self.output + [self.groups, self.filters // self.groups]
        kernel = self.taps + [self.depth, self.groups, self.filters // self.groups]
        if self._case.op in DEPTHWISE and "filter" in values:
            values["filter"] = values["filter"].reshape(self.taps + [self.depth, self.filters])
        x = last(values["input"]) if "input" in values else np.zeros(inputs, dtype)
        w = split(values["filter"]) if "filter" in values else np.zeros(kernel, dtype)
        y = last(values["out_backprop"]) if kind != "forward" else np.zeros(output, dtype)
        if kind == "input_gradient":
            x = np.zeros(inputs, dtype)
        elif kind == "filter_gradient":
            w = np.zeros(kernel, dtype)
        for tap in itertools.product(*map(range, self.taps)):
            seen = self._connected(tap)
            if seen is None:
                continue
            here, there = seen
            if kind == "forward":
                y[there] += np.einsum("...gi,igo->...go", x[here], w[tap])
            elif kind == "input_gradient":
                x[here] += np.einsum("...go,igo->...gi", y[there], w[tap])
            else:
                axes = "nxyz"[: len(self.taps) + 1]
                w[tap] += np.einsum("%sgi,%sgo->igo" % (axes, axes), x[here], y[there])
        if kind == "filter_gradient":
            return w.reshape(self.result_shape)
        if kind == "forward":
            y = self._fused(y.reshape(y.shape[:-2] + (self.filters,)), values)
        else:
            y = x.reshape(x.shape[:-2] + (self.groups * self.depth,))
        return np.moveaxis(y, -1, 1) if self.first else y

    def _connected(self, tap):
        """The parts of input and output that a tap connects, or None."""
        here, there = [slice(None)], [slice(None)]
        for t, size, output, stride, dilation, (before, _) in zip(
            tap, self.sizes, self.output, self.strides, self.dilations, self.pads
        ):
            offset = t * dilation - before
            low = max(0, -(offset // stride))
            high = min(output, (size - 1 - offset) // stride + 1)
            if high <= low:
                return None
            there.append(slice(low, high))
            here.append(slice(low * stride + offset, (high - 1) * stride + offset + 1, stride))
        return tuple(here), tuple(there)

    def _fused(self, y, values):
        for op in self._case.attributes.get("fused_ops", []):
            if op == "BiasAdd":
                y = y + values["args0"].reshape(-1)
            elif op == "FusedBatchNorm":
                args = (values["args%d" % i].reshape(-1) for i in range(4))
                scale, offset, mean, variance = args
                y = (y - mean) * scale / np.sqrt(variance + EPSILON) + offset
            else:
                y = {
                    "Relu": lambda y: np.maximum(y, 0),
                    "Relu6": lambda y: np.clip(y, 0, 6),
                    "Elu": lambda y: np.where(y < 0, np.expm1(np.minimum(y, 0)), y),
                }[op](y)
        return y
