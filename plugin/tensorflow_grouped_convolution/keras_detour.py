"""Has Keras leave convolutions to the kernels, instead of compiling them with XLA.

Keras compiles what TensorFlow's own CPU kernels lack, in a `tf.function` of its own
around nothing but the convolution. Two things are left to that Keras: which these
are, and what the convolution is. What this changes is whether the `tf.function`
compiles: not where the kernels serve the convolution. So it depends on no line of
Keras, only on where the function is made, which was in two places so far: around a
method of the layers (Keras 2), and in the module of the TensorFlow backend that
convolves (Keras 3).
"""

import functools
import inspect
import sys
import threading
import types

from . import kernels

# The method of the layers of Keras 2.
_METHOD = "_jit_compiled_convolution_op"


def remove_detour(keras, changes):
    """Has a Keras that is imported leave convolutions to the kernels where they serve them.

    Args:
      keras: its module that has the layers.
      changes: the Changes to make.

    Returns:
      Whether this Keras was found to compile convolutions.
    """
    owner = _owner_of_method(keras)
    if owner is not None:
        changes.set(owner, _METHOD, _uncompiled_method(vars(owner)[_METHOD]))
        return True
    names = _names_of_tensorflow(keras)
    for namespace, name in names:
        changes.set_item(namespace, name, _TensorFlow(namespace[name]))
    return bool(names)


def _owner_of_method(keras):
    """Returns the class that has the method of Keras 2, if one has."""
    for owner in inspect.getmro(keras.layers.Conv2D):
        if _METHOD in vars(owner):
            return owner
    return None


def _uncompiled_method(compiled):
    """Returns the method of Keras 2 for one that compiles."""

    @functools.wraps(compiled.python_function)
    def convolve(self, inputs, kernel):
        if kernels.serve_convolution(inputs):
            return self.convolution_op(inputs, kernel)
        return compiled.__get__(self, type(self))(inputs, kernel)

    return convolve


def _names_of_tensorflow(keras):
    """Returns by which names of which namespace the backend of Keras 3 uses TensorFlow."""
    backend = sys.modules.get(keras.__name__ + ".src.backend")
    # Where Keras 3.16 has its operations.
    nn = getattr(getattr(backend, "ops", backend), "nn", None)
    conv = getattr(nn, "conv", None)
    tensorflow = sys.modules.get("tensorflow")
    if conv is None or tensorflow is None:
        return []
    namespace = inspect.unwrap(conv).__globals__
    return [(namespace, name) for name, value in namespace.items() if value is tensorflow]


class _NotServed(Exception):
    """A convolution is not one that the kernels serve."""


class _Question(threading.local):
    """Whether the kernels serve the convolutions of a function, which runs to find out."""

    is_asked = False
    has_convolutions = False


_question = _Question()


class _View(types.ModuleType):
    """A module with some other attributes, for those who are given this in its place."""

    def __init__(self, module, **others):
        super().__init__(module.__name__)
        vars(self).clear()
        vars(self).update(others, _module=module)

    def __getattr__(self, name):
        return getattr(self._module, name)

    def __dir__(self):
        return dir(self._module)


class _TensorFlow(_View):
    """TensorFlow, whose function() compiles no convolution that the kernels serve."""

    def __init__(self, tf):
        super().__init__(
            tf,
            function=functools.partial(_function, tf),
            nn=_View(tf.nn, convolution=functools.partial(_convolution, tf)),
        )


def _convolution(tf, input, *args, **kwargs):
    """Does what tf.nn.convolution does, where a detour would have it done."""
    if _question.is_asked:
        _question.has_convolutions = True
        if not kernels.serve_convolution(input):
            raise _NotServed
    return tf.nn.convolution(input, *args, **kwargs)


def _function(tf, func=None, *args, **kwargs):
    """Does what tf.function does, but for the convolutions that the kernels serve."""
    if func is None:
        return functools.partial(_function, tf, *args, **kwargs)
    if not kwargs.get("jit_compile"):
        return tf.function(func, *args, **kwargs)

    @tf.autograph.experimental.do_not_convert
    def detour(*func_args, **func_kwargs):
        before = dict(vars(_question))
        vars(_question).update(is_asked=True, has_convolutions=False)
        try:
            result = func(*func_args, **func_kwargs)
            if _question.has_convolutions:
                return result
        except _NotServed:
            pass
        finally:
            vars(_question).clear()
            vars(_question).update(before)
        return tf.function(func, *args, **kwargs)(*func_args, **func_kwargs)

    return detour
