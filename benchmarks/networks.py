"""Networks that benchmarks train, as lists of operations that any framework can make.

    for node in NETWORKS["resnext50"]().nodes[1:]:
        made.append(make(node.op, [made[i] for i in node.inputs], **node.attributes))

The first node is the input, of 3 channels, the last one the logits of 1000 classes. Weights
are those that `weights` returns, so that all frameworks train the same network; padding is
as many zeros before as after. There is nothing random in them: no dropout, no stochastic
depth. Operations, of which those with a star have weights:

    conv*        filters, size, stride, groups, bias: a convolution, padded to keep its size
                 or, with `pad=False`, not padded. A depthwise one has groups = channels
    norm*        batch normalization; `momentum` and `epsilon` are Keras' defaults
    layer_norm*  over channels
    scale*       each channel times a number
    dense*       filters, bias: of channels
    relu, relu6, swish, gelu, sigmoid
    add, multiply, concat (channels)
    shuffle      groups: transposes channels as a matrix of groups by channels of each
    max_pool, average_pool: 3 x 3, stride 2, padded by 1; the average counts zeros
    global_pool  mean of all pixels; keeps an image of one pixel if `keep`
"""

import collections

import numpy as np

Node = collections.namedtuple("Node", "op inputs attributes shape")


class Network:
    """Nodes in an order in which they can be computed, and each one's channels."""

    def __init__(self):
        self.nodes = [Node("input", (), {}, None)]
        self._channels = [3]

    def __call__(self, op, *inputs, channels=None, shape=None, **attributes):
        """Adds an operation, of the last node unless told which; returns its number."""
        inputs = inputs or (len(self.nodes) - 1,)
        self.nodes.append(Node(op, inputs, attributes, shape))
        self._channels.append(channels or self._channels[inputs[0]])
        return len(self.nodes) - 1

    def conv(self, filters, size=1, stride=1, groups=1, bias=False, pad=True, at=None):
        at = len(self.nodes) - 1 if at is None else at
        attributes = dict(size=size, stride=stride, groups=groups, bias=bias, pad=pad)
        shape = (size, size, self._channels[at] // groups, filters)
        return self("conv", at, channels=filters, shape=shape, filters=filters, **attributes)

    def dense(self, filters, bias=True):
        shape = (self._channels[-1], filters)
        return self("dense", channels=filters, shape=shape, filters=filters, bias=bias)

    def block(self, *args, activation=None, **kwargs):
        """A convolution with batch normalization and activation."""
        self.conv(*args, **kwargs)
        self("norm")
        return self(activation) if activation else len(self.nodes) - 1

    def gate(self, squeezed, activation):
        """Squeeze and excitation."""
        x = len(self.nodes) - 1
        channels = self._channels[x]
        self("global_pool", keep=True)
        self.conv(squeezed, bias=True)
        self(activation)
        self.conv(channels, bias=True)
        return self("multiply", x, self("sigmoid"))

    def channels(self, number=-1):
        """How many a node has, the last one unless told which."""
        return self._channels[number]

    def head(self):
        self("global_pool", keep=False)
        self.dense(1000)
        return self


def weights(node, number):
    """The initial weights of a convolution or dense layer, number `number` of a network."""
    random = np.random.RandomState(number)
    scale = np.sqrt(2 / np.prod(node.shape[:-1]))
    return (scale * random.standard_normal(node.shape)).astype(np.float32)


def _residual(net, body, width, stride):
    """Adds what body() makes of the last node to that, or to a projection of it."""
    x, inputs = len(net.nodes) - 1, net.channels()
    body()
    y = len(net.nodes) - 1
    if inputs != width or stride != 1:
        x = net.block(width, stride=stride, at=x)
    net("add", y, x)
    return net("relu")


def resnext50():
    """ResNeXt-50 32x4d (https://arxiv.org/abs/1611.05431)."""
    net = Network()
    net.block(64, 7, 2, activation="relu")
    net("max_pool")
    for stage, blocks in enumerate((3, 4, 6, 3)):
        width = 128 << stage
        for number in range(blocks):
            stride = 2 if stage and not number else 1

            def body(width=width, stride=stride):
                net.block(width, activation="relu")
                net.block(width, 3, stride, groups=32, activation="relu")
                net.block(2 * width)

            _residual(net, body, 2 * width, stride)
    return net.head()


def regnety_4gf():
    """RegNetY-4.0GF (https://arxiv.org/abs/2003.13678), groups of 64 channels."""
    net = Network()
    net.block(32, 3, 2, activation="relu")
    for width, blocks in ((128, 2), (192, 6), (512, 12), (1088, 2)):
        for number in range(blocks):
            stride = 1 if number else 2

            squeezed = net.channels() // 4

            def body(width=width, stride=stride, squeezed=squeezed):
                net.block(width, activation="relu")
                net.block(width, 3, stride, groups=width // 64, activation="relu")
                net.gate(squeezed, "relu")
                net.block(width)

            _residual(net, body, width, stride)
    return net.head()


def shufflenet():
    """ShuffleNet 1x with 3 groups (https://arxiv.org/abs/1707.01083)."""
    net = Network()
    net.block(24, 3, 2, activation="relu")
    x = net("max_pool")
    for width, blocks in ((240, 4), (480, 8), (960, 4)):
        for number in range(blocks):
            x, inputs = len(net.nodes) - 1, net.channels()
            stride, filters = (1, width) if number else (2, width - inputs)
            groups = 1 if inputs == 24 else 3
            net.block(width // 4, groups=groups, activation="relu")
            net("shuffle", groups=3)
            net.block(width // 4, 3, stride, groups=width // 4)
            y = net.block(filters, groups=3)
            if number:
                net("add", y, x)
            else:
                net("concat", net("average_pool", x), y, channels=width)
            net("relu")
    return net.head()


def convnext_t():
    """ConvNeXt-T (https://arxiv.org/abs/2201.03545)."""
    net = Network()
    for stage, (width, blocks) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        size = 2 if stage else 4
        if stage:
            net("layer_norm")
        net.conv(width, size, size, bias=True, pad=False)
        if not stage:
            net("layer_norm")
        for _ in range(blocks):
            x = len(net.nodes) - 1
            net.conv(width, 7, groups=width, bias=True)
            net("layer_norm")
            net.dense(4 * width)
            net("gelu")
            net.dense(width)
            net("add", net("scale"), x)
    net("global_pool", keep=False)
    net("layer_norm")
    net.dense(1000)
    return net


def mobilenet_v2():
    """MobileNetV2 (https://arxiv.org/abs/1801.04381)."""
    net = Network()
    net.block(32, 3, 2, activation="relu6")
    stages = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, width, blocks, stride in stages:
        for number in range(blocks):
            _inverted_residual(net, expansion, width, 3, 1 if number else stride, "relu6")
    net.block(1280, activation="relu6")
    return net.head()


def efficientnet_b0():
    """EfficientNet-B0 (https://arxiv.org/abs/1905.11946)."""
    net = Network()
    net.block(32, 3, 2, activation="swish")
    stages = (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )
    for expansion, width, blocks, stride, size in stages:
        for number in range(blocks):
            once = 1 if number else stride
            _inverted_residual(net, expansion, width, size, once, "swish", gated=True)
    net.block(1280, activation="swish")
    return net.head()


def _inverted_residual(net, expansion, width, size, stride, activation, gated=False):
    x, inputs = len(net.nodes) - 1, net.channels()
    wide = expansion * inputs
    if expansion > 1:
        net.block(wide, activation=activation)
    net.block(wide, size, stride, groups=wide, activation=activation)
    if gated:
        net.gate(inputs // 4, activation)
    y = net.block(width)
    return net("add", y, x) if stride == 1 and inputs == width else y


NETWORKS = {
    network.__name__: network
    for network in (
        resnext50,
        regnety_4gf,
        shufflenet,
        convnext_t,
        mobilenet_v2,
        efficientnet_b0,
    )
}
