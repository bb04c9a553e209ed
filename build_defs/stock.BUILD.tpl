package(default_visibility = ["//visibility:public"])

exports_files([
    "framework",
    "official.txt",
    "official.whl",
    "env/bin/python",
    "env/pyvenv.cfg",
    # As an installation has them: the folder itself, for PYTHONPATH.
    "official",
])

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
