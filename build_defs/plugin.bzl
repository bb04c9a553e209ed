"""The wheel that adds the kernels to an official TensorFlow."""

load("//build_defs:wheel.bzl", "ON_THIS_MACHINE", "site_packages")

def _plugin_wheel_impl(ctx):
    arguments = ctx.actions.args()
    arguments.add("-B")
    arguments.add(ctx.file._tool)
    arguments.add("--official", ctx.file.official)
    arguments.add("--official_name", ctx.file.official_name)
    arguments.add("--local_version", ctx.attr.local_version)
    arguments.add("--kernels", ctx.file.kernels)
    arguments.add("--loader", ctx.file.loader)
    arguments.add("--framework", ctx.file.framework)
    for module in ctx.files._modules:
        arguments.add("--module", module)
    arguments.add("--licence", ctx.file._licence)
    arguments.add("--output", ctx.outputs.wheel)
    arguments.add("--name_output", ctx.outputs.file_name)
    arguments.add("--report_output", ctx.outputs.report)
    ctx.actions.run(
        outputs = [ctx.outputs.wheel, ctx.outputs.file_name, ctx.outputs.report],
        inputs = [
            ctx.file._tool,
            ctx.file._pack_wheel,
            ctx.file.official,
            ctx.file.official_name,
            ctx.file.kernels,
            ctx.file.loader,
            ctx.file.framework,
            ctx.file._licence,
        ] + ctx.files._modules + ctx.files.auditwheel,
        executable = ctx.file.python,
        arguments = [arguments],
        env = {
            "PATH": ctx.attr.path,
            "PYTHONPATH": site_packages(ctx.files.auditwheel),
        },
        mnemonic = "PackPlugin",
        execution_requirements = ON_THIS_MACHINE,
        progress_message = "Packing the plugin for " + ctx.label.workspace_name,
    )
    return [
        DefaultInfo(files = depset([ctx.outputs.wheel])),
        OutputGroupInfo(dist = depset([
            ctx.outputs.wheel,
            ctx.outputs.file_name,
            ctx.outputs.report,
        ])),
    ]

_plugin_wheel = rule(
    implementation = _plugin_wheel_impl,
    attrs = {
        "official": attr.label(mandatory = True, allow_single_file = True),
        "official_name": attr.label(mandatory = True, allow_single_file = True),
        "local_version": attr.string(mandatory = True),
        "kernels": attr.label(mandatory = True, allow_single_file = True),
        "loader": attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "The library that loads `kernels` where they fit.",
        ),
        "framework": attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "The official library that `kernels` is linked against.",
        ),
        "python": attr.label(mandatory = True, allow_single_file = True),
        "path": attr.string(doc = "PATH to look for programs on."),
        "auditwheel": attr.label(mandatory = True, allow_files = True),
        "_modules": attr.label(
            default = Label("//plugin:modules"),
            allow_files = True,
        ),
        "_licence": attr.label(
            default = Label("//:LICENSE"),
            allow_single_file = True,
        ),
        "_tool": attr.label(
            default = Label("//build_defs:pack_plugin.py"),
            allow_single_file = True,
        ),
        "_pack_wheel": attr.label(
            default = Label("//build_defs:pack_wheel.py"),
            allow_single_file = True,
        ),
    },
    outputs = {
        "wheel": "%{name}.whl",
        "file_name": "%{name}.name.txt",
        "report": "%{name}.report.txt",
    },
    doc = "A wheel for any CPython that adds kernels to an official TensorFlow.",
)

def plugin_wheel(name, version, **kwargs):
    """A wheel for any CPython that adds kernels to an official TensorFlow.

    Args:
      name: of the target.
      version: of TensorFlow that it is for.
      **kwargs: see _plugin_wheel, whose `loader` this makes.
    """
    loader = "lib%s_loader.so" % name
    native.cc_binary(
        name = loader,
        srcs = [Label("//plugin:loader")],
        copts = ["-DRELEASE=\\\"%s\\\"" % version],
        linkopts = [
            # By the name of the file: all systems have it, and not all the other.
            "-Wl,--no-as-needed,-l:libdl.so.2,--as-needed",
            "-Wl,-soname,libtensorflow_grouped_convolution.so",
            "-Wl,--no-undefined",
            "-Wl,-z,relro,-z,now",
            "-s",
        ],
        linkshared = True,
    )
    _plugin_wheel(
        name = name,
        loader = ":" + loader,
        **kwargs
    )
