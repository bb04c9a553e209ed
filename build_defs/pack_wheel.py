"""Packs a rebuilt wheel from an official one and the files that differ.

Entries that stay as they are keep their compressed bytes and dates. The result
depends on the inputs alone: not on the time, the folder or the machine.
"""

import argparse
import base64
import csv
import hashlib
import io
import os
import re
import struct
import subprocess
import sys
import tempfile
import zipfile

# Of new entries: the earliest date that a zip file can hold.
EPOCH = (1980, 1, 1, 0, 0, 0)
TAGS = re.compile(r"^Tag: (.*)$", re.MULTILINE)
LOCAL_HEADER = struct.Struct("<4s5H3L2H")

# Platform tags from before PEP 600, by the glibc that they stand for.
LEGACY_TAGS = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


# Processors, by e_machine of an ELF file's header, in little-endian order.
MACHINES = {b"\x3e\0": "x86_64", b"\xb7\0": "aarch64"}


def glibc_of(platform):
    """Returns the (major, minor) of glibc that a platform tag promises at most."""
    for name, glibc in LEGACY_TAGS.items():
        if platform.startswith(name + "_"):
            return glibc
    match = re.match(r"manylinux_(\d+)_(\d+)_", platform)
    if not match:  # "linux_x86_64": the machine's own, whatever it is.
        return (sys.maxsize, 0)
    return int(match.group(1)), int(match.group(2))


def processor_of(library):
    """Returns the processor that an ELF file is for, as platform tags name it."""
    with open(library, "rb") as stream:
        header = stream.read(20)
    processor = MACHINES.get(header[18:]) if header.startswith(b"\x7fELF") else None
    if not processor:
        raise ValueError("%s is no library for %s" % (library, " or ".join(MACHINES.values())))
    return processor


