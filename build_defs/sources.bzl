"""The sources of a release's repository: the overlay among stand-ins for what is around it."""

# BUILD and .bzl files that TensorFlow has and its wheel has not.
STAND_INS = {
    Label("//build_defs/stand_ins:tensorflow.bzl"): "tensorflow/tensorflow.bzl",
    Label("//build_defs/stand_ins:tensorflow.BUILD"): "tensorflow/BUILD",
    Label("//build_defs/stand_ins:core.BUILD"): "tensorflow/core/BUILD",
    Label("//build_defs/stand_ins:test.h"): "tensorflow/core/platform/test.h",
    Label("//build_defs/stand_ins:test_main.cc"): "tensorflow/core/platform/test_main.cc",
    Label("//build_defs/stand_ins:lite.BUILD"): "tensorflow/lite/python/BUILD",
    Label("//build_defs/stand_ins:keras.BUILD"): "tensorflow/python/keras/BUILD",
    Label("//build_defs/stand_ins:kernel_tests.BUILD"): "tensorflow/python/kernel_tests/BUILD",
}

# Names compilers as cross.bzl does.
_ASK_COMPILER = """
case $1 in
  "" | "$(uname -m)") program=${CC:-gcc} ;;
  *) program=$1-linux-gnu-gcc ;;
esac
"$program" --version | head -n 1 | tr -cs "[:alnum:].+\\n-" _
"""

def compiler(repository_ctx, cpu = ""):
    """Asks the C++ compiler what it calls itself.

    Args:
      repository_ctx: of a rule.
      cpu: the processor that it compiles for, as `uname -m` has it, if that may
        be another than this machine's.

    Returns:
      What it says, as one word.
    """
    version = repository_ctx.execute(["bash", "-c", _ASK_COMPILER, "bash", cpu])
    return version.stdout.strip()

def link_sources(repository_ctx):
    """Links the overlay and the stand-ins into a repository.

    Args:
      repository_ctx: of its rule, whose attribute `stand_ins` is STAND_INS.
    """

    # A folder that holds a stand-in is shared with the overlay; the others are
    # the overlay's, and linked whole.
    top = repository_ctx.path(Label("//:WORKSPACE")).dirname
    shared = {"": True}
    for label, path in repository_ctx.attr.stand_ins.items():
        repository_ctx.symlink(label, path)
        parts = path.split("/")
        for depth in range(1, len(parts)):
            shared["/".join(parts[:depth])] = True
    overlay = top.get_child("tensorflow_overlay")
    for folder in shared:
        source = repository_ctx.path("%s/%s" % (overlay, folder))
        for entry in source.readdir() if source.exists else []:
            path = folder + "/" + entry.basename if folder else entry.basename
            if path not in shared:
                repository_ctx.symlink(entry, path)
