"""What the files of this repository need to know of the release."""

load("@%{stock}//:flags.bzl", "COMPILE_FLAGS")

# The repository that holds the official wheel.
STOCK = "@%{stock}"

# Where programs are looked for that are not part of the build.
PATH = "%{path}"

# Whether Keras is a part of the release.
OWN_KERAS = %{own_keras}

# What tests are run with, by what it adds to their names.
TEST_ENVIRONMENTS = %{test_environments}

COPTS = COMPILE_FLAGS + %{copts} + [
    # Bazel tells compilers apart by their paths; this makes it compile anew, and
    # share nothing, where another version lies at the same path.
    "-DCOMPILER=%{compiler}",
    # Sized deallocation would need a newer libstdc++; see old_glibc.cc.
    "-fno-sized-deallocation",
]
