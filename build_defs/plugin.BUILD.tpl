load("@tensorflow_grouped_convolution//build_defs:plugin.bzl", "plugin_wheel")
load("//:version.bzl", "VERSION")

package(default_visibility = ["//visibility:public"])

# With distribution, version and hash of the official wheel that each is compiled
# against.
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
        "@%s//:adapter.so" % adapter: ".".join(adapter.split("_")[-2:])
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
        "_".join(["plugin"] + adapter.split("_")[-2:]),
        "tensorflow." + ADAPTERS[adapter].split(" ")[1],
        [adapter],
    )
    for adapter in ADAPTERS
] if adapters]
