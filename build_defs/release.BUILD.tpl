load(
    "@//build_defs:wheel.bzl",
    "patched_tree",
    "rebuilt_wheel",
    "unpacked_wheel",
)
load("//:release.bzl", "COPTS", "STOCK")

package(default_visibility = ["//visibility:public"])

# Named as TensorFlow names its kernels that are libraries of their own.
cc_binary(
    name = "libtfkernel_grouped_conv.so",
    # The wheel's own library is found where the wheel has it, not in Bazel's
    # folders.
    features = ["-runtime_library_search_directories"],
    linkopts = [
        "-Wl,-rpath,$$ORIGIN/../..",
        "-Wl,--no-undefined",
        "-Wl,-z,relro,-z,now",
        "-s",
    ],
    linkshared = True,
    deps = ["//tensorflow/core/kernels/grouped_conv:grouped_conv_ops"],
)

patched_tree(
    name = "patched_tree",
    overlay = glob(
        ["overlay/**/*.py"],
        exclude = ["overlay/**/*_test.py"],
    ),
    overlay_root = "overlay",
    patches = glob(["patches/*.patch"]),
    python = STOCK + "//:env/bin/python",
    series = "patches/series",
    wheel = STOCK + "//:official.whl",
)

rebuilt_wheel(
    name = "wheel",
    auditwheel = STOCK + "//:auditwheel",
    library = ":libtfkernel_grouped_conv.so",
    library_path = "tensorflow/core/kernels/libtfkernel_grouped_conv.so",
    local_version = "%{local_version}",
    needed = STOCK + "//:official/tensorflow/libtensorflow_framework.so.2",
    official = STOCK + "//:official.whl",
    official_name = STOCK + "//:official.txt",
    patches = glob(["patches/*.patch"]),
    python = STOCK + "//:env/bin/python",
    tree = ":patched_tree",
)

unpacked_wheel(
    name = "installed",
    python = STOCK + "//:env/bin/python",
    wheel = ":wheel",
)
