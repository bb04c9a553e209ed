load("@plugin//:version.bzl", "VERSION")
load("@tensorflow_grouped_convolution//build_defs:plugin.bzl", "plugin_library", "plugin_wheel")

package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(
        ["official/tensorflow/include/**"],
        exclude = ["**/*.so"],
    ),
    includes = ["official/tensorflow/include"],
)

# Serves any release, whichever it is compiled beside.
plugin_library(
    name = "libgrouped_conv_kernels.so",
    exports = "@tensorflow_grouped_convolution//plugin:kernels.lds",
    deps = ["%{kernel_library}"],
)

# Libraries to link against under names that Bazel does not take for a library's:
# it would have what needs them look for them in its own folders. (:framework is
# the other.)
genrule(
    name = "kernels",
    srcs = [":libgrouped_conv_kernels.so"],
    outs = ["libgrouped_conv_kernels"],
    cmd = "cp $< $@",
)

plugin_library(
    name = "adapter.so",
    libraries = [
        "%{kernels}",
        ":framework",
    ],
    deps = ["//tensorflow/core/kernels/grouped_conv:grouped_conv_adapter"],
)
%{more}