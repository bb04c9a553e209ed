load(
    "@tensorflow_grouped_convolution//build_defs:wheel.bzl",
    "patched_tree",
    "rebuilt_wheel",
    "unpacked_wheel",
)

package(default_visibility = ["//visibility:public"])

patched_tree(
    name = "patched_tree",
    patches = glob(["patches/*.patch"]),
    path = "%{path}",
    python = "%{stock}//:env/bin/python",
    series = "patches/series",
    wheel = "%{stock}//:official.whl",
)

rebuilt_wheel(
    name = "wheel",
    local_version = "%{local_version}",
    official = "%{stock}//:official.whl",
    official_name = "%{stock}//:official.txt",
    patches = glob(["patches/*.patch"]),
    python = "%{stock}//:env/bin/python",
    tree = ":patched_tree",
)

unpacked_wheel(
    name = "installed",
    python = "%{stock}//:env/bin/python",
    wheel = ":wheel",
)

# What tests compare the wheel with.
exports_files(["patches/series"])

filegroup(
    name = "patches",
    srcs = glob(["patches/*.patch"]),
)
