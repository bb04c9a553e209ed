"""The patches of Keras, applied to the Keras that runs.

For those who cannot replace Keras by the patched one. The functions of a patched
source take the places of those that are there, whoever has a reference to them:
each function object gets other code. Nothing on disk changes.
"""

import ast
import functools
import importlib
import inspect
import itertools
import linecache
import pathlib
import re
import warnings

PATCH = pathlib.Path(__file__).with_name("keras.patch")

# How to take back each change, the last first, while the patches are applied.
_undo = []


class _PatchError(Exception):
    """What there is of Keras is not what the patches were made for."""


def _changes(patch):
    """Returns the hunks for each module, given the text of patches."""
    changes = {}
    for section in re.split(r"(?m)^diff --git ", patch)[1:]:
        path = re.search(r"(?m)^\+\+\+ b/(.*)$", section).group(1)
        if not path.endswith("_test.py"):
            module = path[: -len(".py")].replace("/", ".")
            hunks = re.split(r"(?m)^@@ -(\d+).*\n", section)[1:]
            changes.setdefault(module, []).append(list(zip(hunks[::2], hunks[1::2])))
    return changes


def _patched(source, patches):
    """Returns a module's source with the hunks of each patch applied at their very places."""
    for hunks in patches:
        lines = source.splitlines()
        for start, hunk in reversed(hunks):
            # The next patch begins with other lines.
            changed = list(itertools.takewhile(re.compile("[ +-]").match, hunk.splitlines()))
            before = [line[1:] for line in changed if line[0] != "+"]
            after = [line[1:] for line in changed if line[0] != "-"]
            place = slice(int(start) - 1, int(start) - 1 + len(before))
            if lines[place] != before:
                raise _PatchError("differs")
            lines[place] = after
        source = "\n".join(lines) + "\n"
    return source


def _definitions(source):
    """Returns the statements of a module, those in classes too, by qualified name or text."""
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                name = getattr(member, "name", ast.dump(member))
                found["%s.%s" % (node.name, name)] = member
        else:
            found[getattr(node, "name", ast.dump(node))] = node
    return found


def _restorer(owner, name):
    """Returns what gives an attribute the value back that it has now, if any."""
    if hasattr(owner, name):
        return functools.partial(setattr, owner, name, getattr(owner, name))
    return functools.partial(vars(owner).pop, name, None)


def _set(owner, name, value):
    """Sets an attribute and notes how to take that back."""
    _undo.append(_restorer(owner, name))
    setattr(owner, name, value)


def _source_name(module):
    """Returns what stands for the file of a module's patched source."""
    return "<patched %s>" % module.__name__


def _compiled(module, nodes):
    """Returns the names that statements define when they run in a copy of a module."""
    names = dict(vars(module))
    exec(compile(ast.Module(nodes, []), _source_name(module), "exec"), names)
    return names


def _change_function(module, name, node):
    """Gives a function or method of a module the code of another definition."""
    function = inspect.unwrap(functools.reduce(getattr, name.split("."), module))
    node.decorator_list = []
    owner = name.rpartition(".")[0]
    if owner:
        # For super(), which refers to the class that the definition is in.
        node = ast.ClassDef(owner, [], [], [node], [], type_params=[])
    defined = _compiled(module, [ast.fix_missing_locations(node)])[name.partition(".")[0]]
    new = getattr(defined, name.rpartition(".")[2]) if owner else defined
    for attribute in "__code__", "__defaults__", "__kwdefaults__", "__doc__":
        _set(function, attribute, getattr(new, attribute))


def _change_module(module, source, patched):
    """Makes a module what it would be if it had another source."""
    # Where `inspect` finds it, with which tf.function reads what it compiles.
    lines = patched.splitlines(keepends=True)
    linecache.cache[_source_name(module)] = len(patched), None, lines, _source_name(module)
    before, after = _definitions(source), _definitions(patched)
    for name, node in after.items():
        old = before.get(name)
        if old is not None and ast.dump(old) == ast.dump(node):
            continue
        if isinstance(old, ast.FunctionDef):
            _change_function(module, name, node)
        elif old is None and isinstance(node, (ast.FunctionDef, ast.Import, ast.ImportFrom)):
            names = [node.name] if isinstance(node, ast.FunctionDef) else []
            names += [alias.asname or alias.name for alias in getattr(node, "names", [])]
            code = compile(ast.Module([node], []), _source_name(module), "exec")
            _undo.extend(_restorer(module, new) for new in names)
            exec(code, vars(module))
        elif isinstance(node, ast.Expr) and "." in name:
            # A class's documentation.
            _set(getattr(module, name.partition(".")[0]), "__doc__", node.value.value)
        else:
            raise NotImplementedError("%s of %s cannot be changed" % (name, module.__name__))


def _import(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise _PatchError("is missing") from None


def _plans(keras):
    """Returns each module to change with its source and the patched one; none if it has them."""
    patch = PATCH.read_text(encoding="utf-8")
    plans = []
    name = "keras.src.backend.common.backend_utils"
    try:
        # The function that the patches add for all backends; a later Keras, which may
        # have such groups of its own, is another release.
        if hasattr(_import(name), "convert_grouped_conv_transpose_kernel"):
            return plans
        for name, patches in _changes(patch).items():
            backend = re.match(r"keras\.src\.backend\.(\w+)\.", name)
            if backend and backend.group(1) not in ("common", keras.backend.backend()):
                continue  # Of another backend, which may not even be installed.
            module = _import(name)
            source = pathlib.Path(module.__file__).read_text(encoding="utf-8")
            plans.append((module, source, _patched(source, patches)))
    except _PatchError as error:
        release = re.search(r"(?m)^\S*patches/keras-([^/]+)/", patch).group(1)
        raise RuntimeError(
            "the patches are for Keras %s, and Keras %s is not that release: its %s %s"
            % (release, keras.__version__, name, error)
        ) from None
    return plans


def patch_keras():
    """Has Keras 3 leave grouped convolutions to the kernels, and know groups in all layers.

    Does for the Keras that runs what the patched wheel of Keras does: grouped
    convolutions on a CPU are no longer compiled with XLA, and the transposed
    convolution layers take `groups`. Call it before models are built: what has been
    traced stays as it was. Calling it again changes nothing; `unpatch_keras()` takes
    it back.

    Returns:
      Whether something was changed: not if Keras is a patched one.

    Warns:
      If the kernels are not loaded.

    Raises:
      RuntimeError: if this Keras is not the release that the patches are for. It is
        as it was then.

    """
    import keras

    plans = [] if _undo else _plans(keras)
    if not plans:
        return False
    try:
        for module, source, patched in plans:
            _change_module(module, source, patched)
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf
            from keras.src.backend.tensorflow import nn

            if not nn._has_general_cpu_kernel("Conv2D", tf.float32):
                warnings.warn(
                    "TensorFlow %s runs without the CPU kernels of grouped convolution, so Keras "
                    "goes on compiling it with XLA: is this package installed where TensorFlow "
                    "is, and made for this release?" % tf.__version__,
                    stacklevel=2,
                )
    except BaseException:
        unpatch_keras()
        raise
    return True


def unpatch_keras():
    """Takes back what patch_keras() has changed."""
    while _undo:
        _undo.pop()()
