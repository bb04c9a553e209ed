"""The plugin: the kernels once, and an adapter for each release of TensorFlow.

tensorflow_adapter() declares, for one release,

  @adapter_<minor>  its headers and its library, taken from the official wheel,
                    and //:adapter.so, which registers the kernels with it,

where <minor> is, for example, 2_18, or aarch64_2_18; and tensorflow_plugin()

  @plugin           //:plugin, the wheel that serves all of them; //:tested, the
                    one that `make test` looks at; and //:plugin_<minor>; likewise
                    below //aarch64, to be built with --config=aarch64 on other
                    machines than such;
  @adapter_here     the same as the others, with a //:plugin of its own, for the
                    TensorFlow that an interpreter on this machine imports.

All are fetched when something first asks for them, through the user's own pip
configuration.
"""

load(":cross.bzl", "cross_compiler")
load(":sources.bzl", "STAND_INS", "compiler", "link_sources")
load(":stock.bzl", "PIN", "fetch_wheel", "wheel_name", "wheel_tools")

# What an adapter is compiled and linked against.
_PARTS = [
    "tensorflow/include/*",
    "tensorflow/libtensorflow_framework.so.2",
]

# The processor for which all else is, as `uname -m` has it.
_FIRST_CPU = "x86_64"

# Fetches wheels, whichever CPython they are for.
_INTERPRETER = "3.11"

_KERNEL_LIBRARY = "//tensorflow/core/kernels/grouped_conv:kernel_library"

# The environment variable that names the interpreter of @adapter_here: its
# path, and behind a space the version of its TensorFlow.
_HERE = "TF_GROUPED_CONV_FOR"

def _prepare(repository_ctx):
    """Takes what is this project's: before all that takes long, see fetch_wheel().

    Args:
      repository_ctx: of the rule of an adapter.

    Returns:
      The paths of the templates of release.bzl and BUILD.
    """
    link_sources(repository_ctx)
    return struct(
        release = repository_ctx.path(Label("//build_defs:release.bzl.tpl")),
        build = repository_ctx.path(Label("//build_defs:adapter.BUILD.tpl")),
    )

def _declare(repository_ctx, templates, flags, kernels, sources = "", more = "", cpu = ""):
    """Makes the repository of an adapter, of which official/ is there.

    Args:
      repository_ctx: of the rule.
      templates: what _prepare() returned.
      flags: for the compiler.
      kernels: label of the library that it calls.
      sources: name of the repository that its own such library is compiled in, if
        that is another.
      more: what the BUILD file has beside the libraries.
      cpu: the processor that it is for, if that may be another than this machine's.
    """
    repository_ctx.symlink(
        "official/tensorflow/libtensorflow_framework.so.2",
        "framework",
    )
    repository_ctx.file("flags.bzl", "COMPILE_FLAGS = %s\n" % flags, executable = False)
    repository_ctx.template(
        "release.bzl",
        templates.release,
        {
            "%{stock}": repository_ctx.name,
            # What 2.2.3 calls by the only name it has, later releases deprecate.
            "%{copts}": str(["-Wno-deprecated-declarations"]),
            "%{compiler}": compiler(repository_ctx, cpu),
            "%{path}": repository_ctx.os.environ["PATH"],
            "%{own_keras}": "False",
            "%{test_environments}": "{}",
        },
        executable = False,
    )
    repository_ctx.template(
        "BUILD",
        templates.build,
        {
            "%{kernel_library}": "@%s//:kernel_library" % sources if sources else _KERNEL_LIBRARY,
            "%{kernels}": kernels,
            "%{more}": more,
        },
        executable = False,
    )

def _flags_of(repository_ctx):
    """Returns the compile flags that the release's tf.sysconfig would report."""

    # A mangled name has this tag where std::string is that of the new ABI.
    new_strings = repository_ctx.execute(
        ["grep", "-qF", "KernelsRegisteredForOpB5cxx11", _PARTS[1]],
        working_directory = "official",
    ).return_code == 0
    return [
        "-std=c++17",
        "-D_GLIBCXX_USE_CXX11_ABI=%d" % (1 if new_strings else 0),
        "-DEIGEN_MAX_ALIGN_BYTES=64",
    ]

