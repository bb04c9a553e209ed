"""Tests of what the wheels say of what they are made of."""

import hashlib
import json
import os
import pathlib
import re
import subprocess
import zipfile

from absl.testing import absltest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

OFFICIAL_NAME = pathlib.Path(os.environ["OFFICIAL_NAME"]).read_text().strip()
OVERLAY = pathlib.Path(os.path.realpath(os.environ["OVERLAY"]))
SERIES = pathlib.Path(os.environ["SERIES"])


def sha256(data):
    return [{"alg": "SHA-256", "content": hashlib.sha256(data).hexdigest()}]


class BillTest(absltest.TestCase):
    """What is so in every wheel.

    Attributes:
      variable: of the environment; it names the wheel.
      library: path in the wheel of the kernels.
    """

    variable = "REBUILT_WHEEL"
    library = "tensorflow/core/kernels/libtfkernel_grouped_conv.so"

    def setUp(self):
        super().setUp()
        self.wheel = self.enter_context(zipfile.ZipFile(os.environ[self.variable]))
        (path,) = (name for name in self.wheel.namelist() if name.endswith(".cdx.json"))
        self.assertRegex(path, r"^[^/]+\.dist-info/sboms/[^/]+$")
        self.text = self.wheel.read(path).decode()
        self.bill = json.loads(self.text)
        self.components = {found["name"]: found for found in self.bill["components"]}

    def properties(self, name):
        found = self.components[name].get("properties", ())
        return {property["name"]: property["value"] for property in found}

    def test_is_as_the_schema_has_it(self):
        validator = JsonStrictValidator(SchemaVersion.from_version(self.bill["specVersion"]))
        self.assertIsNone(validator.validate_str(self.text))

    def test_names_compiler_and_flags(self):
        self.assertEqual(
            self.components[self.library]["hashes"], sha256(self.wheel.read(self.library))
        )
        version = subprocess.check_output([os.environ.get("CC", "gcc"), "-dumpfullversion"])
        self.assertIn(version.decode().strip(), self.properties(self.library)["build:compiler"])
        self.assertIn(" -Wl,--no-undefined ", self.properties(self.library)["build:flags"])
        for name in self.components:
            if name.endswith(".cc"):
                self.assertRegex(self.properties(name)["build:flags"], r" -O2 .* -fPIC .*-std=c")

    def test_flags_are_those_that_the_compiler_sees(self):
        self.assertIn("-Wl,-rpath,$ORIGIN/", self.properties(self.library)["build:flags"])
        for name in self.components:
            self.assertNotRegex(self.properties(name).get("build:flags", ""), r"\$[($]")

    def test_tells_nothing_of_when_and_where(self):
        self.assertNotIn("timestamp", self.bill["metadata"])
        self.assertEmpty(re.findall(r"/(?:home|root|tmp|var|opt|proc)/\S*", self.text))


class RebuiltWheelTest(BillTest):
    def test_names_the_official_wheel(self):
        (official,) = self.bill["metadata"]["component"]["pedigree"]["ancestors"]
        version = self.bill["metadata"]["component"]["version"]
        self.assertStartsWith(version, official["version"] + "+")
        self.assertIn(OFFICIAL_NAME, official["purl"])
        data = pathlib.Path(os.environ["OFFICIAL_WHEEL"]).read_bytes()
        self.assertEqual(official["hashes"], sha256(data))

    def test_names_every_patch(self):
        for name in SERIES.read_text().split():
            found = self.components["patches/" + name]
            self.assertEqual(found["hashes"], sha256((SERIES.parent / name).read_bytes()))

    def test_names_every_file_of_the_overlay_that_goes_in(self):
        named = {name for name in self.components if (OVERLAY / name).exists()}
        for name in named:
            found = self.components[name]
            self.assertEqual(found["hashes"], sha256((OVERLAY / name).read_bytes()))
        compiled = {name for name in named if name.endswith(".cc")}
        sources = {str(path.relative_to(OVERLAY)) for path in OVERLAY.rglob("*.cc")}
        # Those that test and time the kernels, register them in a source tree, or are
        # the plugin's.
        other = re.compile("(_test|_reference|_benchmark|_when_linked|/adapter|/kernel_[a-z]+).cc$")
        self.assertEqual(compiled, {name for name in sources if not other.search(name)})
        for name in named:
            for header in re.findall(
                '#include "(.*/grouped_conv/.*)"', (OVERLAY / name).read_text()
            ):
                self.assertIn(header, named)
        # Nothing but these, the patches, what makes the library portable, and the library.
        others = {name for name in self.components if not name.startswith("patches/")} - named
        self.assertEqual(others, {"build_defs/old_glibc.cc", self.library})


@absltest.skipUnless("PLUGIN" in os.environ, "the release has no plugin")
class PluginTest(BillTest):
    variable = "PLUGIN"
    library = "tensorflow_grouped_convolution/libgrouped_conv_kernels.so"

    def test_names_each_official_wheel(self):
        found = [item for item in self.bill["components"] if item["name"] == "tensorflow-cpu"]
        adapters = [name for name in self.wheel.namelist() if "/adapters/" in name]
        self.assertSameElements(
            [re.match(r"\d+\.\d+", item["version"]).group() + ".so" for item in found],
            [name.rpartition("/")[2] for name in adapters],
        )
        # The hash of the one that is at hand, of which another CPython has another.
        hashes = sha256(pathlib.Path(os.environ["OFFICIAL_WHEEL"]).read_bytes())
        (item,) = (item for item in found if item["version"] == OFFICIAL_NAME.split("-")[1])
        if OFFICIAL_NAME.split("-")[2] == "cp311":
            self.assertEqual(item["hashes"], hashes)

    def test_names_all_that_goes_in(self):
        self.assertEqual(
            self.bill["metadata"]["component"]["name"], "tensorflow_grouped_convolution"
        )
        for path in self.wheel.namelist():
            if ".dist-info/" in path:
                continue
            # Python files, by where they are in the sources.
            source = path if path.endswith(".so") else "/" + path.rpartition("/")[2]
            (name,) = (name for name in self.components if name.endswith(source))
            self.assertEqual(self.components[name]["hashes"], sha256(self.wheel.read(path)))
        compiled = {name for name in self.components if name.endswith(".cc")}
        self.assertContainsSubset({"plugin/loader.cc", "build_defs/old_glibc.cc"}, compiled)
        self.assertTrue(any((OVERLAY / name).exists() for name in compiled))


del BillTest  # It has tests for others alone.


if __name__ == "__main__":
    absltest.main()
