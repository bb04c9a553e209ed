load("@plugin//:version.bzl", "VERSION")
load("@tensorflow_grouped_convolution//build_defs:plugin.bzl", "plugin_library", "plugin_wheel")
load("//:release.bzl", "COPTS")

package(default_visibility = ["//visibility:public"])

cc_library(
    name = "headers",
    hdrs = glob(["official/tensorflow/include/**"]),
    includes = ["official/tensorflow/include"],
)

# Serves any release, whichever it is compiled beside.
plugin_library(
    name = "libgrouped_conv_kernels.so",
    copts = COPTS,
    exports = "@tensorflow_grouped_convolution//plugin:kernels.lds",
    deps = ["//tensorflow/core/kernels/grouped_conv:kernel_library"],
)

plugin_library(
    name = "adapter.so",
    copts = COPTS,
    libraries = [
        "%{kernels}",
        # Which Bazel would have it look for in its own folders, if it knew it as
        # a library; TensorFlow has loaded it.
        ":framework",
    ],
    deps = ["//tensorflow/core/kernels/grouped_conv:grouped_conv_adapter"],
)
%{more}