def _minor(version):
    return ".".join(version.split(".")[:2])

def _package(cpu):
    """The package of @plugin that has what is for a processor."""
    return "" if cpu == _FIRST_CPU else cpu

def _adapter_impl(repository_ctx):
    attr = repository_ctx.attr
    templates = _prepare(repository_ctx)
    if attr.stock:
        stock = repository_ctx.path(attr.stock).dirname
        repository_ctx.symlink(stock.get_child("official"), "official")
    else:
        fetch_wheel(repository_ctx, [], attr.interpreter, _PARTS, attr.cpu)
        repository_ctx.delete("env")
        repository_ctx.delete("wheel")
        repository_ctx.delete("official.whl")
    _declare(
        repository_ctx,
        templates,
        _flags_of(repository_ctx),
        "@plugin//%s:kernels" % _package(attr.cpu),
        attr.release,
        cpu = attr.cpu,
    )

_adapter = repository_rule(
    implementation = _adapter_impl,
    attrs = dict(
        PIN,
        cpu = attr.string(mandatory = True),
        interpreter = attr.string(mandatory = True),
        release = attr.string(),
        stand_ins = attr.label_keyed_string_dict(allow_files = True),
        stock = attr.label(allow_single_file = True),
        tested = attr.bool(),
    ),
    environ = ["CC", "PATH"],
)

_PLUGIN_HERE = """
plugin_wheel(
    name = "plugin",
    adapters = {{":adapter.so": "{serves}"}},
    kernels = ":libgrouped_conv_kernels.so",
    local_version = "tensorflow.{version}",
    version = VERSION,
)
"""

_ASK = """
import os, sys
try:
    import tensorflow as tf
except ImportError as error:
    sys.exit("%s cannot import tensorflow: %s" % (sys.executable, error))
include, library = tf.sysconfig.get_include(), tf.sysconfig.get_lib()
framework = os.path.join(library, "libtensorflow_framework.so.2")
header = os.path.join(include, "tensorflow/core/framework/op_kernel.h")
for path in framework, header:
    if not os.path.exists(path):
        sys.exit("TensorFlow %s of %s has no %s" % (tf.__version__, sys.executable, path))
flags = [flag for flag in tf.sysconfig.get_compile_flags() if not flag.startswith("-I")]
if not any(flag.lstrip("-").startswith("std=") for flag in flags):
    flags.append("-std=c++14")
print("\\n".join([include, library, tf.version.VERSION] + flags))
"""

