"""The tests of a patched Keras on a rebuilt wheel of TensorFlow."""

def keras_tests(keras, release, official, environments, old, workspace):
    """Makes the tests of one release of Keras on one of TensorFlow.

    Args:
      keras: name of the repository of the Keras release.
      release: label of the root package of the TensorFlow release.
      official: label of that of its official wheel.
      environments: environment variables to try the layers in, by what they add
        to a test's name.
      old: name of the repository of a release that Keras is a part of, whose
        models are to load here.
      workspace: what decides how `make wheel` goes.

    Returns:
      The attributes of each test, by its name.
    """
    patched = "@%s//:" % keras
    stock = "@stock_%s//:" % keras
    tests = {
        keras + "_wheel_test": dict(
            # Those of a wheel without a library.
            args = ["WheelTest", "PatchesTest"],
            data = [patched + "patches"],
            file_env = {
                "//build_defs:pack_wheel.py": "PACK_WHEEL",
                stock + "official.txt": "OFFICIAL_NAME",
                stock + "official.whl": "OFFICIAL_WHEEL",
                patched + "patches/series": "SERIES",
                patched + "wheel.name.txt": "REBUILT_NAME",
                patched + "wheel.whl": "REBUILT_WHEEL",
            },
            main = "wheel_test.py",
        ),
        keras + "_patches_test": dict(
            data = [
                "patch_workspace.py",
                "workspace.py",
                patched + "patches",
                "//build_defs:rules",
                "//ci:programs",
            ],
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                stock + "official.txt": "OFFICIAL_NAME",
                stock + "official.whl": "OFFICIAL_WHEEL",
            },
            main = "keras_patches_test.py",
        ),
        keras + "_reproduce_test": dict(
            args = ["RealTest"],
            data = workspace,
            file_env = {
                "//:WORKSPACE": "WORKSPACE",
                stock + "official.txt": "OFFICIAL_NAME",
                patched + "wheel.whl": "REBUILT_WHEEL",
            },
            main = "reproduce_test.py",
        ),
    }
    for test in ("keras_run_time", "plugin_command", "plugin_jacobian", "plugin_lite"):
        tests[test.replace("keras", keras) + "_test"] = dict(
            data = ["installed_plugin.py"],
            file_env = {"@plugin//:tested.whl": "PLUGIN"},
            main = test + "_test.py",
            path = [official + "official"],
        )
    tests[keras + "_export_test"] = dict(
        main = "keras_export_test.py",
        path = [patched + "installed", release + "installed"],
    )
    exporters = release.replace("@", "@exporters_") + "packages"
    tests[keras + "_export_formats_test"] = dict(
        # Each of its many cases writes and reads a model; on a busy machine.
        size = "enormous",
        # OpenVINO's converter tells Intel of each use unless this is a CI job, by
        # processes that it forks.
        env = {"CI": "true"},
        file_env = {"//:docs/exports.md": "EXPORTS"},
        main = "export_formats_test.py",
        shard_count = 2,
        path = [patched + "installed", release + "installed", exporters],
    )
    tests[keras + "_exchange_test"] = dict(
        data = ["exchanged_keras_models.py"],
        file_env = {
            "@%s//:installed" % old: "OLD",
            "@stock_%s//:env/pyvenv.cfg" % old: "OLD_ENVIRONMENT",
            official + "official": "OFFICIAL",
            patched + "installed": "PATCHED_KERAS",
            release + "installed": "INSTALLED",
        },
        main = "keras_exchange_test.py",
    )
    for suffix, env in environments.items():
        tests[keras + "_batch_normalization_test" + suffix] = dict(
            data = ["installed_plugin.py"],
            env = env,
            file_env = {"@plugin//:tested.whl": "PLUGIN"},
            main = "keras_batch_normalization_test.py",
            path = [official + "official"],
        )
        tests[keras + "_graphs_test" + suffix] = dict(
            env = env,
            main = "keras_graphs_test.py",
            size = "large",
            path = [patched + "installed", release + "installed"],
        )
        tests[keras + "_layers_test" + suffix] = dict(
            env = env,
            main = "keras_layers_test.py",
            # Much of it is compiled by XLA.
            size = "large",
            path = [patched + "installed", release + "installed"],
        )
    return tests
