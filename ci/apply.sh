#!/usr/bin/env bash
# Applies the patches, the overlay and the BUILD edits to a clone of TensorFlow:
#   ci/apply.sh [--check] [--reverse] CLONE
exec python3 -B "$(dirname "${BASH_SOURCE[0]}")/apply.py" "$@"
