"""What the files of this repository need to know of the release."""

load("@%{stock}//:flags.bzl", "COMPILE_FLAGS")

# The repository that holds the official wheel.
STOCK = "@%{stock}"

COPTS = COMPILE_FLAGS + %{copts} + [
    # Sized deallocation would need a newer libstdc++; see old_glibc.cc.
    "-fno-sized-deallocation",
]
