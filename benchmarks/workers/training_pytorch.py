"""Training in PyTorch, channels last: see training.py."""

import pathlib
import sys

import numpy as np
import torch
from torch import nn

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1]))
from networks import NETWORKS, weights  # noqa: E402

VERSION = "PyTorch " + torch.__version__
LAYOUT = {"memory_format": torch.channels_last}


class LayerNorm(nn.LayerNorm):
    """Over channels, which lie last but are dimension 1."""

    def forward(self, x):
        if x.dim() == 2:
            return super().forward(x)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Dense(nn.Linear):
    def forward(self, x):
        if x.dim() == 2:
            return super().forward(x)
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Scale(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.factors = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x):
        return x * self.factors


class Call(nn.Module):
    """A function of tensors."""

    def __init__(self, function):
        super().__init__()
        self.forward = function


def conv(channels, filters, size, stride, groups, bias, pad):
    padding = size // 2 if pad else 0
    return nn.Conv2d(channels, filters, size, stride, padding, groups=groups, bias=bias)


OPS = {
    "conv": conv,
    "norm": lambda channels: nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01),
    "layer_norm": lambda channels: LayerNorm(channels, eps=1e-6),
    "scale": Scale,
    "dense": lambda channels, filters, bias: Dense(channels, filters, bias),
    "gelu": lambda channels: nn.GELU(),
    "swish": lambda channels: nn.SiLU(inplace=True),
    "sigmoid": lambda channels: nn.Sigmoid(),
    "relu": lambda channels: nn.ReLU(inplace=True),
    "relu6": lambda channels: nn.ReLU6(inplace=True),
    "add": lambda channels: Call(torch.add),
    "multiply": lambda channels: Call(torch.mul),
    "concat": lambda channels: Call(lambda *x: torch.cat(x, 1)),
    "shuffle": lambda channels, groups: nn.ChannelShuffle(groups),
    "max_pool": lambda channels: nn.MaxPool2d(3, 2, 1),
    "average_pool": lambda channels: nn.AvgPool2d(3, 2, 1),
    "global_pool": lambda channels, keep: Call(lambda x: x.mean((2, 3), keepdim=keep)),
}


class Network(nn.Module):
    def __init__(self, name):
        super().__init__()
        network = NETWORKS[name]()
        self.inputs = [node.inputs for node in network.nodes]
        # What is still needed behind each node.
        self.made = nn.ModuleList([nn.Identity()])
        for number, node in enumerate(network.nodes[1:], 1):
            channels = network.channels(node.inputs[0])
            module = OPS[node.op](channels, **node.attributes)
            if node.shape:
                values = weights(node, number)
                # Filters, or outputs, come first.
                values = values.transpose((3, 2, 0, 1) if values.ndim == 4 else (1, 0))
                with torch.no_grad():
                    module.weight.copy_(torch.from_numpy(np.ascontiguousarray(values)))
                    if module.bias is not None:
                        module.bias.zero_()
            self.made.append(module)

    def forward(self, x):
        results = [x]
        for module, inputs in zip(self.made[1:], self.inputs[1:]):
            results.append(module(*[results[i] for i in inputs]))
        return results[-1]


def network_case(name, dtype):
    def make():
        model = Network(name).to(**LAYOUT)
        optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        loss_of = nn.CrossEntropyLoss()
        # The same as Keras', which has channels last.
        x = np.random.RandomState(0).standard_normal((8, 224, 224, 3)).astype(np.float32)
        x = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(**LAYOUT)
        labels = torch.arange(8)

        def step():
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                logits = model(x)
            loss = loss_of(logits.float(), labels)
            loss.backward()
            optimizer.step()
            return loss.item()

        step.parameters = sum(p.numel() for p in model.parameters())
        return step

    return make


CASES = {}
for network in NETWORKS:
    CASES[network] = network_case(network, torch.float32)
    CASES[network + " bfloat16"] = network_case(network, torch.bfloat16)
