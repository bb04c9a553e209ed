"""The patches of Keras' sources, applied to the Keras that runs.

For what takes more than wrapping what is there: groups of transposed layers. The
functions of a patched source take the places of those that are there, whoever has a
reference to them: each function object gets other code. Nothing on disk changes.
"""

import ast
import functools
import importlib
import inspect
import itertools
import linecache
import pathlib
import re
import weakref

PATCH = pathlib.Path(__file__).with_name("keras.patch")


class PatchError(Exception):
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
                raise PatchError("differs")
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


def _source_name(module):
    """Returns what stands for the file of a module's patched source."""
    return "<patched %s>" % module.__name__


def _compiled(module, nodes):
    """Returns the names that statements define when they run in a copy of a module."""
    names = dict(vars(module))
    exec(compile(ast.Module(nodes, []), _source_name(module), "exec"), names)
    return names


class _NewAttribute:
    """An attribute that a patched class sets in its objects, which older ones lack.

    These have what they would have by default. Those that have something else are not
    what the class can serve when it is no longer patched.
    """

    def __init__(self, name, default):
        self._name = name
        self._default = default
        self._others = weakref.WeakSet()

    def __get__(self, instance, owner=None):
        return self._default if instance is None else vars(instance).get(self._name, self._default)

    def __set__(self, instance, value):
        vars(instance)[self._name] = value
        if value != self._default:
            self._others.add(instance)

    def disable(self):
        """Has the objects refuse what their class would do as if it were the default."""
        for instance in self._others:
            for method in _METHODS:
                if hasattr(instance, method):
                    vars(instance)[method] = functools.partial(
                        self._refuse, type(instance).__name__, getattr(instance, self._name)
                    )

    def enable(self):
        """Takes that back."""
        for instance in self._others:
            for method in _METHODS:
                vars(instance).pop(method, None)

    def _refuse(self, owner, value, *args, **kwargs):
        raise RuntimeError(
            "this %s was made with %s=%s, which Keras knows after patch_keras() alone, and "
            "unpatch_keras() was called" % (owner, self._name, value)
        )


# What an object does that depends on how it was made.
_METHODS = (
    "build",
    "call",
    "compute_output_shape",
    "compute_output_spec",
    "get_config",
)

# Those of each class, for when it is patched again.
_new_attributes = {}


def _add_attributes(owner, before, after, changes):
    """Gives a class the attributes that its patched __init__ sets, for older objects."""
    for parameter in after.parameters.values():
        name = parameter.name
        if name not in before.parameters and parameter.default is not parameter.empty:
            attribute = _new_attributes.setdefault(
                (owner, name), _NewAttribute(name, parameter.default)
            )
            changes.later(attribute.disable)
            changes.set(owner, name, attribute)
            attribute.enable()


def _change_function(module, name, node, changes):
    """Gives a function or method of a module the code of another definition."""
    function = inspect.unwrap(functools.reduce(getattr, name.split("."), module))
    before = inspect.signature(function)
    node.decorator_list = []
    owner, _, short_name = name.rpartition(".")
    if owner:
        # For super(), which refers to the class that the definition is in.
        node = ast.ClassDef(owner, [], [], [node], [], type_params=[])
    defined = _compiled(module, [ast.fix_missing_locations(node)])[name.partition(".")[0]]
    new = getattr(defined, short_name) if owner else defined
    for attribute in "__code__", "__defaults__", "__kwdefaults__", "__doc__":
        changes.set(function, attribute, getattr(new, attribute))
    if short_name == "__init__":
        _add_attributes(getattr(module, owner), before, inspect.signature(function), changes)


def _change_module(module, source, patched, changes):
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
            _change_function(module, name, node, changes)
        elif old is None and (
            isinstance(node, (ast.Import, ast.ImportFrom))
            or isinstance(node, ast.FunctionDef)
            and "." not in name
        ):
            names = [node.name] if isinstance(node, ast.FunctionDef) else []
            names += [alias.asname or alias.name for alias in getattr(node, "names", [])]
            code = compile(ast.Module([node], []), _source_name(module), "exec")
            for new in names:
                changes.keep(module, new)
            exec(code, vars(module))
        elif isinstance(node, ast.Expr) and "." in name:
            # A class's documentation.
            changes.set(getattr(module, name.partition(".")[0]), "__doc__", node.value.value)
        else:
            raise NotImplementedError("%s of %s cannot be changed" % (name, module.__name__))


def _import(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        raise PatchError("is missing") from None


def plan(keras):
    """Finds out what to change.

    Args:
      keras: the Keras that runs.

    Returns:
      Each module with its source and the patched one; none if it is patched already.

    Raises:
      PatchError: if this Keras is not the release that the patches are for.
    """
    patch = PATCH.read_text(encoding="utf-8")
    release = re.search(r"(?m)^\S*patches/keras-([^/]+)/", patch).group(1)
    if keras.__name__ != "keras":
        raise PatchError("the patches are for Keras %s" % release)
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
    except PatchError as error:
        message = "the patches are for Keras %s, and this one's %s %s" % (release, name, error)
        raise PatchError(message) from None
    return plans


def apply(plans, changes):
    """Makes the Changes that plan() has found."""
    for module, source, patched in plans:
        _change_module(module, source, patched, changes)
