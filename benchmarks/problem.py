"""A convolution as one short string, for all processes of the benchmark.

The strings are those of problem_string.h beside the kernels, which tells their
keys; "_cf" is left out, as each peer is given the layout that it likes best.
"""

import re

import numpy as np

_KEYS = {"g", "mb", "ic", "oc"} | {kind + dim for kind in "iksdpq" for dim in "dhw"}


class Problem:
    """Shapes are channels last; filters [spatial..., input channels per group, outputs].

    `dtype` is the type of all tensors, of those in SIZES.
    """

    # Of types, bytes.
    SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}

    def __init__(self, text, dtype="float32"):
        """Raises ValueError if `text` is no problem string."""
        self.dtype = dtype
        values = {"_same": 0}
        for key, digits in re.findall(r"([a-z]+)([0-9]+)|_same", text):
            values[key or "_same"] = int(digits or 1)
        rest = re.sub(r"([a-z]+)([0-9]+)|_same", "", text)
        if rest or not values.keys() <= _KEYS | {"_same"}:
            raise ValueError("%r is no problem string" % text)

        self.text = text
        self.groups = values.get("g", 1)
        self.batch = values.get("mb", 1)
        self.input_channels = values.get("ic", 1)
        self.output_channels = values.get("oc", 1)
        volume = any(len(key) == 2 and key[1] == "d" for key in values)
        dims = "dhw" if volume else "hw"

        def sizes(kind, default):
            found = {dim: values.get(kind + dim, default) for dim in dims}
            if kind + "w" not in values:
                found["w"] = found["h"]
            return list(found.values())

        self.input = sizes("i", 1)
        self.filter = sizes("k", 1)
        self.strides = sizes("s", 1)
        self.dilations = sizes("d", 1)
        spans = [(k - 1) * d + 1 for k, d in zip(self.filter, self.dilations)]
        self._same_paddings = []
        for i, span, stride in zip(self.input, spans, self.strides):
            total = max((-(-i // stride) - 1) * stride + span - i, 0)
            self._same_paddings.append((total // 2, total - total // 2))
        if values["_same"]:
            self.paddings = self._same_paddings
        else:
            before = sizes("p", 0)
            after = [values.get("q" + dim, p) for dim, p in zip(dims, before)]
            self.paddings = list(zip(before, after))
        self.output = [
            (i + sum(padding) - span) // stride + 1
            for i, padding, span, stride in zip(self.input, self.paddings, spans, self.strides)
        ]

    @property
    def padding(self):
        """TensorFlow's name for the padding."""
        if self.paddings == self._same_paddings:
            return "SAME"
        return "EXPLICIT" if any(map(any, self.paddings)) else "VALID"

    @property
    def channels_per_group(self):
        return self.input_channels // self.groups

    @property
    def input_shape(self):
        return [self.batch] + self.input + [self.input_channels]

    @property
    def filter_shape(self):
        return self.filter + [self.channels_per_group, self.output_channels]

    @property
    def output_shape(self):
        return [self.batch] + self.output + [self.output_channels]

    @property
    def flops(self):
        """Of one pass; taps on padding count, as is usual."""
        taps = np.prod(self.filter, dtype=np.int64)
        return int(2 * taps * self.channels_per_group * np.prod(self.output_shape, dtype=np.int64))

    @property
    def bytes(self):
        """Of input, filter and output: each pass reads two and writes one."""
        shapes = self.input_shape, self.filter_shape, self.output_shape
        return self.SIZES[self.dtype] * sum(int(np.prod(shape, dtype=np.int64)) for shape in shapes)

    def tensors(self):
        """Returns input, filter and the output's gradient: the same in every process.

        They are float32, for each to round to `dtype`.
        """

        def values(seed, shape):
            # A prime period, so that no two channels or rows are alike.
            period = np.random.RandomState(seed).standard_normal(65521)
            return np.resize(period.astype(np.float32), shape)

        return (
            values(1, self.input_shape),
            values(2, self.filter_shape),
            values(3, self.output_shape),
        )
