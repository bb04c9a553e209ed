"""Packs the plugin: a wheel that adds the kernels to official releases of TensorFlow.

The libraries know nothing of Python, so one wheel serves every CPython that there
are official wheels for. The result depends on the inputs alone.
"""

import os
import platform
import zipfile

from pack_wheel import (
    add_entry,
    bill_path,
    judged_platform,
    packer_arguments,
    record_row,
    write_outputs,
    write_record,
)

METADATA = """\
Metadata-Version: 2.1
Name: {name}
Version: {version}
Summary: Grouped convolution on the CPU for TensorFlow
License: Apache-2.0
Requires-Python: >=3.6
Description-Content-Type: text/plain

This adds CPU kernels of grouped convolution, forward and backward, to TensorFlow as
it is released, whether that is tensorflow-cpu or tensorflow. It serves

{releases}

and any other in one line says that it goes on without. TensorFlow loads it by
itself, through its folder tensorflow-plugins. Nothing of TensorFlow's is changed,
and uninstalling leaves nothing behind.

    python -m tensorflow_grouped_convolution

says what it does for the TensorFlow and the Keras that are installed.
"""

WHEEL = """\
Wheel-Version: 1.0
Generator: pack_plugin
Root-Is-Purelib: false
Tag: {tag}
"""


def pack(name, version, releases, tag, files, described, output):
    """Writes the wheel to `output`.

    Args:
      name: the wheel's name.
      version: its version.
      releases: versions of TensorFlow that it is for.
      tag: what it runs on.
      files: paths of the files in it, by their paths there.
      described: likewise of those in dist-info.
      output: path to write to.

    Returns:
      The wheel's file name, and lines that tell what is in it.

    """
    stem = "%s-%s" % (name, version)
    texts = {
        "METADATA": METADATA.format(
            name=name,
            version=version,
            releases="\n".join("  - TensorFlow " + release for release in releases),
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
    return "%s-%s.whl" % (stem, tag), ["For TensorFlow %s:" % ", ".join(releases)] + report


def main():
    parser = packer_arguments(__doc__)
    parser.add_argument("--name", required=True, help="the wheel's, and of the package in it")
    parser.add_argument("--version", required=True, help="the wheel's")
    parser.add_argument(
        "--serves", action="append", required=True, help="version of TensorFlow that it is for"
    )
    parser.add_argument(
        "--library",
        nargs=2,
        action="append",
        required=True,
        metavar=("PATH_IN_WHEEL", "FILE"),
        help="library",
    )
    parser.add_argument(
        "--framework",
        help="stands for the official library that adapters need, as TensorFlow has it loaded; "
        "without it, the wheel is for this machine",
    )
    parser.add_argument("--module", action="append", default=[], help="Python file")
    arguments = parser.parse_args()

    version = arguments.version
    if arguments.local_version:
        version += "+" + arguments.local_version
    files = {path: library for path, library in arguments.library}
    if arguments.framework:
        # The loader lies in another folder in the wheel, where it needs nothing.
        needed = {
            "tensorflow_grouped_convolution/libtensorflow_framework.so.2": arguments.framework
        }
        runs_on = judged_platform(dict(files, **needed))
    else:
        runs_on = "linux_" + platform.machine()
    described = {"LICENSE": arguments.licence}
    if arguments.bill_of_materials:
        described[bill_path(arguments.name)] = arguments.bill_of_materials
    for module in arguments.module:
        files["%s/%s" % (arguments.name, os.path.basename(module))] = module
    name, report = pack(
        arguments.name,
        version,
        arguments.serves,
        "py3-none-" + runs_on,
        files,
        described,
        arguments.output,
    )
    write_outputs(arguments, name, report)


if __name__ == "__main__":
    main()
