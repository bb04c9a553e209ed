"""Writes the software bill of materials of a wheel, in CycloneDX's format.

It names the official wheel, every patch and every file of the overlay with its
hash, and how the kernels were compiled. The same materials give the same bytes:
there is no time in it, and its serial number is derived from the rest.
"""

import argparse
import hashlib
import itertools
import json
import uuid

from cyclonedx.model import HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.output.json import JsonV1Dot4
from elftools.elf.elffile import ELFFile
from packageurl import PackageURL


def compilers(library):
    """Returns what the compilers of a library say of themselves in it."""
    with open(library, "rb") as stream:
        comment = ELFFile(stream).get_section_by_name(".comment")
        return sorted(set(comment.data().decode().split("\0")) - {""})


def digest_of(path):
    """Returns the hash of a file."""
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def component(kind, name, version=None, digest=None, properties=()):
    """Returns a component of the bill."""
    hashes = []
    if digest is not None:
        hashes.append(HashType.from_composite_str("sha256:" + digest))
    made = Component(
        name=name,
        version=version,
        bom_ref="%s@%s" % (name, version) if version else name,
        hashes=hashes,
        properties=[Property(name=key, value=value) for key, value in properties],
    )
    # Its argument has had several names.
    made.type = kind
    return made


def official_wheel(distribution, version, digest, file_name=None):
    """Returns the component of an official wheel."""
    made = component(ComponentType.LIBRARY, distribution, version, digest)
    qualifiers = {"file_name": file_name} if file_name else {}
    made.purl = PackageURL(type="pypi", name=distribution, version=version, qualifiers=qualifiers)
    return made


def bill_of_materials(wheel, ancestor, against, libraries, materials):
    """Returns the bill's text.

    Args:
      wheel: name and version of the wheel.
      ancestor: component of the official wheel that it is rebuilt from, if any.
      against: components of those that it is compiled against.
      libraries: name, path and link flags of each compiled library.
      materials: name, path and compiler flags, if any, of each file that goes in.
    """
    bill = Bom()
    bill.metadata.component = component(ComponentType.LIBRARY, *wheel)
    bill.metadata.timestamp = None
    if ancestor:
        bill.metadata.component.pedigree = Pedigree(ancestors=[ancestor])
    for official in against:
        bill.components.add(official)
    for name, files in itertools.groupby(
        sorted(libraries + materials, key=lambda file: file["name"]), lambda file: file["name"]
    ):
        # One that several libraries are compiled of has the flags of each.
        files = list(files)
        properties = {("build:flags", file["flags"]) for file in files if file["flags"]}
        path = files[0]["path"]
        if any(file in libraries for file in files):
            properties |= {("build:compiler", compiler) for compiler in compilers(path)}
        bill.components.add(
            component(ComponentType.FILE, name, None, digest_of(path), sorted(properties))
        )

    def text(serial):
        # `uuid` in the last version for CPython 3.6.
        setattr(bill, "serial_number" if hasattr(bill, "serial_number") else "uuid", serial)
        document = json.loads(JsonV1Dot4(bill).output_as_string())
        return json.dumps(document, indent=2, sort_keys=True) + "\n"

    unnumbered = uuid.UUID(int=0)
    return text(uuid.uuid5(unnumbered, text(unnumbered)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--official", help="official wheel, if it is rebuilt")
    parser.add_argument("--official_name", help="file that holds its name")
    parser.add_argument("--distribution", help="name of the wheel otherwise")
    parser.add_argument("--version", help="its version")
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        help="distribution, version and hash of an official wheel that it is compiled against",
    )
    parser.add_argument("--local_version", required=True, help='what follows the "+"')
    parser.add_argument(
        "--description", required=True, help="JSON file that names libraries and materials"
    )
    parser.add_argument("--output", required=True, help="document to write")
    arguments = parser.parse_args()
    distribution, version, ancestor = arguments.distribution, arguments.version, None
    if arguments.official:
        with open(arguments.official_name) as stream:
            official_name = stream.read().strip()
        distribution, version = official_name.split("-")[:2]
        distribution = distribution.replace("_", "-")
        ancestor = official_wheel(
            distribution, version, digest_of(arguments.official), official_name
        )
    if arguments.local_version:
        version += "+" + arguments.local_version
    with open(arguments.description) as stream:
        description = json.load(stream)
    text = bill_of_materials(
        (distribution, version),
        ancestor,
        [official_wheel(*wheel.split(" ")) for wheel in arguments.against],
        description["libraries"],
        description["materials"],
    )
    with open(arguments.output, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    main()
