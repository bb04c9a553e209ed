"""Releases of Keras as external repositories.

keras_release() declares, for one release,

  @stock_keras_<version>   the official wheel as fetched (checked against its
                           hash) and unpacked, and a Python;
  @keras_<version>         //:wheel, the wheel with the patches, and
                           //:installed, a folder with its files.

where <version> is, for example, 3_15_1. Both are fetched when something first
asks for them, through the user's own pip configuration.
"""

load(":stock.bzl", "stock_keras")

def _keras_impl(repository_ctx):
    attr = repository_ctx.attr
    patches = repository_ctx.path(Label("//:WORKSPACE")).dirname.get_child("patches")
    repository_ctx.symlink(patches.get_child(attr.patches), "patches")
    repository_ctx.template(
        "BUILD",
        Label("//build_defs:keras.BUILD.tpl"),
        {
            "%{local_version}": attr.local_version,
            "%{path}": repository_ctx.os.environ["PATH"],
            "%{stock}": "@" + attr.stock,
        },
        executable = False,
    )

_keras = repository_rule(
    implementation = _keras_impl,
    attrs = {
        "stock": attr.string(mandatory = True),
        "patches": attr.string(mandatory = True),
        "local_version": attr.string(mandatory = True),
    },
    environ = ["PATH"],
    # Which patches there are is looked up anew at each start of Bazel's server.
    local = True,
)

def keras_release(version, python, sha256, local_version):
    """Pins one official wheel of Keras and what is made of it.

    Args:
      version: its version; patches/keras-<version> are applied to it.
      python: a CPython version that it runs on, such as "3.11".
      sha256: of the official wheel.
      local_version: what the rebuilt wheel's version has behind the "+".
    """
    name = "keras_" + version.replace(".", "_")
    stock_keras(
        name = "stock_" + name,
        distribution = "keras",
        version = version,
        python = python,
        sha256 = sha256,
    )
    _keras(
        name = name,
        stock = "stock_" + name,
        patches = "keras-" + version,
        local_version = local_version,
    )
