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
    """Applies the hunks of each patch to a module's source, at their very places.

    Returns:
      Each line, with its number in the source if it is from there.
    """
    lines = list(enumerate(source.splitlines()))
    for hunks in patches:
        for start, hunk in reversed(hunks):
            # The next patch begins with other lines.
            changed = list(itertools.takewhile(re.compile("[ +-]").match, hunk.splitlines()))
            place = first = int(start) - 1
            after = []
            for line in changed:
                if line[0] == "+":
                    after.append((None, line[1:]))
                    continue
                if place >= len(lines) or lines[place][1] != line[1:]:
                    raise PatchError("differs")
                if line[0] == " ":
                    after.append(lines[place])
                place += 1
            lines[first:place] = after
    return lines


def _changed_definitions(lines):
    """Yields those statements of a patched module, or of its classes, that are not as they were.

    With the class that each is in, if any.
    """

    def is_changed(node):
        first = min(part.lineno for part in [node, *getattr(node, "decorator_list", ())])
        origins = [origin for origin, _ in lines[first - 1 : node.end_lineno]]
        return None in origins or origins != list(range(origins[0], origins[0] + len(origins)))

    for node in filter(is_changed, ast.parse("\n".join(line for _, line in lines)).body):
        if isinstance(node, ast.ClassDef):
            for member in filter(is_changed, node.body):
                yield node.name, member
        else:
            yield None, node


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


def _change_function(module, owner, node, changes):
    """Gives a function of a module, or a method of a class of it, another definition's code."""
    place = getattr(module, owner) if owner else module
    function = inspect.unwrap(getattr(place, node.name))
    before = inspect.signature(function)
    node.decorator_list = []
    # In its class, for super(), which refers to the one that the definition is in.
    statement = ast.ClassDef(owner, [], [], [node], [], type_params=[]) if owner else node
    defined = _compiled(module, [ast.fix_missing_locations(statement)])[statement.name]
    new = getattr(defined, node.name) if owner else defined
    for attribute in "__code__", "__defaults__", "__kwdefaults__", "__doc__":
        changes.set(function, attribute, getattr(new, attribute))
    if node.name == "__init__":
        _add_attributes(place, before, inspect.signature(function), changes)


def _change_module(module, lines, changes):
    """Makes a module what it would be if it had another source."""
    # Where `inspect` finds it, with which tf.function reads what it compiles.
    text = [line + "\n" for _, line in lines]
    linecache.cache[_source_name(module)] = sum(map(len, text)), None, text, _source_name(module)
    for owner, node in _changed_definitions(lines):
        is_function = isinstance(node, ast.FunctionDef)
        place = getattr(module, owner, None) if owner else module
        if is_function and node.name in getattr(place, "__dict__", {}):
            _change_function(module, owner, node, changes)
        elif not owner and (is_function or isinstance(node, (ast.Import, ast.ImportFrom))):
            names = [node.name] if is_function else []
            names += [alias.asname or alias.name for alias in getattr(node, "names", [])]
            code = compile(ast.Module([node], []), _source_name(module), "exec")
            for new in names:
                changes.keep(module, new)
            exec(code, vars(module))
        elif owner and place and isinstance(node, ast.Expr):
            # A class's documentation.
            changes.set(place, "__doc__", node.value.value)
        else:
            raise NotImplementedError(
                "line %d of %s cannot be changed" % (node.lineno, module.__name__)
            )


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
      Each module with the lines of its patched source; none if it is patched already.

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
            plans.append((module, _patched(source, patches)))
    except PatchError as error:
        message = "the patches are for Keras %s, and this one's %s %s" % (release, name, error)
        raise PatchError(message) from None
    return plans


def apply(plans, changes):
    """Makes the Changes that plan() has found."""
    for module, lines in plans:
        _change_module(module, lines, changes)
