package(default_visibility = ["//visibility:public"])

exports_files([
    "official.txt",
    "official.whl",
    "env/bin/python",
    "env/pyvenv.cfg",
    "official/tensorflow/libtensorflow_framework.so.2",
])

# As an installation has them: the folder itself, for PYTHONPATH.
exports_files(["official"])

filegroup(
    name = "auditwheel",
    srcs = glob([
        "env/lib/python*/site-packages/auditwheel/**",
        "env/lib/python*/site-packages/auditwheel-*/**",
        "env/lib/python*/site-packages/elftools/**",
        "env/lib/python*/site-packages/packaging/**",
    ]),
)

cc_library(
    name = "headers",
    hdrs = glob(["official/tensorflow/include/**"]),
    includes = ["official/tensorflow/include"],
)

cc_import(
    name = "framework",
    shared_library = "official/tensorflow/libtensorflow_framework.so.2",
)
