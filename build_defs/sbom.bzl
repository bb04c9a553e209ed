"""A software bill of materials for a wheel."""

load(
    "@bazel_tools//tools/build_defs/cc:action_names.bzl",
    "CPP_COMPILE_ACTION_NAME",
    "CPP_LINK_DYNAMIC_LIBRARY_ACTION_NAME",
)
load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load(":wheel.bzl", "ON_THIS_MACHINE", "site_packages")

CompiledInfo = provider(
    doc = "What a library is compiled of.",
    fields = {
        "link_flags": "What the compiler is given to link it, but for its inputs.",
        "sources": "Depset of struct(file, flags): each source file, with what the " +
                   "compiler is given for it but for paths; nothing for a header.",
    },
)

def _command_line(ctx, action, create_variables, **flags):
    """Returns the flags of an action, those of the toolchain included, as one string."""
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    return " ".join(cc_common.get_memory_inefficient_command_line(
        feature_configuration = features,
        action_name = action,
        variables = create_variables(
            cc_toolchain = toolchain,
            feature_configuration = features,
            **flags
        ),
    ))

def _compiled_impl(_target, ctx):
    attr = ctx.rule.attr
    cpp = ctx.fragments.cpp
    flags = _command_line(
        ctx,
        CPP_COMPILE_ACTION_NAME,
        cc_common.create_compile_variables,
        use_pic = True,
        user_compile_flags = cpp.copts + cpp.cxxopts + attr.copts,
    )
    sources = [
        struct(file = file, flags = "" if file.extension == "h" else flags)
        for file in ctx.rule.files.srcs + getattr(ctx.rule.files, "hdrs", [])
        # The others are headers of the official wheel.
        if "/tensorflow/include/" not in file.path
    ]
    return [CompiledInfo(
        link_flags = _command_line(
            ctx,
            CPP_LINK_DYNAMIC_LIBRARY_ACTION_NAME,
            cc_common.create_link_variables,
            is_linking_dynamic_library = True,
            # As Bazel expands them; a location is an input.
            user_link_flags = [
                flag.replace("$$", "$")
                for flag in attr.linkopts
                if "$(location " not in flag
            ] + cpp.linkopts,
        ),
        sources = depset(
            sources,
            transitive = [dep[CompiledInfo].sources for dep in attr.deps if CompiledInfo in dep],
        ),
    )]

_compiled = aspect(
    implementation = _compiled_impl,
    attr_aspects = ["deps"],
    attrs = {
        "_cc_toolchain": attr.label(
            default = Label("@bazel_tools//tools/cpp:current_cc_toolchain"),
        ),
    },
    fragments = ["cpp"],
)

def _path_in_tree(file):
    path = file.short_path
    if path.startswith("../"):
        path = path.split("/", 2)[2]
    return path[len("overlay/"):] if path.startswith("overlay/") else path

def _bill_of_materials_impl(ctx):
    materials = [struct(file = file, flags = "") for file in ctx.files.patches + ctx.files.files]
    for library in ctx.attr.libraries:
        materials += library[CompiledInfo].sources.to_list()
    description = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(description, struct(
        libraries = [
            struct(
                name = path,
                path = library.files.to_list()[0].path,
                flags = library[CompiledInfo].link_flags,
            )
            for library, path in ctx.attr.libraries.items()
        ],
        materials = [
            struct(
                name = _path_in_tree(material.file),
                path = material.file.path,
                flags = material.flags,
            )
            for material in materials
        ],
    ).to_json())
    arguments = ctx.actions.args()
    arguments.add("-B")
    arguments.add(ctx.file._tool)
    official = [ctx.file.official, ctx.file.official_name] if ctx.file.official else []
    if official:
        arguments.add("--official", ctx.file.official)
        arguments.add("--official_name", ctx.file.official_name)
    else:
        arguments.add("--distribution", ctx.attr.distribution)
        arguments.add("--version", ctx.attr.version)
        arguments.add_all(ctx.attr.against, before_each = "--against")
    arguments.add("--local_version", ctx.attr.local_version)
    arguments.add("--description", description)
    arguments.add("--output", ctx.outputs.document)
    ctx.actions.run(
        outputs = [ctx.outputs.document],
        inputs = [
            ctx.file._tool,
            description,
        ] + official + ctx.files.libraries + [material.file for material in materials] + ctx.files.packages,
        executable = ctx.file.python,
        arguments = [arguments],
        # CycloneDX's library would warn that no dependencies are named.
        env = {
            "PYTHONPATH": site_packages(ctx.files.packages),
            "PYTHONWARNINGS": "ignore",
        },
        execution_requirements = ON_THIS_MACHINE,
        mnemonic = "BillOfMaterials",
        progress_message = "Listing what the wheel of %s is made of" % ctx.label.workspace_name,
    )

bill_of_materials = rule(
    implementation = _bill_of_materials_impl,
    attrs = {
        "official": attr.label(
            allow_single_file = True,
            doc = "The official wheel, if it is that one rebuilt.",
        ),
        "official_name": attr.label(allow_single_file = True),
        "local_version": attr.string(),
        "distribution": attr.string(doc = "The wheel's name otherwise."),
        "version": attr.string(doc = "Its version."),
        "against": attr.string_list(
            doc = "Distribution, version and hash of each official wheel that it is compiled against.",
        ),
        "libraries": attr.label_keyed_string_dict(
            mandatory = True,
            aspects = [_compiled],
            doc = "What is compiled, with the places in the wheel.",
        ),
        "files": attr.label_list(
            allow_files = True,
            doc = "Files that join the wheel as they are.",
        ),
        "patches": attr.label_list(allow_files = [".patch"]),
        "packages": attr.label(mandatory = True, allow_files = True),
        "python": attr.label(mandatory = True, allow_single_file = True),
        "_tool": attr.label(
            default = Label("//build_defs:make_sbom.py"),
            allow_single_file = True,
        ),
    },
    outputs = {"document": "%{name}.cdx.json"},
    doc = "A CycloneDX document of what goes into a wheel.",
)
