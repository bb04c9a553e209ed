"""C++ compilers for other processors than this machine's, by the names that Debian gives them."""

load("@bazel_tools//tools/cpp:unix_cc_configure.bzl", "configure_unix_toolchain")

def _cross_compiler_impl(repository_ctx):
    cpu = repository_ctx.attr.cpu
    prefix = cpu + "-linux-gnu-"
    tools = {
        tool: repository_ctx.which(prefix + tool)
        for tool in ["gcc", "ar", "cpp", "gcov", "ld", "nm", "objcopy", "objdump", "strip"]
    }
    missing = [prefix + tool for tool, path in tools.items() if not path]
    if missing:
        fail("found no %s on PATH" % ", ".join(missing))

    # A compiler outside of this repository would be told to look for its linker
    # beside itself, where it finds that of this machine.
    repository_ctx.file("gcc", "#!/bin/sh\nexec '%s' \"$@\"\n" % tools["gcc"])
    tools["gcc"] = repository_ctx.path("gcc")
    configure_unix_toolchain(repository_ctx, cpu, tools)

cross_compiler = repository_rule(
    implementation = _cross_compiler_impl,
    attrs = {"cpu": attr.string(mandatory = True, doc = "As `uname -m` has it.")},
    environ = ["PATH"],
    doc = "//:toolchain, with the flags that Bazel finds for this machine's compiler.",
)
