"""Exports what ci/test_tfjs.py tests, in an environment that has the plugin.

    cases.py make (tfjs | tensorflow) FOLDER
    cases.py convert SAVED FOLDER

`make` makes the models anew; `convert` takes those that were made for TensorFlow in
another environment. FOLDER/cases.json says what there is: for each case what it is, what
is to become of it, what was exported or why not, an input, and the right output. EXPORTS
is docs/exports.md, and PYTHONPATH has tests/.
"""

import importlib
import json
import os
import pathlib
import sys

import keras
import numpy as np
import tensorflow_grouped_convolution as plugin
from tensorflow.lite import python as lite
from tensorflow_grouped_convolution import export_grouped

plugin.patch_keras()

# Where a rebuilt TensorFlow has it, whose tests have the layers and the models.
sys.modules[lite.__name__ + ".export_grouped"] = export_grouped
lite.export_grouped = export_grouped
formats = importlib.import_module("export_formats_test")

layers = keras.layers


def transposed_layer(**options):
    return layers.Conv2DTranspose(8, 3, groups=2, **options)


# What is refused though it converts, since the results would be wrong.
REFUSED = {
    "`Conv2DTranspose`, dilated": transposed_layer(dilation_rate=2),
    "`Conv2DTranspose`, channels first": transposed_layer(data_format="channels_first"),
    "`Conv2D`, channels first": layers.Conv2D(8, 3, groups=2, data_format="channels_first"),
    "`Conv2D`, 1 channel a group, channels first": layers.Conv2D(
        8, 3, groups=8, data_format="channels_first"
    ),
}


def models():
    """Yields what each case is, the model, what is to become of it, and what it computes."""
    for description, target, cell in formats.table():
        if target != "tfjs":
            continue
        layer, shape = formats.make_layer(description)
        normalization = layers.BatchNormalization()
        model = formats.make_model(layer, normalization, layers.ReLU(), shape=shape)
        x = formats.random((2, *shape))
        gamma, beta, mean, variance = (
            weight.astype(np.float64) for weight in normalization.get_weights()
        )
        y = formats.reference(layer, x) - mean
        y = y * gamma / np.sqrt(variance + normalization.epsilon) + beta
        yield description, model, {"becomes": cell, "groups": layer.groups}, x, np.maximum(y, 0)
    for description, layer in REFUSED.items():
        model = formats.make_model(layer, shape=(8, 8, 8))
        yield description, model, {"becomes": "refused"}, None, None
    for name in formats.ModelTest.MODELS:
        model = getattr(formats.ModelTest(), name)()
        x = formats.random((2, *model.input_shape[1:]))
        yield name, model, {}, x, model(x).numpy()


def write(model, to, place, case):
    """Exports a model to a place, and adds to the case what came of it."""
    try:
        case["path"] = export_grouped.export(model, place, to).path
    except Exception as error:
        # What is refused is to be so by name, and to leave nothing behind.
        case["error"] = "%s: %s" % (type(error).__name__, error)
        case["left"] = os.path.exists(place)


def make(to, folder):
    cases = []
    for description, model, case, x, y in models():
        case["name"] = description
        if x is not None:
            case["x"] = {"shape": x.shape, "data": x.ravel().tolist()}
            case["y"] = {"shape": y.shape, "data": y.ravel().tolist()}
        elif to != "tfjs":
            # Another target may take it, and what it makes of it is its own matter.
            continue
        write(model, to, str(folder / str(len(cases))), case)
        cases.append(case)
        if description == "u_net":
            model.save(folder / "u_net.keras")
    return cases


def convert(saved, folder):
    cases = json.loads((pathlib.Path(saved) / "cases.json").read_text())
    for i, case in enumerate(cases):
        if "path" in case:
            write(case.pop("path"), "tfjs", str(folder / str(i)), case)
    return cases


def main(command, source, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True)
    cases = {"make": make, "convert": convert}[command](source, folder)
    (folder / "cases.json").write_text(json.dumps(cases))


if __name__ == "__main__":
    main(*sys.argv[1:])
