load("@tensorflow_grouped_convolution//build_defs:plugin.bzl", "plugin_wheel")
load("//:version.bzl", "VERSION")

package(default_visibility = ["//visibility:public"])

# With version and hash of the official wheel that each is compiled against.
ADAPTERS = %{adapters}

# What all of them call, and how they are linked against it.
KERNELS = "@%{kernels_from}//:libgrouped_conv_kernels.so"

alias(
    name = "kernels",
    actual = "@%{kernels_from}//:kernels",
)

[plugin_wheel(
    name = name,
    adapters = {
        "@%s//:adapter.so" % adapter: adapter[len("adapter_"):].replace("_", ".")
        for adapter in adapters
    },
    against = [ADAPTERS[adapter] for adapter in adapters],
    kernels = KERNELS,
    local_version = local_version,
    tools = "%{tools}",
    version = VERSION,
) for name, local_version, adapters in [
    ("plugin", "", ADAPTERS.keys()),
    ("tested", "", %{tested}),
] + [
    (
        adapter.replace("adapter", "plugin"),
        "tensorflow." + ADAPTERS[adapter].split(" ")[0],
        [adapter],
    )
    for adapter in ADAPTERS
]]
