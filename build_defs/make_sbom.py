"""Writes the software bill of materials of a wheel, in CycloneDX's format.

It names the official wheel, every patch and every file of the overlay with its
hash, and how the kernels were compiled. The same materials give the same bytes:
there is no time in it, and its serial number is derived from the rest.
"""

import argparse
import hashlib
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


def component(kind, name, version=None, path=None, properties=()):
    """Returns a component of the bill, with the hash of the file at `path`."""
    hashes = []
    if path is not None:
        with open(path, "rb") as stream:
            digest = hashlib.sha256(stream.read()).hexdigest()
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


def bill_of_materials(official, official_name, local_version, libraries, materials, name):
    """Returns the bill's text.

    Args:
      official: path of the official wheel.
      official_name: its file name.
      local_version: what follows the "+" in the wheel's version.
      libraries: name, path and link flags of each compiled library.
      materials: name, path and compiler flags, if any, of each file that goes in.
      name: the wheel's name, if it is not the official one rebuilt but made against it.
    """
    distribution, version = official_name.split("-")[:2]
    distribution = distribution.replace("_", "-")
    ancestor = component(ComponentType.LIBRARY, distribution, version, official)
    ancestor.purl = PackageURL(
        type="pypi", name=distribution, version=version, qualifiers={"file_name": official_name}
    )
    wheel = component(
        ComponentType.LIBRARY, name or distribution, "%s+%s" % (version, local_version)
    )

    bill = Bom()
    bill.metadata.component = wheel
    bill.metadata.timestamp = None
    if name:
        bill.components.add(ancestor)
    else:
        wheel.pedigree = Pedigree(ancestors=[ancestor])
    for file in libraries + materials:
        properties = [("build:flags", file["flags"])] if file["flags"] else []
        if file in libraries:
            properties += [("build:compiler", compiler) for compiler in compilers(file["path"])]
        bill.components.add(
            component(ComponentType.FILE, file["name"], None, file["path"], properties)
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
    parser.add_argument("--official", required=True, help="official wheel")
    parser.add_argument("--official_name", required=True, help="file that holds its name")
    parser.add_argument("--local_version", required=True, help='what follows the "+"')
    parser.add_argument(
        "--description", required=True, help="JSON file that names libraries and materials"
    )
    parser.add_argument("--distribution", help="name of the wheel, if it is another")
    parser.add_argument("--output", required=True, help="document to write")
    arguments = parser.parse_args()
    with open(arguments.official_name) as stream:
        official_name = stream.read().strip()
    with open(arguments.description) as stream:
        description = json.load(stream)
    text = bill_of_materials(
        arguments.official,
        official_name,
        arguments.local_version,
        description["libraries"],
        description["materials"],
        arguments.distribution,
    )
    with open(arguments.output, "w") as stream:
        stream.write(text)


if __name__ == "__main__":
    main()
