#!/usr/bin/env bash
# What the CI of a fork calls, on GitHub (ci/github_workflow.yml) or anywhere else:
#   ci/fork_ci.sh wheel    checks the patches, makes the wheel and runs all tests
#   ci/fork_ci.sh follow   merges the patches with the branch BRANCH of UPSTREAM, a
#                          repository of TensorFlow, runs the command CHECK in the
#                          merged tree, and pushes it to the repository FORK as
#                          FORK_BRANCH (CHECK and FORK may be unset)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  wheel)
    make verify wheel test
    ;;
  follow)
    exec python3 -B ci/follow_upstream.py --upstream "${UPSTREAM:?}" --branch "${BRANCH:?}" \
      ${CHECK:+--run "$CHECK"} ${FORK:+--push "$FORK" "${FORK_BRANCH:-patched}"}
    ;;
  *)
    echo "usage: ci/fork_ci.sh wheel|follow" >&2
    exit 2
    ;;
esac
