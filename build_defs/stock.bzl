"""Official wheels as external repositories."""

def run(repository_ctx, arguments, what, environment = {}):
    """Runs a command with its output shown; fails naming `what` it was for.

    Args:
      repository_ctx: of the rule that runs it.
      arguments: the command.
      what: what it does.
      environment: more variables of the environment.

    Returns:
      What it printed.
    """
    repository_ctx.execute(["echo", what], quiet = False)
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

def _make_environment(repository_ctx, version):
    """Makes a virtual environment, env/, and returns how to call pip in it."""
    base = repository_ctx.execute([repository_ctx.path(Label("//ci:find_python")), version])
    if base.return_code != 0:
        fail(base.stderr)
    run(
        repository_ctx,
        [base.stdout.strip(), "-m", "venv", "env"],
        "Making a virtual environment with " + base.stdout.strip(),
    )
    python = repository_ctx.path("env/bin/python")
    return [python, "-m", "pip", "--disable-pip-version-check"]

def fetch_wheel(repository_ctx, requirements, interpreter = None, parts = [], cpu = ""):
    """Fetches the wheel that a rule's attributes pin, and a Python for it.

    Args:
      repository_ctx: of the rule. Its repository gets env/, a virtual
        environment; official.whl, and its name in official.txt; official/, with
        the wheel's files.
      requirements: files of what pip is to install in the environment.
      interpreter: version of the CPython to make it with, if not that which the
        wheel is for.
      parts: what is to be unpacked, as patterns; everything by default.
      cpu: the processor that the wheel is for, if that may be another than this
        machine's.
    """
    attr = repository_ctx.attr
    requirement = "%s==%s" % (attr.distribution, attr.version)

    # Asked for first, as in all rules: at the first file that Bazel has not seen
    # yet it starts the rule anew.
    files = [repository_ctx.path(file) for file in requirements]

    pip = _make_environment(repository_ctx, interpreter or attr.python)
    for file in files:
        run(
            repository_ctx,
            pip + [
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--requirement",
                file,
            ],
            "Installing %s for %s" % (file.basename, requirement),
        )

    # pip checks the hash before it opens the wheel.
    repository_ctx.file(
        "wheel.txt",
        "%s --hash=sha256:%s\n" % (requirement, attr.sha256),
        executable = False,
    )
    run(
        repository_ctx,
        pip + [
            "download",
            "--no-deps",
            "--only-binary=:all:",
            "--python-version",
            attr.python,
        ] + ([
            # The wheel is for one of them.
            "--platform=%s_%s" % (tag, cpu)
            for tag in ["manylinux2014"] + ["manylinux_2_%d" % glibc for glibc in range(17, 40)]
        ] if cpu else []) + [
            "--require-hashes",
            "--requirement",
            "wheel.txt",
            "--dest",
            "wheel",
        ],
        "Fetching the official wheel of %s for %s with sha256 %s" %
        (requirement, _python_tag(attr.python), attr.sha256),
    )
    wheels = repository_ctx.path("wheel").readdir()
    if len(wheels) != 1:
        fail("pip fetched %s for %s, not one wheel" % (wheels, requirement))
    repository_ctx.symlink(wheels[0], "official.whl")
    repository_ctx.file("official.txt", wheels[0].basename, executable = False)

    # Not repository_ctx.extract(), which does not know the ending .whl.
    run(
        repository_ctx,
        [pip[0], "-c", _UNPACK, "official.whl", "official"] + parts,
        "Unpacking " + wheels[0].basename,
    )

# Unpacks a wheel into a folder, all of it or what fits one of some patterns.
_UNPACK = """
import fnmatch, sys, zipfile
wheel, folder, *patterns = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if not patterns or any(fnmatch.fnmatch(name, pattern) for pattern in patterns):
            archive.extract(name, folder)
"""

PIP = Label("//build_defs/requirements:pip.txt")

PIN = {
    "distribution": attr.string(mandatory = True),
    "version": attr.string(mandatory = True),
    "python": attr.string(mandatory = True),
    "sha256": attr.string(mandatory = True),
}

