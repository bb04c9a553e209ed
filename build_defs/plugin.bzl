"""The wheel that adds the kernels to an official TensorFlow."""

load("//build_defs:sbom.bzl", "bill_of_materials")
load("//build_defs:wheel.bzl", "PACK_ATTRS", "PACK_OUTPUTS", "pack")

# The name of the wheel and of its Python package.
PACKAGE = "tensorflow_grouped_convolution"

# Where its libraries lie in it.
_KERNELS = PACKAGE + "/libgrouped_conv_kernels.so"
_ADAPTERS = PACKAGE + "/adapters/%s.so"
_LOADER = "tensorflow-plugins/lib%s.so" % PACKAGE

def plugin_library(name, deps, libraries = [], exports = None):
    """A library of the plugin, as portable as the official wheels.

    Args:
      name: of the file, and for who links against it.
      deps: what it is made of.
      libraries: that it is linked against; those of the plugin lie in the
        folder of its Python package.
      exports: a linker script that names the symbols to export, if not all are.
    """
    native.cc_binary(
        name = name,
        additional_linker_inputs = libraries + ([exports] if exports else []),
        linkopts = ["$(location %s)" % library for library in libraries] + (
            ["-Wl,--version-script=$(location %s)" % exports] if exports else []
        ) + [
            "-Wl,-rpath,$$ORIGIN/..",
            # The linker would otherwise put its output's path in.
            "-Wl,-soname," + name,
            "-Wl,--no-undefined",
            "-Wl,--wrap=memcpy",
            "-Wl,-z,relro,-z,now",
            "-s",
        ],
        linkshared = True,
        deps = deps + ["@tensorflow_grouped_convolution//build_defs:old_glibc"],
    )

def _plugin_wheel_impl(ctx):
    arguments = ctx.actions.args()
    arguments.add("--name", PACKAGE)
    arguments.add("--version", ctx.attr.version)
    for release in ctx.attr.adapters.values():
        arguments.add("--serves", release)
    libraries = {_KERNELS: ctx.file.kernels, _LOADER: ctx.file._loader}
    for adapter, release in ctx.attr.adapters.items():
        libraries[_ADAPTERS % release] = adapter.files.to_list()[0]
    for path, library in libraries.items():
        arguments.add_all("--library", [path, library])
    for module in ctx.files._modules:
        arguments.add("--module", module)
    return pack(
        ctx,
        ctx.file._tool,
        arguments,
        libraries.values() + ctx.files._modules,
        mnemonic = "PackPlugin",
        progress_message = "Packing the plugin",
    )

_plugin_wheel = rule(
    implementation = _plugin_wheel_impl,
    attrs = dict(
        PACK_ATTRS,
        adapters = attr.label_keyed_string_dict(
            mandatory = True,
            allow_files = True,
            doc = "Libraries that register the kernels, with the releases that they do so for.",
        ),
        kernels = attr.label(mandatory = True, allow_single_file = True),
        version = attr.string(mandatory = True),
        _loader = attr.label(
            default = Label("//plugin:loader.so"),
            allow_single_file = True,
            doc = "The library that loads the adapter that fits.",
        ),
        _modules = attr.label(
            default = Label("//plugin:modules"),
            allow_files = True,
        ),
        _tool = attr.label(
            default = Label("//build_defs:pack_plugin.py"),
            allow_single_file = True,
        ),
    ),
    outputs = PACK_OUTPUTS,
    doc = "A wheel for any CPython that adds kernels to an official TensorFlow.",
)

def plugin_wheel(name, version, adapters, kernels, tools = None, against = [], local_version = ""):
    """A wheel for any CPython that adds kernels to official releases of TensorFlow.

    Args:
      name: of the target.
      version: of the wheel.
      adapters: for each adapter, the releases that it is for: the name of its
        file in the wheel.
      kernels: the library that they call.
      tools: name of the repository that has Python and the packages which judge
        the wheel and write its bill of materials. Without it there is neither
        judgement nor bill: the wheel is for this machine.
      against: for each official wheel that an adapter is compiled against, its
        distribution, version and hash.
      local_version: what follows the "+" in its version, if anything.
    """
    common = {
        "local_version": local_version,
        "python": "@%s//:env/bin/python" % tools if tools else "//:python",
    }
    if tools:
        libraries = {adapter: _ADAPTERS % release for adapter, release in adapters.items()}
        libraries[kernels] = _KERNELS
        libraries[Label("//plugin:loader.so")] = _LOADER
        bill_of_materials(
            name = name + "_bill_of_materials",
            against = against,
            distribution = PACKAGE,
            files = [Label("//plugin:modules")],
            libraries = libraries,
            packages = "@%s//:cyclonedx" % tools,
            version = version,
            **common
        )
    _plugin_wheel(
        name = name,
        adapters = adapters,
        auditwheel = "@%s//:auditwheel" % tools if tools else None,
        bill_of_materials = ":%s_bill_of_materials.cdx.json" % name if tools else None,
        framework = Label("//plugin:framework.so") if tools else None,
        kernels = kernels,
        version = version,
        **common
    )
