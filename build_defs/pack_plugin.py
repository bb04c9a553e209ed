"""Packs the plugin: a wheel that adds the kernels to an official TensorFlow.

The libraries know nothing of Python, so one wheel serves every CPython that there
are official wheels for. The result depends on the inputs alone.
"""

import email
import os
import zipfile

from pack_wheel import (
    add_entry,
    bill_path,
    name_in,
    packer_arguments,
    record_row,
    truest_platform,
    write_outputs,
    write_record,
)

# Both have the same libraries. A wheel cannot require the one or the other, so
# each is an extra.
DISTRIBUTIONS = ("tensorflow-cpu", "tensorflow")

METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: Grouped convolution on the CPU for TensorFlow {release}
License: Apache-2.0
Requires-Python: {python}
{extras}
This adds CPU kernels of grouped convolution, forward and backward, to the official
wheel of TensorFlow {release}, whether that is tensorflow-cpu or tensorflow, and to
no other release: any other says in one line that it does not load them. TensorFlow
loads them by itself, through its folder tensorflow-plugins. Nothing of TensorFlow's
is changed, and uninstalling leaves nothing behind.
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: pack_plugin
Root-Is-Purelib: false
Tag: {tag}
"""


def pack(name, release, local_version, python, platform, files, described, output):
    """Writes the wheel to `output`.

    Args:
      name: the wheel's name.
      release: version of TensorFlow that it is for.
      local_version: what follows the "+" in the wheel's own version.
      python: versions of Python that the official wheels are for.
      platform: its platform tag.
      files: paths of the files in it, by their paths there.
      described: likewise of those in dist-info.
      output: path to write to.

    Returns:
      The wheel's file name, and lines that tell what is in it.

    """
    version = "%s+%s" % (release, local_version)
    stem = "%s-%s" % (name, version)
    tag = "py3-none-" + platform
    extras = "".join(
        'Provides-Extra: {0}\nRequires-Dist: {0}=={1}; extra == "{0}"\n'.format(other, release)
        for other in DISTRIBUTIONS
    )
    texts = {
        "METADATA": METADATA.format(
            name=name, version=version, release=release, python=python, extras=extras
        ),
        "WHEEL": WHEEL.format(tag=tag),
        "top_level.txt": name + "\n",
    }
    contents = {"%s.dist-info/%s" % (stem, file): text.encode() for file, text in texts.items()}
    sources = {"%s.dist-info/%s" % (stem, file): source for file, source in described.items()}
    for path, source in dict(files, **sources).items():
        with open(source, "rb") as stream:
            contents[path] = stream.read()
    with zipfile.ZipFile(output, "w") as wheel:
        rows = []
        for path, data in sorted(contents.items()):
            add_entry(wheel, path, data, 0o755 if path.endswith(".so") else 0o644)
            rows.append(record_row(path, data))
        write_record(wheel, stem + ".dist-info", rows)
    report = ["  %s (%d bytes)" % (path, len(data)) for path, data in sorted(contents.items())]
    report.append("Size: %.1f MB" % (os.path.getsize(output) / 1e6))
    return "%s-%s.whl" % (stem, tag), ["For TensorFlow %s:" % release] + report


def main():
    parser = packer_arguments(__doc__)
    parser.add_argument("--name", required=True, help="the wheel's, and of the package in it")
    library = {"nargs": 2, "required": True, "metavar": ("PATH", "SOURCE")}
    parser.add_argument("--kernels", help="path in the wheel, and library of kernels", **library)
    parser.add_argument("--loader", help="likewise the library that loads the kernels", **library)
    parser.add_argument("--framework", required=True, help="official library that kernels need")
    parser.add_argument("--module", action="append", default=[], help="Python file")
    arguments = parser.parse_args()

    official_name = name_in(arguments.official_name)
    distribution, release, _, _, official_platform = official_name[: -len(".whl")].split("-")
    with zipfile.ZipFile(arguments.official) as official:
        metadata = email.message_from_bytes(
            official.read("%s-%s.dist-info/METADATA" % (distribution, release))
        )
    files = dict([arguments.kernels, arguments.loader])
    described = {"LICENSE": arguments.licence}
    if arguments.bill_of_materials:
        described[bill_path(arguments.name)] = arguments.bill_of_materials
    for module in arguments.module:
        files["%s/%s" % (arguments.name, os.path.basename(module))] = module
    # The kernels lie elsewhere, but what they need is loaded before them.
    libraries = {
        "tensorflow/core/kernels/" + os.path.basename(arguments.kernels[0]): arguments.kernels[1],
        "tensorflow/libtensorflow_framework.so.2": arguments.framework,
        "tensorflow/loader.so": arguments.loader[1],
    }
    platform = truest_platform(official_platform, libraries)
    name, report = pack(
        arguments.name,
        release,
        arguments.local_version,
        metadata["Requires-Python"],
        platform,
        files,
        described,
        arguments.output,
    )
    write_outputs(arguments, name, report)


if __name__ == "__main__":
    main()
