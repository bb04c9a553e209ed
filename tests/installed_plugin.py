"""Has `import tensorflow` find the plugin under test: to be imported before that.

PLUGIN names its wheel, or a folder with what it installs. Without it, the tests are of the
one that is installed where they run. Programs that a test runs find it too.
"""

import atexit
import importlib.util
import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

FOLDER = pathlib.Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)


def _install(plugin):
    """Puts the plugin into a folder like that of an environment's packages."""
    # By this name TensorFlow knows where there are plugins.
    site_packages = FOLDER / "site-packages"
    site_packages.mkdir()
    if os.path.isdir(plugin):
        for path in pathlib.Path(plugin).absolute().iterdir():
            (site_packages / path.name).symlink_to(path)
    else:
        with zipfile.ZipFile(plugin) as wheel:
            wheel.extractall(str(site_packages))
    tensorflow = importlib.util.find_spec("tensorflow").submodule_search_locations[0]
    if "site-packages" not in tensorflow:
        # Nor does it look for plugins from elsewhere.
        (site_packages / "tensorflow").symlink_to(tensorflow)
    sys.path.insert(0, str(site_packages))
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(site_packages)] + os.environ.get("PYTHONPATH", "").split(os.pathsep)
    )


if "PLUGIN" in os.environ:
    _install(os.environ["PLUGIN"])
