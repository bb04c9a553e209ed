#!/usr/bin/env bash
# Builds TensorFlow's wheel into dist/ from a clone that ci/apply.sh was run on:
#   ci/build_from_source.sh [--config=cpu|cuda|remote] CLONE
# cuda: for GPUs too, with the CUDA that TensorFlow's configure finds or that its
# own environment variables name. remote: compiled by REMOTE_EXECUTOR, the
# address of a Remote Execution API server (grpc://host:port).
# BAZEL=<program> is used if it has the version that the clone asks for.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "ci/build_from_source.sh: $1" >&2
  exit 1
}

config=cpu
case ${1:-} in --config=*) config=${1#--config=} && shift ;; esac
[ $# = 1 ] || fail "usage: ci/build_from_source.sh [--config=cpu|cuda|remote] CLONE"
clone=$(cd "$1" && pwd)

cuda=0
options=(--config=opt)
case $config in
  cpu) ;;
  cuda) cuda=1 && options+=(--config=cuda) ;;
  remote)
    options+=("--remote_executor=${REMOTE_EXECUTOR:?is not set: the address of a Remote Execution API server}"
      --remote_download_outputs=toplevel)
    ;;
  *) fail "unknown --config=$config; there are cpu, cuda and remote" ;;
esac

"$top/ci/apply.sh" --check "$clone" | grep -q '^Nothing to do' ||
  fail "the patch set is not applied to $clone; run ci/apply.sh first"

# Later releases have another target in its place.
grep -q 'name = "build_pip_package"' "$clone/tensorflow/tools/pip_package/BUILD" ||
  fail "$clone has no target //tensorflow/tools/pip_package:build_pip_package, by which this script builds"

# TensorFlow's configure calls `bazel`, so that is what it has to be named.
version=$(head -n 1 "$clone/.bazelversion")
choose_bazel() {
  local program
  for program in "${BAZEL:-}" "$(type -P bazel)" "$("$top/ci/npm_tools" bazel)" "$(type -P bazelisk)"; do
    [ "$(cd "$clone" && "$program" --version 2>/dev/null)" != "bazel $version" ] || break
    program=
  done
  echo "$program"
}
bazel=$(choose_bazel)
[ -n "$bazel" ] || fail "found no Bazel $version, which $clone asks for; install bazelisk or set BAZEL"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
ln -s "$bazel" "$tools/bazel"
export PATH=$tools:$PATH

cat >&2 <<MESSAGE
Building TensorFlow in $clone ($config), which takes
  - GitHub, from where Bazel fetches some hundred archives, 1 GB or so;
  - about 15 GB of disk and 8 GB of memory;
  - most of a day on 2 cores, an hour or two on 32.
Ctrl-C stops it; what is built by then is kept for the next run.
MESSAGE

cd "$clone"
# Without an answer on its input, configure takes its default.
PYTHON_BIN_PATH=${PYTHON_BIN_PATH:-$(type -P python3)} USE_DEFAULT_PYTHON_LIB_PATH=1 \
  TF_NEED_CUDA=$cuda TF_NEED_ROCM=0 TF_NEED_CLANG=0 TF_CUDA_CLANG=0 \
  TF_DOWNLOAD_CLANG=0 TF_NEED_OPENCL_SYCL=0 TF_ENABLE_XLA=1 TF_SET_ANDROID_WORKSPACE=0 \
  CC_OPT_FLAGS="${CC_OPT_FLAGS:--Wno-sign-compare}" ./configure </dev/null
bazel build "${options[@]}" //tensorflow/tools/pip_package:build_pip_package
./bazel-bin/tensorflow/tools/pip_package/build_pip_package "$top/dist"
