"""The networks of networks.exs, with their optimizers, batches and steps, for the Python sides of the benchmarks."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optimizers

LETTERS, LENGTH = 128, 64


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm(outputs)
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm(outputs)]
        self.shortcut = [] if inputs == outputs else shortcut

    def __call__(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        for layer in self.shortcut:
            x = layer(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    WIDTHS = [64, 64, 128, 128, 256, 256, 512, 512]

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm(64)
        self.blocks = [Block(a, b, b // a) for a, b in zip([64, *self.WIDTHS], self.WIDTHS)]
        self.output = nn.Linear(512, 10)

    def __call__(self, x):
        x = nn.relu(self.bn1(self.conv1(x)))
        for block in self.blocks:
            x = block(x)
        return self.output(x.mean(axis=(1, 2)))


class Letters(nn.Module):
    def __init__(self, letters, length):
        super().__init__()
        self.letters = nn.Embedding(letters, 128)
        self.places = nn.Embedding(length, 128)
        self.encoder = nn.TransformerEncoder(2, 128, 4)
        self.output = nn.Linear(128, letters)

    def __call__(self, letters):
        x = self.letters(letters) + self.places(mx.arange(letters.shape[1]))
        return self.output(self.encoder(x, "causal"))


class Deep(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(32, 32) for _ in range(150)]

    def __call__(self, x):
        for layer in self.layers:
            x = x + nn.relu(layer(x))
        return x


def cnn(bias):
    return nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2),
        nn.Conv2d(32, 64, 3, padding=1, bias=bias),
        nn.ReLU(),
        nn.MaxPool2d(2, stride=2),
        lambda x: x.flatten(1),
        nn.Linear(7 * 7 * 64, 128),
        nn.ReLU(),
        nn.Linear(128, 10),
    )


def perceptron():
    return nn.Sequential(nn.Linear(32, 64), nn.BatchNorm(64), nn.ReLU(), nn.Linear(64, 10))


def images(*shape):
    return mx.random.normal(shape, key=mx.random.key(1)), mx.arange(shape[0]) % 10


def letters():
    x = mx.arange(8 * LENGTH).reshape(8, LENGTH) % LETTERS
    return x, (x + 1) % LETTERS


def new(name):
    return {
        "cnn": lambda: (cnn(True), optimizers.AdamW(0.001), images(32, 28, 28, 1)),
        "cnn without biases": lambda: (cnn(False), optimizers.AdamW(0.001), images(32, 28, 28, 1)),
        "resnet18": lambda: (ResNet(), optimizers.SGD(0.01, momentum=0.9), images(4, 32, 32, 3)),
        "letters": lambda: (Letters(LETTERS, LENGTH), optimizers.AdamW(0.001), letters()),
        "mlp of 300 arrays": lambda: (Deep(), optimizers.AdamW(0.001), images(32, 32)),
        "perceptron": lambda: (perceptron(), optimizers.AdamW(0.001), images(32, 32)),
    }[name]()


def loss(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def steps(model, optimizer):
    """A step, and the same compiled. Both change the model and the optimizer, and return the loss."""
    optimizer.init(model.trainable_parameters())
    gradients = nn.value_and_grad(model, lambda x, y: loss(model, x, y))

    def step(x, y):
        value, gradient = gradients(x, y)
        optimizer.update(model, gradient)
        return value

    state = [model.state, optimizer.state]
    return step, mx.compile(step, inputs=state, outputs=state)
