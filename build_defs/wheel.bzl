"""Rules that make a rebuilt wheel from an official one, and tests that use it."""

# Of what runs this machine's Python, with more than Bazel knows of: to be neither
# executed elsewhere nor taken from there.
ON_THIS_MACHINE = {"no-remote": "1", "no-cache": "1"}

def site_packages(files):
    """Returns the folder to import from, given files of installed packages."""
    before, folder, _ = files[0].path.partition("/site-packages/")
    return before + folder

def _patched_tree_impl(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run_shell(
        outputs = [tree],
        inputs = [ctx.file.wheel, ctx.file.series, ctx.file._tool] +
                 ctx.files.patches + ctx.files.overlay,
        tools = [ctx.file.python],
        arguments = [
            ctx.file.python.path,
            ctx.file._tool.path,
            ctx.file.series.path,
            ctx.file.wheel.path,
            tree.path,
            ctx.attr.overlay_root,
        ] + [file.path for file in ctx.files.overlay],
        command = """
set -euo pipefail
python=$1 tool=$2 series=$3 wheel=$4 tree=$5 root=$6
shift 6
"$python" -B "$tool" --series "$series" --wheel "$wheel" --output "$tree"
for file in "$@"; do
  path=${file#*"/$root/"}
  mkdir -p "$tree/$(dirname "$path")"
  cp -L "$file" "$tree/$path"
done
""",
        mnemonic = "PatchTree",
        progress_message = "Applying " + ctx.file.series.short_path,
        env = {"PATH": ctx.attr.path},
        execution_requirements = ON_THIS_MACHINE,
    )
    return [DefaultInfo(files = depset([tree]))]

patched_tree = rule(
    implementation = _patched_tree_impl,
    attrs = {
        "wheel": attr.label(mandatory = True, allow_single_file = True),
        "series": attr.label(mandatory = True, allow_single_file = True),
        "patches": attr.label_list(allow_files = [".patch"]),
        "overlay": attr.label_list(
            allow_files = True,
            doc = "Files that join the tree after the patches.",
        ),
        "overlay_root": attr.string(
            doc = "Folder below which overlay files lie as in the tree.",
        ),
        "path": attr.string(
            mandatory = True,
            doc = "Where git is looked for, as in the variable PATH.",
        ),
        "python": attr.label(mandatory = True, allow_single_file = True),
        "_tool": attr.label(
            default = Label("//build_defs:apply_patches.py"),
            allow_single_file = True,
        ),
    },
    doc = "The files of a wheel that a series of patches and an overlay change.",
)

# What all rules take that pack a wheel, and what they make.
PACK_ATTRS = {
    "official": attr.label(
        allow_single_file = True,
        doc = "The official wheel, if it is that one which is packed anew.",
    ),
    "official_name": attr.label(allow_single_file = True),
    "local_version": attr.string(),
    "framework": attr.label(
        allow_single_file = True,
        doc = "The official library that the added ones are linked against.",
    ),
    "bill_of_materials": attr.label(
        allow_single_file = [".cdx.json"],
        doc = "What the wheel is made of, if it is to say so.",
    ),
    "python": attr.label(mandatory = True, allow_single_file = True),
    "auditwheel": attr.label(
        allow_files = True,
        doc = "What judges the platform of the added libraries.",
    ),
    "_licence": attr.label(
        default = Label("//:LICENSE"),
        allow_single_file = True,
    ),
    "_pack_wheel": attr.label(
        default = Label("//build_defs:pack_wheel.py"),
        allow_single_file = True,
    ),
}
PACK_OUTPUTS = {
    "wheel": "%{name}.whl",
    "file_name": "%{name}.name.txt",
    "report": "%{name}.report.txt",
}

def pack(ctx, program, more_arguments, inputs, **kwargs):
    """Runs a program that packs a wheel, in a rule with PACK_ATTRS and PACK_OUTPUTS.

    Args:
      ctx: of the rule.
      program: the program's file.
      more_arguments: Args that it takes beyond the common ones.
      inputs: files that it reads beyond those of PACK_ATTRS.
      **kwargs: see ctx.actions.run().

    Returns:
      The rule's providers.
    """
    outputs = [ctx.outputs.wheel, ctx.outputs.file_name, ctx.outputs.report]
    arguments = ctx.actions.args()
    arguments.add("-B")
    arguments.add(program)
    official = [ctx.file.official, ctx.file.official_name] if ctx.file.official else []
    if official:
        arguments.add("--official", ctx.file.official)
        arguments.add("--official_name", ctx.file.official_name)
    arguments.add("--local_version", ctx.attr.local_version)
    arguments.add("--licence", ctx.file._licence)
    if ctx.file.framework:
        arguments.add("--framework", ctx.file.framework)
    if ctx.file.bill_of_materials:
        arguments.add("--bill_of_materials", ctx.file.bill_of_materials)
    arguments.add("--output", ctx.outputs.wheel)
    arguments.add("--name_output", ctx.outputs.file_name)
    arguments.add("--report_output", ctx.outputs.report)
    packages = ctx.files.auditwheel
    ctx.actions.run(
        outputs = outputs,
        inputs = [
            program,
            ctx.file._pack_wheel,
            ctx.file._licence,
        ] + official + ctx.files.framework + ctx.files.bill_of_materials + packages + inputs,
        executable = ctx.file.python,
        arguments = [arguments, more_arguments],
        env = {"PYTHONPATH": site_packages(packages)} if packages else {},
        execution_requirements = ON_THIS_MACHINE,
        **kwargs
    )
    return [
        DefaultInfo(files = depset([ctx.outputs.wheel])),
        OutputGroupInfo(dist = depset(outputs)),
    ]

def _rebuilt_wheel_impl(ctx):
    arguments = ctx.actions.args()
    arguments.add("--tree", ctx.file.tree.path)
    for patch in ctx.files.patches:
        arguments.add("--patch", patch)
    if ctx.file.library:
        arguments.add("--library", ctx.attr.library_path)
        arguments.add(ctx.file.library)
    return pack(
        ctx,
        ctx.file._pack_wheel,
        arguments,
        [ctx.file.tree] + ctx.files.patches + ctx.files.library,
        mnemonic = "PackWheel",
        progress_message = "Packing the rebuilt wheel of " + ctx.label.workspace_name,
    )

rebuilt_wheel = rule(
    implementation = _rebuilt_wheel_impl,
    attrs = dict(
        PACK_ATTRS,
        tree = attr.label(mandatory = True, allow_single_file = True),
        patches = attr.label_list(
            allow_files = [".patch"],
            doc = "What was applied to `tree`, for the notice.",
        ),
        library = attr.label(
            allow_single_file = True,
            doc = "A library to add, if any.",
        ),
        library_path = attr.string(
            doc = "Where `library` goes in the wheel.",
        ),
    ),
    outputs = PACK_OUTPUTS,
    doc = "A wheel with files replaced and added, under a local version.",
)

# With bytecode, which is half of the time of an import, as installers write it.
_UNPACK = """
import compileall, sys, zipfile
wheel, folder = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive:
    archive.extractall(folder)
compileall.compile_dir(folder, quiet=2, workers=2)
"""

def _unpacked_wheel_impl(ctx):
    tree = ctx.actions.declare_directory(ctx.label.name)
    ctx.actions.run(
        outputs = [tree],
        inputs = [ctx.file.wheel],
        executable = ctx.file.python,
        arguments = ["-W", "ignore", "-c", _UNPACK, ctx.file.wheel.path, tree.path],
        mnemonic = "UnpackWheel",
        progress_message = "Unpacking " + ctx.file.wheel.short_path,
        # 500 MB in, 500 MB out: a sandbox would only add copies.
        execution_requirements = dict(ON_THIS_MACHINE, **{"no-sandbox": "1"}),
    )
    return [DefaultInfo(files = depset([tree]))]

unpacked_wheel = rule(
    implementation = _unpacked_wheel_impl,
    attrs = {
        "wheel": attr.label(mandatory = True, allow_single_file = [".whl"]),
        "python": attr.label(mandatory = True, allow_single_file = True),
    },
    doc = "A folder with a wheel's files, as an installation has them.",
)

def _python_test_impl(ctx):
    launcher = ctx.actions.declare_file(ctx.label.name + ".sh")
    exports = [
        'export %s="$PWD/%s"' % (name, target.files.to_list()[0].short_path)
        for target, name in ctx.attr.file_env.items()
    ] + ['export %s="%s"' % variable for variable in ctx.attr.env.items()]
    startup, _, _ = ctx.file._startup.short_path.rpartition("/")
    folders = [file.short_path for file in ctx.files.path] + [startup]
    ctx.actions.write(launcher, """\
#!/usr/bin/env bash
set -euo pipefail
# The folder of the virtual environment itself, of which only a part is here.
environment=$(dirname "$(readlink -f "%s")")
%s
export PYTHONPATH="%s"
export PYTHONDONTWRITEBYTECODE=1 TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-1}"
exec "$environment/bin/python" "%s" "$@"
""" % (
        ctx.file.environment.short_path,
        "\n".join(exports),
        ":".join(["$PWD/" + path for path in folders]),
        ctx.file.main.short_path,
    ), is_executable = True)
    return [
        DefaultInfo(
            executable = launcher,
            runfiles = ctx.runfiles(
                [ctx.file.environment, ctx.file.main, ctx.file._startup] + ctx.files.path +
                ctx.files.data + ctx.files.file_env,
            ),
        ),
        # Not in a sandbox: each of an unpacked wheel's files would be linked into
        # it, and a Bazel that a test runs would have none for its own actions.
        testing.ExecutionInfo(dict(ON_THIS_MACHINE, **{"no-sandbox": "1"})),
    ]

python_test = rule(
    implementation = _python_test_impl,
    test = True,
    attrs = {
        "main": attr.label(mandatory = True, allow_single_file = [".py"]),
        "environment": attr.label(
            mandatory = True,
            allow_single_file = True,
            doc = "pyvenv.cfg of the virtual environment to run in.",
        ),
        "path": attr.label_list(
            allow_files = True,
            doc = "Folders to import from, such as an unpacked_wheel.",
        ),
        "data": attr.label_list(allow_files = True),
        "env": attr.string_dict(doc = "Environment variables."),
        "file_env": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "Files whose paths are given in environment variables.",
        ),
        "_startup": attr.label(
            default = Label("//build_defs:test_startup/sitecustomize.py"),
            allow_single_file = True,
        ),
    },
    doc = "A test in Python that runs in a release's virtual environment.",
)
