"""Has every Keras leave grouped convolutions to the kernels, and know groups in all layers."""

import functools
import sys
import warnings

from . import batch_normalization as normalization
from . import kernels, source_patches
from .changes import Changes, when_imported
from .keras_detour import remove_detour

# By the names of their packages.
KERASES = ("keras", "tf_keras")

# What has been changed, by the name of a Keras, and what is to be said of it.
_changes = {}
_reports = {}
# How to wait no longer for those that are not imported, while patching is on.
_waits = None
# Whether batches are normalized by TensorFlow's op as well.
_with_batch_normalization = False


class Report:
    """What patch_keras() has done, and what it could not do for the Keras that runs.

    It counts as true if something was changed by that call, or will be as soon as a
    Keras is imported.
    """

    def __init__(self, changed, lines):
        self._changed = changed
        self.lines = tuple(lines)

    def __bool__(self):
        return self._changed

    def __str__(self):
        return "\n".join(self.lines)

    def __repr__(self):
        return "<%s: %s>" % (type(self).__name__, "; ".join(self.lines))


def _uses_tensorflow(keras):
    return not hasattr(keras.backend, "backend") or keras.backend.backend() == "tensorflow"


def _patch(name):
    """Patches one Keras, which is imported."""
    keras = sys.modules[name]
    changes = Changes()
    done = []
    try:
        try:
            plans = source_patches.plan(keras)
            groups = "its transposed layers take groups"
        except source_patches.PatchError as error:
            plans = None
            groups = "its transposed layers take no groups: %s" % error
        if plans == []:
            done.append("it is a patched one, with nothing to change")
        else:
            if not _uses_tensorflow(keras):
                done.append("its backend is not TensorFlow, and stays")
            elif remove_detour(keras, changes):
                done.append("it compiles no convolution that the kernels serve")
            else:
                done.append("it was not found to compile convolutions, and stays")
            source_patches.apply(plans or [], changes)
            done.append(groups)
        if _with_batch_normalization and _uses_tensorflow(keras):
            by = "" if normalization.fuse(keras, changes) else " by itself"
            done.append("it normalizes batches with one op" + by)
    except BaseException:
        changes.undo()
        raise
    _changes[name] = changes
    _reports[name] = ["%s %s: %s" % (name, keras.__version__, line) for line in done]


def _warn():
    """Warns if there are no kernels for those that ask them now."""
    if any(_uses_tensorflow(sys.modules[name]) for name in _changes):
        kernels.warn_if_missing()


def _is_being_imported(name):
    return getattr(getattr(sys.modules.get(name), "__spec__", None), "_initializing", False)


def _patch_late(name):
    """Patches one Keras that has just been imported; never fails, as its import should not."""
    try:
        _patch(name)
    except Exception as error:
        _reports[name] = ["%s: not patched: %s" % (name, error)]
        warnings.warn(_reports[name][0], RuntimeWarning, stacklevel=2)
    if not _is_being_imported("tensorflow"):
        _warn()


def patch_keras(batch_normalization=False):
    """Has Keras leave grouped convolutions to the kernels, and know groups in all layers.

    That is every Keras that there is: Keras 3, the Keras 2 of an older TensorFlow, and
    tf_keras; one that is not imported yet, as soon as it is. Those convolutions that the
    kernels serve are no longer compiled with XLA. Where the Keras is the release that
    `make wheel KERAS=` makes a patched wheel of, it becomes what that is: its transposed
    convolution layers take `groups`.

    Layers and models that were made before do the same from then on, but for what has
    been traced. Calling this again changes nothing but what it asks for in addition;
    `unpatch_keras()` takes all back.

    Args:
      batch_normalization: whether the BatchNormalization of Keras 3 calls the one op that
        TensorFlow has for it, as Keras 2 does, where the op computes the same.

    Returns:
      A Report, which can be printed, of what was done and what could not be done for
      this Keras. It is true if something was changed.

    Warns:
      If the kernels are not loaded.

    """
    global _waits, _with_batch_normalization
    was_on = _waits is not None
    if batch_normalization and not _with_batch_normalization:
        unpatch_keras()
        _with_batch_normalization = True
    is_new = _waits is None
    if is_new:
        _waits = []
        try:
            for name in KERASES:
                if name in sys.modules and not _is_being_imported(name):
                    _patch(name)
                else:
                    _waits.append(when_imported(name, functools.partial(_patch_late, name)))
            # TensorFlow imports Keras, and the kernels perhaps later.
            _waits.append(when_imported("tensorflow", _warn))
        except BaseException:
            unpatch_keras()
            if was_on:
                patch_keras()
            raise
    lines = [line for name in KERASES for line in _reports.get(name, ())]
    return Report(
        is_new and (any(_changes.values()) or not _changes),
        lines or ["no Keras is imported yet; it is patched as soon as it is"],
    )


def unpatch_keras():
    """Takes back what patch_keras() has changed."""
    global _waits, _with_batch_normalization
    _with_batch_normalization = False
    while _waits:
        _waits.pop()()
    _waits = None
    _reports.clear()
    while _changes:
        _changes.popitem()[1].undo()
