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

def _run(repository_ctx, arguments, what, environment = {}):
    """Runs a command with its output shown; fails naming `what` it was for."""
    result = repository_ctx.execute(
        arguments,
        timeout = 3600,
        quiet = False,
        environment = environment,
    )
    if result.return_code != 0:
        fail("%s failed:\n%s\n%s" % (what, result.stdout, result.stderr))
    return result.stdout.strip()

def _python_tag(python):
    return "cp" + python.replace(".", "")

def _stock_release_impl(repository_ctx):
    attr = repository_ctx.attr
    requirement = "%s==%s" % (attr.distribution, attr.version)
    python_tag = _python_tag(attr.python)

    base = repository_ctx.execute([
        repository_ctx.path(Label("//ci:find_python")),
        attr.python,
    ])
    if base.return_code != 0:
        fail(base.stderr)
    _run(
        repository_ctx,
        [base.stdout.strip(), "-m", "venv", "env"],
        "Making a virtual environment with " + base.stdout.strip(),
    )
    python = repository_ctx.path("env/bin/python")

    # Older pips bundled with a Python do not know the wheel's platform tag.
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    requirements = repository_ctx.path(attr.requirements)
    _run(
        repository_ctx,
        pip + [
            "install",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--requirement",
            requirements,
        ],
        "Installing %s for %s" % (attr.requirements, requirement),
    )

    # pip checks the hash before it opens the wheel.
    repository_ctx.file(
        "wheel.txt",
        "%s --hash=sha256:%s\n" % (requirement, attr.sha256),
        executable = False,
    )
    _run(
        repository_ctx,
        pip + [
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--requirement",
            "wheel.txt",
            "--dest",
            "wheel",
        ],
        "Fetching the official wheel of %s for %s with sha256 %s" %
        (requirement, python_tag, attr.sha256),
    )
    wheels = repository_ctx.path("wheel").readdir()
    if len(wheels) != 1:
        fail("pip fetched %s for %s, not one wheel" % (wheels, requirement))
    repository_ctx.symlink(wheels[0], "official.whl")
    repository_ctx.file("official.txt", wheels[0].basename, executable = False)

    # Not repository_ctx.extract(), which does not know the ending .whl.
    _run(
        repository_ctx,
        [python, "-m", "zipfile", "-e", "official.whl", "official"],
        "Unpacking " + wheels[0].basename,
    )
    flags = _run(
        repository_ctx,
        [
            python,
            "-c",
            "import tensorflow as tf; print(*[flag for flag in " +
            "tf.sysconfig.get_compile_flags() if not flag.startswith('-I')])",
        ],
        "Asking %s for its compile flags" % requirement,
        environment = {
            "PYTHONPATH": str(repository_ctx.path("official")),
            "TF_CPP_MIN_LOG_LEVEL": "1",
        },
    )
    repository_ctx.file(
        "flags.bzl",
        "COMPILE_FLAGS = %s\n" % flags.split("\n")[-1].split(" "),
        executable = False,
    )
    repository_ctx.symlink(Label("//build_defs:stock.BUILD.tpl"), "BUILD")

_stock_release = repository_rule(
    implementation = _stock_release_impl,
    attrs = {
        "distribution": attr.string(mandatory = True),
        "version": attr.string(mandatory = True),
        "python": attr.string(mandatory = True),
        "sha256": attr.string(mandatory = True),
        "requirements": attr.label(mandatory = True, allow_single_file = True),
    },
    environ = ["PATH", "PYENV_ROOT"],
)

def _release_impl(repository_ctx):
    attr = repository_ctx.attr
    top = repository_ctx.path(Label("//:WORKSPACE")).dirname

    # Stand-ins for BUILD and .bzl files that TensorFlow has and its wheel has
    # not. A folder that holds one is shared with the overlay; the others are
    # the overlay's, and linked whole.
    shared = {"": True}
    for label, path in attr.stand_ins.items():
        repository_ctx.symlink(label, path)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            shared["/".join(parts[:depth])] = True
    overlay = top.get_child("tensorflow_overlay")
    for folder in shared:
        source = repository_ctx.path("%s/%s" % (overlay, folder))
        for entry in source.readdir() if source.exists else []:
            path = folder + "/" + entry.basename if folder else entry.basename
            if path not in shared:
                repository_ctx.symlink(entry, path)
    repository_ctx.symlink(top.get_child("tensorflow_overlay"), "overlay")
    repository_ctx.symlink(
        top.get_child("patches").get_child(attr.patches),
        "patches",
    )
    repository_ctx.template(
        "BUILD",
        Label("//build_defs:release.BUILD.tpl"),
        {"%{local_version}": attr.local_version},
        executable = False,
    )
    repository_ctx.template(
        "release.bzl",
        Label("//build_defs:release.bzl.tpl"),
        {
            "%{stock}": attr.stock,
            "%{copts}": str(attr.copts),
        },
        executable = False,
    )

_release = repository_rule(
    implementation = _release_impl,
    attrs = {
        "stock": attr.string(mandatory = True),
        "patches": attr.string(mandatory = True),
        "local_version": attr.string(mandatory = True),
        "copts": attr.string_list(),
        "stand_ins": attr.label_keyed_string_dict(allow_files = True),
    },
    # Which files there are is looked up anew at each start of Bazel's server.
    local = True,
)

def wheel_name(distribution, version, python):
    """The name that a wheel's repositories are built from."""
    return "_".join([distribution, version, _python_tag(python)]).replace(
        "-",
        "_",
    ).replace(".", "_")

def stock_tensorflow(distribution, version, python, sha256):
    """An official wheel as it is, to compare with; see tensorflow_release()."""
    name = "stock_" + wheel_name(distribution, version, python)
    _stock_release(
        name = name,
        distribution = distribution,
        version = version,
        python = python,
        sha256 = sha256,
        requirements = "//build_defs/requirements:tensorflow-%s-%s.txt" %
                       (version, _python_tag(python)),
    )
    return name

def tensorflow_release(
        distribution,
        version,
        python,
        sha256,
        local_version,
        copts = []):
    """Pins one official wheel and what is made of it.

    Args:
      distribution: its name on the package index.
      version: its version; patches/tensorflow-<version> are applied to it.
      python: the CPython version it is for, such as "3.8".
      sha256: of the official wheel for manylinux on x86-64.
      local_version: what the rebuilt wheel's version has behind the "+".
      copts: compiler flags beyond those that its tf.sysconfig reports.
    """
    stock = stock_tensorflow(distribution, version, python, sha256)
    _release(
        name = wheel_name(distribution, version, python),
        stock = stock,
        patches = "tensorflow-" + version,
        local_version = local_version,
        copts = copts,
        stand_ins = {
            "//build_defs/stand_ins:tensorflow.bzl": "tensorflow/tensorflow.bzl",
            "//build_defs/stand_ins:tensorflow.BUILD": "tensorflow/BUILD",
            "//build_defs/stand_ins:core.BUILD": "tensorflow/core/BUILD",
            "//build_defs/stand_ins:test.h": "tensorflow/core/platform/test.h",
            "//build_defs/stand_ins:test_main.cc": "tensorflow/core/platform/test_main.cc",
            "//build_defs/stand_ins:keras.BUILD": "tensorflow/python/keras/BUILD",
            "//build_defs/stand_ins:kernel_tests.BUILD": "tensorflow/python/kernel_tests/BUILD",
        },
    )
