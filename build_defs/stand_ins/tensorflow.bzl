"""The macros of TensorFlow's //tensorflow:tensorflow.bzl that the overlay uses.

They build against the headers and the library of the release's wheel, where the
macros of a source tree build against its targets.
"""

load("@tensorflow_grouped_convolution//build_defs:wheel.bzl", "python_test")
load("//:release.bzl", "COPTS", "STOCK", "TEST_ENVIRONMENTS")

def tf_copts():
    return COPTS

def tf_kernel_library(
        name,
        srcs = [],
        hdrs = [],
        deps = [],
        copts = []):
    # No more keywords: the macro of a source tree takes few that cc_library has.
    native.cc_library(
        name = name,
        srcs = srcs,
        hdrs = hdrs,
        copts = tf_copts() + copts,
        alwayslink = True,
        deps = deps,
    )

def tf_cc_test(name, srcs, deps, copts = [], **kwargs):
    native.cc_test(
        name = name,
        srcs = srcs,
        copts = tf_copts() + copts,
        deps = deps,
        **kwargs
    )

def tf_py_test(name, srcs, main = None, size = "medium", tags = [], data = [], **_kwargs):
    """A test that imports the rebuilt wheel, in each environment of the release.

    Args:
      name: of the target.
      srcs: the test's file.
      main: as in py_test.
      size: as in py_test.
      tags: as in py_test.
      data: as in py_test.
      **_kwargs: what names TensorFlow's own targets, such as deps; unused.
    """
    for suffix, env in TEST_ENVIRONMENTS.items():
        python_test(
            name = name + suffix,
            size = size,
            data = data,
            env = env,
            environment = STOCK + "//:env/pyvenv.cfg",
            main = main or srcs[0],
            path = ["//:installed"],
            tags = tags,
        )
