"""The tests that see a rebuilt wheel from outside, and those of the tools."""

load("@plugin//:version.bzl", "TESTED")
load("//build_defs:wheel.bzl", "python_test")
load(":keras_tests.bzl", "keras_tests")

# Upstream tests that a wheel whose Keras is patched carries itself and that use
# convolutions, with the cases that do where others do not.
_UPSTREAM_TESTS = {
    # With each strategy and model, but of the four kinds of input one.
    "keras_image_model_correctness_test": ["usenumpy_False_usevalidationdata_True"],
    "distribute_strategy_test": [
        "test_fit_with_dictionary_in_the_dataset",
        "TestDistributionStrategyWithMultipleAddLossAndMetricCalls",
    ],
}

# What decides how `make wheel` goes, for tests that run it in a copy of this
# workspace.
_WORKSPACE = [
    "workspace.py",
    "//:.bazelrc",
    "//:.bazelversion",
    "//:Makefile",
    "//build_defs:rules",
    "//ci:programs",
]

def release_tests(name, stock, environments, own_keras, keras, peers, old):
    """Declares the tests of one rebuilt wheel and, as `name`, a suite of them.

    `//...` leaves them out: it would fetch every release that is pinned.

    Args:
      name: of the release's repository.
      stock: name of the repository of its official wheel.
      environments: environment variables to compare it with the official wheel
        in, by what they add to a test's name.
      own_keras: whether Keras is a part of it.
      keras: name of the repository of the Keras that it is tested with, if any.
      peers: names of the repositories of official wheels that it exchanges
        models with, if so; else, that its plugin is tried with.
      old: name of the repository of a release that Keras is a part of.
    """
    release = "@%s//:" % name
    official = "@%s//:" % stock
    tests = {
        "wheel_test": dict(
            data = [release + "patches"],
            file_env = {
                "//build_defs:pack_wheel.py": "PACK_WHEEL",
                official + "official.txt": "OFFICIAL_NAME",
                official + "official.whl": "OFFICIAL_WHEEL",
                release + "overlay": "OVERLAY",
                release + "patches/series": "SERIES",
                release + "wheel.name.txt": "REBUILT_NAME",
                release + "wheel.whl": "REBUILT_WHEEL",
            },
        ),
        "sbom_test": dict(
            data = [release + "patches"],
            file_env = dict({
                official + "official.txt": "OFFICIAL_NAME",
                official + "official.whl": "OFFICIAL_WHEEL",
                release + "overlay": "OVERLAY",
                release + "patches/series": "SERIES",
                release + "wheel.whl": "REBUILT_WHEEL",
            }, **({} if own_keras else {"@plugin//:tested.whl": "PLUGIN"})),
        ),
        "install_test": dict(
            file_env = {
                official + "official": "OFFICIAL",
                release + "wheel.name.txt": "REBUILT_NAME",
                release + "wheel.whl": "REBUILT_WHEEL",
            },
        ),
        "graph_shapes_test": dict(path = [release + "installed"]),
    }
    for suffix, env in environments.items():
        tests["fuzz_test" + suffix] = dict(
            args = ["--cases=400"],
            data = ["conv_cases.py"],
            env = env,
            main = "fuzz_ops.py",
            path = [release + "installed"],
        )
        tests["stock_identity_test" + suffix] = dict(
            data = ["dense_outputs.py"],
            env = env,
            file_env = {
                official + "official": "OFFICIAL",
                release + "installed": "INSTALLED",
            },
            main = "stock_identity_test.py",
        )
    if own_keras:
        # How `make wheel` goes is the same for all.
        tests["build_test"] = dict(
            data = _WORKSPACE,
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                official + "official.txt": "OFFICIAL_NAME",
                official + "official.whl": "OFFICIAL_WHEEL",
                release + "patches/series": "SERIES",
                release + "wheel.name.txt": "REBUILT_NAME",
                release + "wheel.whl": "REBUILT_WHEEL",
            },
        )
        tests["distribute_test"] = dict(path = [release + "installed"])

        # Later releases keep memory that this test would have to use up first.
        tests["memory_test"] = dict(path = [release + "installed"])
        for peer in peers:
            tests["interop_test_with_" + peer] = dict(
                data = ["exchanged_models.py"],
                file_env = {
                    release + "installed": "INSTALLED",
                    "@%s//:official" % peer: "PEER",
                    "@%s//:env/pyvenv.cfg" % peer: "PEER_ENVIRONMENT",
                },
                main = "interop_test.py",
            )
        for upstream, cases in _UPSTREAM_TESTS.items():
            tests["upstream_" + upstream] = dict(
                args = ["tensorflow.python.keras.distribute." + upstream] + cases,
                main = "upstream_test.py",
                path = [release + "installed"],
            )
    else:
        tests["one_dnn_test"] = dict(
            env = {"ONEDNN_VERBOSE": "1", "TF_ENABLE_ONEDNN_OPTS": "1"},
            path = [release + "installed"],
        )
        tests["plugin_test"] = dict(
            file_env = dict({
                official + "official": "OFFICIAL",
                official + "official.txt": "OFFICIAL_NAME",
                release + "installed": "INSTALLED",
                "@plugin//:tested.name.txt": "PLUGIN_NAME",
                "@plugin//:tested.whl": "PLUGIN",
            }, **dict({
                "@%s//:official.txt" % peer: "OTHER_" + peer
                for peer in peers
            }, **{
                "@%s//:official.txt" % served: "SERVED_" + served
                for served in TESTED
                if served != stock
            })),
        )
    if keras:
        tests.update(keras_tests(keras, release, official, environments, old, _WORKSPACE))
    _suite(name, name + "_", official, tests)

