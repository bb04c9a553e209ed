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
        # What it takes from elsewhere on Pythons before 3.8 and 3.7.
        "env/lib/python*/site-packages/dataclasses.py",
        "env/lib/python*/site-packages/importlib_metadata/**",
        "env/lib/python*/site-packages/pyparsing/**",
        "env/lib/python*/site-packages/pyparsing.py",
        "env/lib/python*/site-packages/typing_extensions.py",
        "env/lib/python*/site-packages/zipp/**",
        "env/lib/python*/site-packages/zipp.py",
    ]),
)

filegroup(
    name = "cyclonedx",
    srcs = glob([
        "env/lib/python*/site-packages/%s" % path
        for path in [
            "boolean/**",
            "cyclonedx/**",
            "defusedxml/**",
            "elftools/**",
            "license_expression/**",
            "packageurl/**",
            "py_serializable/**",
            "sortedcontainers/**",
            "typing_extensions.py",
            # What it takes from elsewhere on Pythons before 3.8 and 3.7.
            "cyclonedx_python_lib-*/**",
            "importlib_metadata/**",
            "serializable/**",
            "toml/**",
            "zipp/**",
            "zipp.py",
        ]
    ]),
)

cc_library(
    name = "headers",
    hdrs = glob(["official/tensorflow/include/**"]),
    includes = ["official/tensorflow/include"],
)
