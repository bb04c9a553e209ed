"""Changes to what others define, which can be taken back, and when to make them."""

import functools
import importlib.abc
import importlib.util
import sys

_MISSING = object()


class Changes:
    """What has been set elsewhere, and what stood there before."""

    def __init__(self):
        # How to take back each change, the last first.
        self._undo = []

    def __bool__(self):
        """Whether there is something to take back."""
        return bool(self._undo)

    def set(self, owner, name, value):
        """Sets an attribute of a module, class or function."""
        self.keep(owner, name)
        setattr(owner, name, value)

    def keep(self, owner, name):
        """Notes what an attribute is, if anything, which something else is about to set."""
        # A class's own: not what it inherits, nor what a descriptor makes of it.
        before = vars(owner).get(name, getattr(owner, name, _MISSING))
        if before is _MISSING or isinstance(owner, type) and name not in vars(owner):
            self.later(functools.partial(_delete, owner, name))
        else:
            self.later(functools.partial(setattr, owner, name, before))

    def set_item(self, mapping, key, value):
        """Sets an item of a dictionary."""
        if key in mapping:
            self.later(functools.partial(mapping.__setitem__, key, mapping[key]))
        else:
            self.later(functools.partial(mapping.pop, key, None))
        mapping[key] = value

    def later(self, undo):
        """Notes a call that takes something back."""
        self._undo.append(undo)

    def undo(self):
        """Takes everything back, the last change first."""
        while self._undo:
            self._undo.pop()()


def _delete(owner, name):
    if name in vars(owner):
        delattr(owner, name)


# What to call, by the name of the module that it waits for.
_waiting = {}


class _Finder(importlib.abc.MetaPathFinder):
    """Has the loaders of awaited modules tell when they are done."""

    def __init__(self):
        self._finding = set()

    def find_spec(self, name, path, target=None):
        """Finds an awaited module as it would be found without this."""
        if name not in _waiting or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._finding.discard(name)
        if hasattr(getattr(spec, "loader", None), "exec_module"):
            _tell_when_done(spec.loader, name)
        return spec


_finder = _Finder()


def _tell_when_done(loader, name):
    """Has a loader call what waits for its module, after the module's own code."""
    exec_module = loader.exec_module

    @functools.wraps(exec_module)
    def execute(module):
        del loader.exec_module
        exec_module(module)
        for callback in _waiting.pop(name, ()):
            callback()
        if not _waiting and _finder in sys.meta_path:
            sys.meta_path.remove(_finder)

    loader.exec_module = execute


def when_imported(name, callback):
    """Calls something as soon as a module is imported: now, if it is.

    Args:
      name: of the module.
      callback: is called without arguments, and must not raise.

    Returns:
      What takes the callback back, as long as it has not been called.
    """
    if name in sys.modules:
        callback()
        return lambda: None
    callbacks = _waiting.setdefault(name, [])
    callbacks.append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return lambda: callbacks.remove(callback) if callback in callbacks else None
