load("@tensorflow_grouped_convolution//build_defs:sbom.bzl", "bill_of_materials")
load(
    "@tensorflow_grouped_convolution//build_defs:wheel.bzl",
    "patched_tree",
    "rebuilt_wheel",
    "unpacked_wheel",
)
load("//:release.bzl", "PATH", "STOCK")

package(default_visibility = ["//visibility:public"])

# libtensorflow_framework.so.2. Bazel would have the kernels look in its own
# folders for a library that it knows as one; they are to find it where the wheel
# has it, so Bazel only hands it to the linker.
FRAMEWORK = STOCK + "//:framework"

# Named as TensorFlow names its kernels that are libraries of their own.
cc_binary(
    name = "libtfkernel_grouped_conv.so",
    additional_linker_inputs = [FRAMEWORK],
    linkopts = [
        "$(location %s)" % FRAMEWORK,
        "-Wl,-rpath,$$ORIGIN/../..",
        # The linker would otherwise put its output's path in.
        "-Wl,-soname,libtfkernel_grouped_conv.so",
        "-Wl,--no-undefined",
        "-Wl,--wrap=memcpy",
        "-Wl,-z,relro,-z,now",
        "-s",
    ],
    linkshared = True,
    deps = [
        "//tensorflow/core/kernels/grouped_conv:grouped_conv_library",
        "@tensorflow_grouped_convolution//build_defs:old_glibc",
    ],
)

# Of which the plugin makes a library of its own.
alias(
    name = "kernel_library",
    actual = "//tensorflow/core/kernels/grouped_conv:kernel_library",
)

OVERLAY = glob(
    ["overlay/**/*.py"],
    exclude = ["overlay/**/*_test.py"],
)

PATCHES = glob(["patches/*.patch"])

LIBRARY_PATH = "tensorflow/core/kernels/libtfkernel_grouped_conv.so"

patched_tree(
    name = "patched_tree",
    overlay = OVERLAY,
    overlay_root = "overlay",
    patches = PATCHES,
    path = PATH,
    python = STOCK + "//:env/bin/python",
    series = "patches/series",
    wheel = STOCK + "//:official.whl",
)

bill_of_materials(
    name = "bill_of_materials",
    files = OVERLAY,
    libraries = {":libtfkernel_grouped_conv.so": LIBRARY_PATH},
    local_version = "%{local_version}",
    official = STOCK + "//:official.whl",
    official_name = STOCK + "//:official.txt",
    packages = STOCK + "//:cyclonedx",
    patches = PATCHES,
    python = STOCK + "//:env/bin/python",
)

rebuilt_wheel(
    name = "wheel",
    auditwheel = STOCK + "//:auditwheel",
    bill_of_materials = ":bill_of_materials.cdx.json",
    library = ":libtfkernel_grouped_conv.so",
    library_path = LIBRARY_PATH,
    local_version = "%{local_version}",
    framework = FRAMEWORK,
    official = STOCK + "//:official.whl",
    official_name = STOCK + "//:official.txt",
    patches = PATCHES,
    python = STOCK + "//:env/bin/python",
    tree = ":patched_tree",
)

unpacked_wheel(
    name = "installed",
    python = STOCK + "//:env/bin/python",
    wheel = ":wheel",
)

# What tests compare the wheel with.
exports_files([
    "overlay",
    "patches/series",
])

filegroup(
    name = "patches",
    srcs = PATCHES,
)
