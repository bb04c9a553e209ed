"""TensorFlow releases as external repositories.

tensorflow_release() declares, for one wheel of one release,

  @stock_<wheel>   the official wheel as fetched (checked against its hash) and
                   unpacked, a virtual environment with what it needs to run,
                   and its headers and library as cc_library rules;
  @<wheel>         the parts of TensorFlow's source tree that this project adds
                   or changes, at their own paths and with their own BUILD
                   files, and //:wheel, the rebuilt wheel.

where <wheel> is, for example, tensorflow_cpu_2_2_3_cp38. Both are fetched when
something first asks for them. Everything comes through the user's own pip
configuration.
"""

load(":sources.bzl", "STAND_INS", "compiler", "link_sources")
load(":stock.bzl", "exporters", "stock_tensorflow", "wheel_name")

def _test_environments(one_dnn):
    """Environment variables to run tests with, by what they add to a name."""
    if not one_dnn:
        return {"": {}}

    # One of them is what the machine has by default.
    return {
        "_with_onednn": {"TF_ENABLE_ONEDNN_OPTS": "1"},
        "_without_onednn": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    }

def _release_impl(repository_ctx):
    attr = repository_ctx.attr
    top = repository_ctx.path(Label("//:WORKSPACE")).dirname
    link_sources(repository_ctx)
    repository_ctx.symlink(top.get_child("tensorflow_overlay"), "overlay")
    patches = top.get_child("patches").get_child(attr.patches)
    if patches.exists:
        repository_ctx.symlink(patches, "patches")
    else:
        repository_ctx.file("patches/series", executable = False)
    repository_ctx.template(
        "BUILD",
        Label("//build_defs:release.BUILD.tpl"),
        {
            "%{local_version}": attr.local_version,
            "%{version}": attr.version,
        },
        executable = False,
    )
    repository_ctx.template(
        "release.bzl",
        Label("//build_defs:release.bzl.tpl"),
        {
            "%{stock}": attr.stock,
            "%{copts}": str(attr.copts),
            "%{compiler}": compiler(repository_ctx),
            "%{path}": repository_ctx.os.environ["PATH"],
            "%{own_keras}": str(attr.own_keras),
            "%{test_environments}": str(_test_environments(attr.one_dnn)),
        },
        executable = False,
    )

_release = repository_rule(
    implementation = _release_impl,
    attrs = {
        "stock": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "patches": attr.string(mandatory = True),
        "local_version": attr.string(mandatory = True),
        "copts": attr.string_list(),
        "one_dnn": attr.bool(),
        "own_keras": attr.bool(),
        "keras": attr.string(),
        "stand_ins": attr.label_keyed_string_dict(allow_files = True),
    },
    environ = ["CC", "PATH"],
    # Which files there are is looked up anew at each start of Bazel's server.
    local = True,
)

def tensorflow_release(
        distribution,
        version,
        python,
        sha256,
        local_version,
        copts = [],
        one_dnn = False,
        own_keras = False,
        keras = None):
    """Pins one official wheel and what is made of it.

    Args:
      distribution: its name on the package index.
      version: its version; patches/tensorflow-<version>, where there are any,
        are applied to it.
      python: the CPython version it is for, such as "3.8".
      sha256: of the official wheel for manylinux on x86-64.
      local_version: what the rebuilt wheel's version has behind the "+".
      copts: compiler flags beyond those that its tf.sysconfig reports.
      one_dnn: whether it can run convolutions with oneDNN, which
        TF_ENABLE_ONEDNN_OPTS switches on and off.
      own_keras: whether Keras is a part of it, and patched and tested with it.
      keras: otherwise, the version of Keras to test it with, of those that
        keras_release() pins.
    """
    stock = stock_tensorflow(distribution, version, python, sha256)
    if keras:
        exporters(
            name = "exporters_" + wheel_name(distribution, version, python),
            python = python,
        )
    _release(
        name = wheel_name(distribution, version, python),
        stock = stock,
        version = version,
        patches = "tensorflow-" + version,
        local_version = local_version,
        copts = copts,
        one_dnn = one_dnn,
        own_keras = own_keras,
        keras = "keras_" + keras.replace(".", "_") if keras else "",
        stand_ins = STAND_INS,
    )

def _groups_impl(repository_ctx):
    attr = repository_ctx.attr
    aliases = [
        ("wheel", "@%s//:wheel" % attr.release),
        ("installed", "@%s//:installed" % attr.release),
        ("environment", "@%s//:env/pyvenv.cfg" % attr.stock),
    ]
    repository_ctx.file("BUILD", "".join([
        'alias(name = "%s", actual = "%s", visibility = ["//visibility:public"])\n' % pair
        for pair in aliases
    ]), executable = False)

_groups = repository_rule(
    implementation = _groups_impl,
    attrs = {
        "release": attr.string(mandatory = True),
        "stock": attr.string(mandatory = True),
    },
)

def tensorflow_groups_repository(name, distribution, version, python, **pin):
    """Gives another workspace the rebuilt wheel of one release.

    Args:
      name: of a repository with these targets: //:wheel, the rebuilt wheel;
        //:installed, a folder with its files, to import from; //:environment,
        a virtual environment with what it needs, as python_test takes it.
      distribution: see tensorflow_release().
      version: see tensorflow_release().
      python: see tensorflow_release().
      **pin: see tensorflow_release().
    """
    tensorflow_release(distribution, version, python, **pin)
    release = wheel_name(distribution, version, python)
    _groups(name = name, release = release, stock = "stock_" + release)

def _pinned_releases_impl(repository_ctx):
    attr = repository_ctx.attr
    releases = {
        name: {
            "stock": stock,
            "environments": _test_environments(name in attr.one_dnn),
            "own_keras": name in attr.own_keras,
            "keras": attr.keras.get(name),
        }
        for name, stock in attr.releases.items()
    }
    repository_ctx.file("BUILD", executable = False)
    repository_ctx.file(
        "releases.bzl",
        '"""The wheels that WORKSPACE pins."""\n\n' +
        "# Releases to rebuild: the repository of the official wheel, and what\n" +
        "# release.bzl says of how to test it.\n" +
        "RELEASES = %s\n\n" % releases +
        "# Official wheels to exchange models with.\n" +
        "PEERS = %s\n" % attr.peers,
        executable = False,
    )

_pinned_releases = repository_rule(
    implementation = _pinned_releases_impl,
    attrs = {
        "releases": attr.string_dict(),
        "one_dnn": attr.string_list(),
        "own_keras": attr.string_list(),
        "keras": attr.string_dict(),
        "peers": attr.string_list(),
    },
)

def pinned_releases(name):
    """Declares a repository whose //:releases.bzl names what is pinned above.

    Args:
      name: of the repository. Its RELEASES holds, by the name of each release's
        repository, what tests need to know of it; its PEERS names the
        repositories of the other official wheels.
    """
    rules = native.existing_rules().values()
    releases = [rule for rule in rules if rule["kind"] == "_release"]
    stock = {rule["name"]: rule["stock"] for rule in releases}
    _pinned_releases(
        name = name,
        releases = stock,
        one_dnn = [rule["name"] for rule in releases if rule["one_dnn"]],
        own_keras = [rule["name"] for rule in releases if rule["own_keras"]],
        keras = {rule["name"]: rule["keras"] for rule in releases if rule["keras"]},
        peers = [
            rule["name"]
            for rule in rules
            if rule["kind"] == "_stock_release" and rule["peer"]
        ],
    )