def _local_adapter_impl(repository_ctx):
    here = repository_ctx.os.environ.get(_HERE)
    if not here:
        repository_ctx.file("BUILD", executable = False)
        return
    templates = _prepare(repository_ctx)
    python = here.rpartition(" ")[0]
    result = repository_ctx.execute(
        [python, "-W", "ignore", "-c", _ASK],
        environment = {
            "CUDA_VISIBLE_DEVICES": "-1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )
    if result.return_code != 0:
        fail(result.stderr.strip().split("\n")[-1])
    include, library, version = result.stdout.strip().split("\n")[:3]
    flags = result.stdout.strip().split("\n")[3:]
    repository_ctx.symlink(include, "official/tensorflow/include")
    repository_ctx.symlink(
        library + "/libtensorflow_framework.so.2",
        "official/tensorflow/libtensorflow_framework.so.2",
    )
    repository_ctx.symlink(python, "python")
    _declare(
        repository_ctx,
        templates,
        flags,
        "//:kernels",
        more = _PLUGIN_HERE.format(
            # Of nightlies each is another.
            serves = version if "-dev" in version else _minor(version),
            version = version.replace("-", "."),
        ),
    )

_local_adapter = repository_rule(
    implementation = _local_adapter_impl,
    attrs = {"stand_ins": attr.label_keyed_string_dict(allow_files = True)},
    environ = ["CC", "PATH", _HERE],
    local = True,
)

def _plugin_impl(repository_ctx):
    attr = repository_ctx.attr
    repository_ctx.file(
        "version.bzl",
        '"""What is known of the plugin."""\n\n' +
        "VERSION = \"%s\"\n\n" % attr.version +
        "# Repositories of official wheels that //:tested serves.\n" +
        "TESTED = %s\n" % attr.tested.values(),
        executable = False,
    )
    for tools, cpu in attr.tools.items():
        adapters = {
            adapter: pin.partition(" ")[2]
            for adapter, pin in attr.adapters.items()
            if pin.partition(" ")[0] == cpu
        }
        tested = [name for name in attr.tested if name in adapters]
        repository_ctx.template(
            "./%s/BUILD" % _package(cpu),
            Label("//build_defs:plugin.BUILD.tpl"),
            {
                "%{adapters}": str(adapters),
                # Where tests have them compiled anyway.
                "%{kernels_from}": (tested or adapters.keys())[-1],
                "%{tested}": str(tested),
                "%{tools}": tools,
            },
            executable = False,
        )

_plugin = repository_rule(
    implementation = _plugin_impl,
    attrs = {
        "adapters": attr.string_dict(
            doc = "With the processor, and distribution, version and hash of the official wheel.",
        ),
        "tested": attr.string_dict(doc = "With the repository of the official wheel."),
        "tools": attr.string_dict(mandatory = True, doc = "With the processor."),
        "version": attr.string(mandatory = True),
    },
)

def tensorflow_adapter(
        version,
        python,
        sha256,
        tested = False,
        cpu = _FIRST_CPU,
        distribution = "tensorflow-cpu"):
    """Pins a release that the plugin serves, and with it all of its minor version.

    Args:
      version: of TensorFlow.
      python: the CPython version of an official wheel of it, such as "3.11".
      sha256: of this wheel, for manylinux on the processor.
      tested: whether it is of those that `make test` looks at, whose official
        wheels stock_tensorflow() or tensorflow_release() pins, too.
      cpu: the processor, as `uname -m` has it.
      distribution: whose wheel it is, such as one that has nothing for GPUs.
    """
    release = wheel_name(distribution, version, python)
    stock = "stock_" + release
    shared = cpu == _FIRST_CPU and stock in native.existing_rules()
    parts = ["adapter", _package(cpu), _minor(version).replace(".", "_")]
    _adapter(
        name = "_".join([part for part in parts if part]),
        cpu = cpu,
        distribution = distribution,
        interpreter = _INTERPRETER,
        python = python,
        # Nor are the kernels compiled twice.
        release = release if shared and release in native.existing_rules() else "",
        sha256 = sha256,
        stand_ins = STAND_INS,
        # What is there is not fetched twice.
        stock = "@%s//:official.txt" % stock if shared else None,
        tested = tested,
        version = version,
    )

def tensorflow_plugin(version, tools):
    """Declares the wheels that serve the releases that are pinned above.

    Args:
      version: of the wheels.
      tools: name of the repository of an official wheel, in whose environment
        wheels are packed and judged. Those for other processors are so in one
        of their own, without that official wheel.
    """
    adapters = [
        rule
        for rule in native.existing_rules().values()
        if rule["kind"] == "_adapter"
    ]
    _local_adapter(name = "adapter_here", stand_ins = STAND_INS)
    all_tools = {tools: _FIRST_CPU}
    for cpu in {rule["cpu"]: True for rule in adapters if rule["cpu"] != _FIRST_CPU}:
        cross_compiler(name = "compiler_for_" + cpu, cpu = cpu)
        wheel_tools(
            name = "tools_for_" + cpu,
            python = native.existing_rule(tools)["python"],
            requirements = native.existing_rule(tools)["requirements"],
        )
        all_tools["tools_for_" + cpu] = cpu
    _plugin(
        name = "plugin",
        adapters = {
            rule["name"]: " ".join([rule[key] for key in ["cpu", "distribution", "version", "sha256"]])
            for rule in adapters
        },
        tested = {
            rule["name"]: "stock_" + wheel_name(rule["distribution"], rule["version"], rule["python"])
            for rule in adapters
            if rule["tested"]
        },
        tools = all_tools,
        version = version,
    )
