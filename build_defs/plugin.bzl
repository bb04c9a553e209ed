"""The wheel that adds the kernels to an official TensorFlow."""

load("//build_defs:sbom.bzl", "bill_of_materials")
load("//build_defs:wheel.bzl", "PACK_ATTRS", "PACK_OUTPUTS", "pack")

# The wheel's name, which is that of its Python package, in //plugin, too.
_NAME = "tensorflow_grouped_convolution"

# Where its libraries lie in it.
_KERNELS = _NAME + "/libtfkernel_grouped_conv.so"
_LOADER = "tensorflow-plugins/lib%s.so" % _NAME

def _plugin_wheel_impl(ctx):
    arguments = ctx.actions.args()
    arguments.add("--name", _NAME)
    arguments.add_all("--kernels", [_KERNELS, ctx.file.kernels])
    arguments.add_all("--loader", [_LOADER, ctx.file.loader])
    for module in ctx.files._modules:
        arguments.add("--module", module)
    return pack(
        ctx,
        ctx.file._tool,
        arguments,
        [ctx.file.kernels, ctx.file.loader] + ctx.files._modules,
        mnemonic = "PackPlugin",
        progress_message = "Packing the plugin for " + ctx.label.workspace_name,
    )

_plugin_wheel = rule(
    implementation = _plugin_wheel_impl,
    attrs = dict(
        PACK_ATTRS,
        kernels = attr.label(mandatory = True, allow_single_file = True),
        loader = attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "The library that loads `kernels` where they fit.",
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

def plugin_wheel(name, version, copts, kernels, cyclonedx, **kwargs):
    """A wheel for any CPython that adds kernels to an official TensorFlow.

    Args:
      name: of the target.
      version: of TensorFlow that it is for.
      copts: for the compiler of its loader.
      kernels: the library of kernels.
      cyclonedx: the packages that write its bill of materials.
      **kwargs: see _plugin_wheel, whose other attributes this sets.
    """
    loader = "lib%s_loader.so" % name
    native.cc_binary(
        name = loader,
        srcs = [Label("//plugin:loader")],
        copts = copts + [
            "-DRELEASE=\\\"%s\\\"" % version,
            "-DPACKAGE=\\\"%s\\\"" % _NAME,
        ],
        linkopts = [
            # By the name of the file: all systems have it, and not all the other.
            "-Wl,--no-as-needed,-l:libdl.so.2,--as-needed",
            "-Wl,-soname," + _LOADER.split("/")[-1],
            "-Wl,--no-undefined",
            "-Wl,-z,relro,-z,now",
            "-s",
        ],
        linkshared = True,
    )
    bill_of_materials(
        name = name + "_bill_of_materials",
        distribution = _NAME,
        files = [Label("//plugin:modules")],
        libraries = {
            kernels: _KERNELS,
            ":" + loader: _LOADER,
        },
        local_version = kwargs["local_version"],
        official = kwargs["official"],
        official_name = kwargs["official_name"],
        packages = cyclonedx,
        python = kwargs["python"],
    )
    _plugin_wheel(
        name = name,
        bill_of_materials = ":%s_bill_of_materials.cdx.json" % name,
        kernels = kernels,
        loader = ":" + loader,
        **kwargs
    )
