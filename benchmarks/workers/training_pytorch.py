"""Training in PyTorch, channels last: see training.py."""

import torch
from torch import nn

VERSION = "PyTorch " + torch.__version__
LAYOUT = {"memory_format": torch.channels_last}


def conv(inputs, filters, size, stride=1, groups=1):
    return nn.Sequential(
        nn.Conv2d(inputs, filters, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(filters),
    )


class Block(nn.Module):
    """As in training_keras.py."""

    def __init__(self, inputs, width, stride):
        super().__init__()
        self.body = nn.Sequential(
            conv(inputs, width, 1),
            nn.ReLU(inplace=True),
            conv(width, width, 3, stride, groups=32),
            nn.ReLU(inplace=True),
            conv(width, 2 * width, 1),
        )
        self.shortcut = nn.Identity()
        if inputs != 2 * width or stride != 1:
            self.shortcut = conv(inputs, 2 * width, 1, stride)

    def forward(self, x):
        return torch.relu_(self.body(x) + self.shortcut(x))


def resnext50():
    modules = [conv(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for block in range(blocks):
            modules.append(Block(inputs, 128 << stage, 2 if stage and not block else 1))
            inputs = 256 << stage
    return nn.Sequential(*modules, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 1000))


def resnext50_step():
    torch.manual_seed(0)
    model = resnext50().to(**LAYOUT)
    optimizer = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)
    loss_of = nn.CrossEntropyLoss()
    x, labels = torch.randn(8, 3, 224, 224).to(**LAYOUT), torch.arange(8)

    def step():
        optimizer.zero_grad()
        loss = loss_of(model(x), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


CASES = {"resnext50": resnext50_step}