def judged_platform(libraries):
    """Returns the platform tag that auditwheel finds true of libraries.

    Args:
      libraries: paths of ELF files by their paths in a wheel, with those of
        their dependencies that are not the system's.

    """
    with tempfile.TemporaryDirectory() as scratch:
        processor = processor_of(next(iter(libraries.values())))
        probe = os.path.join(scratch, "probe-1-cp38-cp38-linux_%s.whl" % processor)
        with zipfile.ZipFile(probe, "w") as archive:
            for path, library in libraries.items():
                archive.write(library, path)
            record = "".join(path + ",,\n" for path in libraries)
            archive.writestr("probe-1.dist-info/RECORD", record)
        result = subprocess.run(
            [sys.executable, "-m", "auditwheel", "show", probe],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
    match = re.search(r'following platform tag:\s+"(\w+)"', result.stdout.replace("\n", " "))
    if result.returncode != 0 or not match:
        raise ValueError("auditwheel gave no platform tag:\n%s" % result.stdout)
    return match.group(1)


def truest_platform(official, libraries):
    """Returns `official` if it holds for libraries, else the oldest that does."""
    if not libraries:
        return official
    judged = judged_platform(libraries)
    return official if glibc_of(judged) <= glibc_of(official) else judged


def raw_entry(archive, info):
    """Returns an entry's compressed bytes as they lie in the file."""
    archive.fp.seek(info.header_offset)
    header = LOCAL_HEADER.unpack(archive.fp.read(LOCAL_HEADER.size))
    archive.fp.seek(header[9] + header[10], os.SEEK_CUR)
    return archive.fp.read(info.compress_size)


def copy_entry(source, target, info, name):
    """Appends an entry to `target` under a name without compressing it anew."""
    data = raw_entry(source, info)
    copied = zipfile.ZipInfo(name, info.date_time)
    copied.compress_type = info.compress_type
    copied.create_system = info.create_system
    copied.external_attr = info.external_attr
    copied.CRC = info.CRC
    copied.compress_size = info.compress_size
    copied.file_size = info.file_size
    copied.header_offset = target.fp.tell()
    target.fp.write(copied.FileHeader(zip64=False))
    target.fp.write(data)
    target.filelist.append(copied)
    target.NameToInfo[name] = copied
    target.start_dir = target.fp.tell()
    target._didModify = True


def add_entry(target, name, data, mode):
    """Appends a new file to `target`."""
    info = zipfile.ZipInfo(name, EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.create_system = 3  # Unix, whose permissions follow
    info.external_attr = (0o100000 | mode) << 16
    target.writestr(info, data)


def record_row(path, data):
    """Returns a file's row in RECORD, as PEP 376 and PEP 427 have it."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
    return [path, "sha256=" + digest.decode("ascii"), str(len(data))]


def notice_text(official, version, patches, changed, added):
    """Returns the text that tells what differs from the official wheel."""
    product = "Keras" if official.startswith("keras-") else "TensorFlow"
    subjects = []
    for patch in patches:
        with open(patch, encoding="utf-8") as lines:
            header = lines.read().partition("\n---\n")[0]
        subject = re.search(r"^Subject: (?:\[.*?\] )?(.*(?:\n .*)*)", header, re.MULTILINE)
        subjects.append(
            "  %s\n    %s" % (os.path.basename(patch), re.sub(r"\s+", " ", subject.group(1)))
        )
    return (
        "This is %s, made from the official wheel %s.\n"
        "It is not an official build of %s. Licensed, as %s is, under the\n"
        "Apache License, Version 2.0, of which this folder has a copy.\n\n"
        "Patches applied:\n%s\n\nFiles changed:\n%s\n\nFiles added:\n%s\n"
        % (
            version,
            official,
            product,
            product,
            "\n".join(subjects or ["  none"]),
            "\n".join("  " + path for path in changed or ["none"]),
            "\n".join("  " + path for path in added or ["none"]),
        )
    )


def files_below(folder):
    """Returns the paths of all files below a folder by their relative paths."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            found[os.path.relpath(path, folder)] = path
    return found


def bill_path(distribution):
    """Returns where PEP 770 has a bill of materials in a wheel's dist-info."""
    return "sboms/%s.cdx.json" % distribution


def write_record(wheel, dist_info, rows):
    """Adds the RECORD of a wheel's files, given what it says of each."""
    path = dist_info + "/RECORD"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows + [[path, "", ""]])
    add_entry(wheel, path, text.getvalue(), 0o644)


def pack(
    official, official_name, local_version, files, libraries, patches, licence, output, bill=None
):
    """Writes the rebuilt wheel to `output`.

    Args:
      official: path of the official wheel.
      official_name: its file name.
      local_version: what follows the "+" in the new version.
      files: paths of files that replace or join the official ones, by their
        paths in the wheel.
      libraries: for auditwheel, see judged_platform().
      patches: patches that were applied, for the notice.
      licence: path of the licence, for a wheel that has no copy of it.
      output: path to write to.
      bill: path of its bill of materials, if it is to have one.

    Returns:
      The wheel's file name, and lines that tell what differs.

    """
    distribution, version, python_tag, abi_tag, platform = official_name[: -len(".whl")].split("-")
    new_version = "%s+%s" % (version, local_version)
    new_platform = truest_platform(platform, libraries)
    tag = "-".join([python_tag, abi_tag, new_platform])
    stem = "%s-%s" % (distribution, version)
    new_stem = "%s-%s" % (distribution, new_version)
    new_info = new_stem + ".dist-info"

    with zipfile.ZipFile(official) as source, zipfile.ZipFile(output, "w") as target:
        infos = {info.filename: info for info in source.infolist()}
        changed = sorted(path for path in files if path in infos)
        added = sorted(path for path in files if path not in infos)
        record = {
            row[0]: row
            for row in csv.reader(source.read(stem + ".dist-info/RECORD").decode().splitlines())
        }

        def renamed(path):
            if path.startswith((stem + ".dist-info/", stem + ".data/")):
                return new_stem + path[len(stem) :]
            return path

        metadata = source.read(stem + ".dist-info/METADATA").decode()
        wheel = source.read(stem + ".dist-info/WHEEL").decode()
        replaced = {
            stem + ".dist-info/METADATA": metadata.replace(
                "\nVersion: %s\n" % version, "\nVersion: %s\n" % new_version, 1
            ),
            stem + ".dist-info/WHEEL": TAGS.sub("Tag: " + tag, wheel),
        }
        notice = notice_text(official_name, new_stem, patches, changed, added)
        # What joins the official metadata.
        described = {"NOTICE": notice.encode()}
        if not any(re.search(r"\.dist-info/(.*/)?LICENSE", name) for name in infos):
            with open(licence, "rb") as stream:
                described["LICENSE"] = stream.read()
        if bill is not None:
            with open(bill, "rb") as stream:
                described[bill_path(distribution)] = stream.read()
        rows = []

        def add(path, data, mode):
            add_entry(target, path, data, mode)
            rows.append(record_row(path, data))

        for name, info in infos.items():
            if name == stem + ".dist-info/RECORD" or name.endswith("/"):
                continue
            if name in replaced:
                add(renamed(name), replaced[name].encode(), 0o644)
            elif name in files:
                with open(files[name], "rb") as stream:
                    add(name, stream.read(), (info.external_attr >> 16) & 0o777)
            else:
                copy_entry(source, target, info, renamed(name))
                rows.append([renamed(name)] + record[name][1:])
        for name in added:
            with open(files[name], "rb") as stream:
                add(name, stream.read(), 0o755 if name.endswith(".so") else 0o644)
        for name, data in described.items():
            add("%s/%s" % (new_info, name), data, 0o644)
        write_record(target, new_info, rows)

        report = ["Differs from %s in:" % official_name]
        for path in changed:
            sizes = infos[path].file_size, os.path.getsize(files[path])
            report.append("  changed  %s (%d to %d bytes)" % ((path,) + sizes))
        for path in added:
            report.append("  added    %s (%d bytes)" % (path, os.path.getsize(files[path])))
        report.append(
            "  renamed  %s.dist-info (with new METADATA, WHEEL and RECORD, %s)"
            % (stem, ", ".join(described))
        )
    sizes = os.path.getsize(official) / 1e6, os.path.getsize(output) / 1e6
    report.append("Size: %.1f MB, official %.1f MB" % (sizes[1], sizes[0]))
    return "%s-%s.whl" % (new_stem, tag), report


def packer_arguments(description):
    """Returns a parser of the arguments that all programs which pack a wheel take."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--local_version", required=True, help='what follows the "+"')
    parser.add_argument("--licence", required=True, help="file of the licence")
    parser.add_argument("--bill_of_materials", help="CycloneDX document to carry")
    parser.add_argument("--output", required=True, help="wheel to write")
    parser.add_argument("--name_output", required=True, help="file to write the wheel's name to")
    parser.add_argument("--report_output", required=True, help="file to write the report to")
    return parser


def name_in(path):
    """Returns the name of a wheel that a file holds."""
    with open(path) as stream:
        return stream.read().strip()


def write_outputs(arguments, name, report):
    """Writes what a build wants to know of a wheel: its name, and lines that tell of it."""
    with open(arguments.name_output, "w") as stream:
        stream.write(name + "\n")
    with open(arguments.report_output, "w") as stream:
        stream.write("\n".join(report) + "\n")


def main():
    parser = packer_arguments(__doc__)
    parser.add_argument("--official", required=True, help="official wheel")
    parser.add_argument("--official_name", required=True, help="file that holds its name")
    parser.add_argument("--tree", required=True, help="folder of files that differ")
    parser.add_argument("--patch", action="append", default=[], help="patch that was applied")
    parser.add_argument(
        "--library",
        nargs=2,
        action="append",
        default=[],
        metavar=("PATH_IN_WHEEL", "FILE"),
        help="library to add",
    )
    parser.add_argument("--framework", help="official library that the added ones need")
    arguments = parser.parse_args()

    files = files_below(arguments.tree)
    added = {path: library for path, library in arguments.library}
    files.update(added)
    libraries = dict(added)
    if arguments.framework:
        libraries["tensorflow/libtensorflow_framework.so.2"] = arguments.framework
    name, report = pack(
        arguments.official,
        name_in(arguments.official_name),
        arguments.local_version,
        files,
        libraries,
        arguments.patch,
        arguments.licence,
        arguments.output,
        arguments.bill_of_materials,
    )
    write_outputs(arguments, name, report)


if __name__ == "__main__":
    main()