def _stock_release_impl(repository_ctx):
    attr = repository_ctx.attr
    build_file = repository_ctx.path(Label("//build_defs:stock.BUILD.tpl"))
    fetch_wheel(repository_ctx, [PIP, attr.requirements])

    # Under a name that Bazel does not take for a library; see where it is used.
    repository_ctx.symlink(
        "official/tensorflow/libtensorflow_framework.so.2",
        "framework",
    )

    # Which leaves the bytecode beside the modules, half of the time of an import.
    flags = run(
        repository_ctx,
        [
            repository_ctx.path("env/bin/python"),
            "-c",
            "import tensorflow as tf; print(*[flag for flag in " +
            "tf.sysconfig.get_compile_flags() if not flag.startswith('-I')])",
        ],
        "Asking %s for its compile flags" % attr.distribution,
        environment = {
            # Whatever the user has.
            "PYTHONDONTWRITEBYTECODE": "",
            "PYTHONPATH": str(repository_ctx.path("official")),
            "PYTHONWARNINGS": "ignore",
        },
    )
    repository_ctx.file(
        "flags.bzl",
        "COMPILE_FLAGS = %s\n" % flags.split("\n")[-1].split(" "),
        executable = False,
    )
    repository_ctx.symlink(build_file, "BUILD")

_stock_release = repository_rule(
    implementation = _stock_release_impl,
    attrs = dict(
        PIN,
        peer = attr.bool(),
        requirements = attr.label(mandatory = True, allow_single_file = True),
    ),
)

def _stock_keras_impl(repository_ctx):
    fetch_wheel(repository_ctx, [PIP])
    repository_ctx.file("BUILD", """\
exports_files(
    ["official.txt", "official.whl", "env/bin/python", "official"],
    visibility = ["//visibility:public"],
)
""", executable = False)

stock_keras = repository_rule(
    doc = "An official wheel of Keras as it is; see keras_release().",
    implementation = _stock_keras_impl,
    attrs = PIN,
)

def _exporters_impl(repository_ctx):
    attr = repository_ctx.attr
    requirements = repository_ctx.path(Label("//build_defs/requirements:exporters.txt"))
    run(
        repository_ctx,
        _make_environment(repository_ctx, attr.python) + [
            "install",
            "--quiet",
            "--no-deps",
            "--only-binary=:all:",
            "--require-hashes",
            "--requirement",
            requirements,
            "--target",
            "packages",
        ],
        "Installing what models are exported with",
    )
    repository_ctx.file("BUILD", """\
exports_files(
    ["packages"],
    visibility = ["//visibility:public"],
)
""", executable = False)

exporters = repository_rule(
    doc = "Packages that tests export models with; see requirements/README.md.",
    implementation = _exporters_impl,
    attrs = {"python": attr.string(mandatory = True)},
)

# What judges wheels and lists what is in them, and what that needs.
_WHEEL_TOOLS = [
    "auditwheel",
    "boolean-py",
    "cyclonedx-python-lib",
    "defusedxml",
    "license-expression",
    "packageurl-python",
    "packaging",
    "py-serializable",
    "pyelftools",
    "sortedcontainers",
    "typing-extensions",
]

def _wheel_tools_impl(repository_ctx):
    attr = repository_ctx.attr
    build_file = repository_ctx.path(Label("//build_defs:stock.BUILD.tpl"))
    locked = repository_ctx.read(attr.requirements).replace("\\\n", " ").split("\n")
    chosen = [line for line in locked if line.partition("==")[0] in _WHEEL_TOOLS]
    repository_ctx.file("requirements.txt", "\n".join(chosen), executable = False)
    run(
        repository_ctx,
        _make_environment(repository_ctx, attr.python) + [
            "install",
            "--quiet",
            "--only-binary=:all:",
            "--require-hashes",
            "--requirement",
            "requirements.txt",
        ],
        "Installing what wheels are judged with",
    )
    repository_ctx.symlink(build_file, "BUILD")

wheel_tools = repository_rule(
    doc = "What stock_tensorflow() has to judge wheels with, without its TensorFlow.",
    implementation = _wheel_tools_impl,
    attrs = {
        "python": attr.string(mandatory = True),
        "requirements": attr.label(mandatory = True, allow_single_file = True),
    },
)

def wheel_name(distribution, version, python):
    """The name that a wheel's repositories are built from."""
    return "_".join([distribution, version, _python_tag(python)]).replace(
        "-",
        "_",
    ).replace(".", "_")

def stock_tensorflow(distribution, version, python, sha256, peer = False):
    """Pins an official wheel as it is; see tensorflow_release().

    Args:
      distribution: its name on the package index.
      version: its version.
      python: the CPython version it is for, such as "3.8".
      sha256: of the wheel for manylinux on x86-64.
      peer: whether rebuilt wheels exchange models with it.

    Returns:
      The name of its repository.
    """
    name = "stock_" + wheel_name(distribution, version, python)
    _stock_release(
        name = name,
        distribution = distribution,
        peer = peer,
        version = version,
        python = python,
        sha256 = sha256,
        # A label of this workspace, whichever workspace asks.
        requirements = Label("//build_defs/requirements:tensorflow-%s-%s.txt" %
                             (version, _python_tag(python))),
    )
    return name
