// What TensorFlow finds in its folder of plugins. A user's folder is seen by
// every TensorFlow of that user, and the kernels fit one release alone: so this
// library needs no symbol of TensorFlow's, asks which release is running, and
// only then loads the kernels from the Python package beside that folder.

#include <dlfcn.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

// glibc 2.34 moved these from libdl to libc and gave them a new version. The
// old one is what older systems have too.
__asm__(".symver dlopen,dlopen@GLIBC_2.2.5");
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
__asm__(".symver dladdr,dladdr@GLIBC_2.2.5");
__asm__(".symver dlerror,dlerror@GLIBC_2.2.5");

namespace {

constexpr char kKernels[] = "libtfkernel_grouped_conv.so";
constexpr char kKernelsFromHere[] =
    "/../" PACKAGE "/libtfkernel_grouped_conv.so";

// The library of that name, if the process has loaded it.
void* Loaded(const char* name) { return dlopen(name, RTLD_LAZY | RTLD_NOLOAD); }

// The version of the TensorFlow that runs in this process, or null.
const char* RunningVersion() {
  // Which of them has the C API depends on the release.
  for (const char* name :
       {"libtensorflow_cc.so.2", "_pywrap_tensorflow_internal.so"}) {
    if (void* library = Loaded(name)) {
      using Version = const char* (*)();
      if (auto version =
              reinterpret_cast<Version>(dlsym(library, "TF_Version"))) {
        return version();
      }
    }
  }
  return nullptr;
}

void Tell(const char* what, const char* detail) {
  std::fprintf(stderr, PACKAGE ": kernels not loaded: %s%s\n", what, detail);
}

__attribute__((constructor)) void LoadKernels() {
  const char* version = RunningVersion();
  if (version == nullptr || std::strcmp(version, RELEASE) != 0) {
    Tell("they are for TensorFlow " RELEASE ", this is ",
         version == nullptr ? "another" : version);
    return;
  }
  if (Loaded(kKernels) != nullptr) {
    Tell("this TensorFlow has them already", "");
    return;
  }
  Dl_info here;
  char path[4096];
  if (dladdr(reinterpret_cast<void*>(&LoadKernels), &here) == 0) {
    Tell("cannot tell where they are", "");
    return;
  }
  const char* slash = std::strrchr(here.dli_fname, '/');
  const int folder = slash == nullptr ? 0 : slash - here.dli_fname;
  const int length =
      std::snprintf(path, sizeof(path), "%.*s%s", folder, here.dli_fname,
                    slash == nullptr ? kKernelsFromHere + 1 : kKernelsFromHere);
  if (length >= static_cast<int>(sizeof(path))) {
    Tell("their path is too long: ", path);
  } else if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == nullptr) {
    Tell("", dlerror());
  }
}

}  // namespace
