"""Stand-ins for the repositories that Bazel 2.0.0 would fetch from GitHub.

Bazel's built-in WORKSPACE suffix names six repositories for the tools of its
C++, Java, proto and coverage rules. Builds here use next to nothing of them, so
a repository of the same name, declared first, holds just that and nothing has
to be fetched.
"""

def _stand_in_impl(repository_ctx):
    for path, content in repository_ctx.attr.files.items():
        repository_ctx.file(path, content, executable = False)

_stand_in = repository_rule(
    implementation = _stand_in_impl,
    attrs = {"files": attr.string_dict(doc = "Content of each file, by path.")},
    doc = "A repository that holds the given files.",
)

def _native_rules(path, rules):
    """Files that make native rules loadable from a package of rules."""
    lines = ['"""Native rules under the names that Bazel\'s own tools load."""\n']
    lines += ["%s = native.%s" % (rule, rule) for rule in rules]
    return {
        path + "/BUILD": "",
        path + "/defs.bzl": "\n".join(lines) + "\n",
    }

def bazel_stand_ins():
    """Declares the stand-ins; the first statement of a WORKSPACE after loads."""
    _stand_in(
        name = "rules_cc",
        files = _native_rules("cc", [
            "cc_binary",
            "cc_import",
            "cc_library",
            "cc_test",
            "cc_toolchain",
            "cc_toolchain_suite",
        ]),
    )
    _stand_in(
        name = "rules_java",
        files = _native_rules("java", [
            "java_binary",
            "java_import",
            "java_library",
            "java_plugin",
            "java_runtime",
            "java_test",
            "java_toolchain",
        ]),
    )
    _stand_in(
        name = "rules_proto",
        files = _native_rules("proto", ["proto_library"]),
    )
    _stand_in(
        name = "remote_java_tools_linux",
        files = {
            "BUILD": """\
exports_files(["java_tools/JacocoCoverage_jarjar_deploy.jar"])

java_toolchain(
    name = "toolchain",
    genclass = ["unused"],
    ijar = ["unused"],
    javabuilder = ["unused"],
    singlejar = ["unused"],
    source_version = "8",
    target_version = "8",
    visibility = ["//visibility:public"],
)
""",
            "java_tools/JacocoCoverage_jarjar_deploy.jar": "",
            "unused": "",
        },
    )
    _stand_in(
        name = "remote_coverage_tools",
        files = {
            "BUILD": """exports_files(["all_lcov_merger_tools_deploy.jar"])\n""",
            "all_lcov_merger_tools_deploy.jar": "",
        },
    )
    _stand_in(
        name = "remotejdk11_linux",
        files = {
            "BUILD": """\
java_runtime(
    name = "jdk",
    java_home = ".",
    visibility = ["//visibility:public"],
)
""",
        },
    )