def tool_tests(name, release, stock):
    """Declares tests of the tools, which are for all releases, with one of them.

    Args:
      name: of a suite of them, which `//...` leaves out too.
      release: name of the repository of the release to try them on.
      stock: name of the repository of its official wheel.
    """
    release = "@%s//:" % release
    official = "@%s//:" % stock
    tests = {
        "build_tools_test": dict(
            file_env = {
                "//build_defs:apply_patches.py": "APPLY_PATCHES",
                "//build_defs:pack_wheel.py": "PACK_WHEEL",
            },
        ),
        "front_door_test": dict(
            data = _WORKSPACE,
            file_env = {"//:WORKSPACE": "WORKSPACE"},
        ),
        "example_workspace_test": dict(
            data = _WORKSPACE + [
                release + "overlay",
                release + "patches",
                # After what it need not compile once more.
                release + "wheel.whl",
            ],
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                official + "official.txt": "OFFICIAL_NAME",
            },
        ),
        "reproduce_test": dict(
            args = ["DifferencesTest"],
            data = _WORKSPACE,
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                official + "official.txt": "OFFICIAL_NAME",
            },
        ),
        "shared_build_test": dict(
            data = _WORKSPACE,
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                official + "official.txt": "OFFICIAL_NAME",
                release + "wheel.name.txt": "REBUILT_NAME",
                release + "wheel.whl": "REBUILT_WHEEL",
            },
        ),
    }
    for test in ("apply_test", "follow_upstream_test", "patches_test"):
        tests[test] = dict(
            # On a busy machine; apply_test unpacks all of TensorFlow's sources.
            size = "large",
            data = _WORKSPACE + [
                "apply_test.py",
                "golden_files.py",
                "patch_workspace.py",
                release + "overlay",
                release + "patches",
            ],
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                official + "official": "OFFICIAL",
                official + "official.txt": "OFFICIAL_NAME",
                official + "official.whl": "OFFICIAL_WHEEL",
                release + "installed": "INSTALLED",
            },
        )
    _suite(name, "", official, tests)

def _suite(name, prefix, official, tests):
    """Declares tests, given the attributes of each, and a suite of them."""
    for test, attributes in tests.items():
        python_test(
            name = prefix + test,
            environment = official + "env/pyvenv.cfg",
            main = attributes.pop("main", test + ".py"),
            tags = ["manual"],
            **attributes
        )
    native.test_suite(
        name = name,
        tests = [prefix + test for test in tests],
        # For `bazel test //...`, which expands suites.
        tags = ["manual"],
    )
