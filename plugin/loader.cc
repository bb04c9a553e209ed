// What TensorFlow finds in its folder of plugins: it loads the adapter for the
// release that is running, if there is one, which registers the kernels. It
// needs no symbol of TensorFlow's, as a user's folder is seen by every
// TensorFlow of that user; says in one line why it loads nothing; and never
// keeps TensorFlow from being imported.
//
// Adapters lie in the Python package beside that folder, as adapters/2.18.so
// for all releases whose version starts with 2.18, or under the whole version,
// which nightlies need: each of them may be another.

#include <dirent.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

// glibc 2.34 moved these from libdl to libc and gave them a new version. The
// old one, which is that of the processor's first glibc, is what older systems
// have too.
#ifdef __aarch64__
#define OLD_GLIBC "GLIBC_2.17"
#else
#define OLD_GLIBC "GLIBC_2.2.5"
#endif
__asm__(".symver dlopen,dlopen@" OLD_GLIBC);
__asm__(".symver dlsym,dlsym@" OLD_GLIBC);
__asm__(".symver dladdr,dladdr@" OLD_GLIBC);
__asm__(".symver dlerror,dlerror@" OLD_GLIBC);

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr char kRebuilt[] = "libtfkernel_grouped_conv.so";
constexpr char kAdapters[] = "/../" PACKAGE "/adapters";
constexpr char kSuffix[] = ".so";
constexpr char kHook[] = PACKAGE "._on_load";

constexpr int kPathSize = 4096;
char adapter[kPathSize] = "";
char status[2 * kPathSize] = "";

// The library of that name, if the process has loaded it.
void* Loaded(const char* name) { return dlopen(name, RTLD_LAZY | RTLD_NOLOAD); }

// The version of the TensorFlow that runs in this process, or null.
const char* RunningVersion() {
  // Which of them has the C API depends on the release.
  for (const char* name :
       {"libtensorflow_cc.so.2", "_pywrap_tensorflow_internal.so",
        "libtensorflow_framework.so.2"}) {
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

// Notes, and says, that nothing was loaded.
void Tell(const char* what, const char* detail) {
  std::snprintf(status, sizeof(status), "kernels not loaded: %s%s", what,
                detail);
  std::fprintf(stderr, PACKAGE ": %s\n", status);
}

// Of 2.9 and 2.10 the second is the newer.
int CompareVersions(const char* a, const char* b) {
  while (*a != '\0' && *b != '\0') {
    char *a_end, *b_end;
    const long a_number = std::strtol(a, &a_end, 10);
    const long b_number = std::strtol(b, &b_end, 10);
    if (a_end == a || b_end == b) break;
    if (a_number != b_number) return a_number < b_number ? -1 : 1;
    a = *a_end == '.' ? a_end + 1 : a_end;
    b = *b_end == '.' ? b_end + 1 : b_end;
  }
  return std::strcmp(a, b);
}

// Tells that there is no adapter for a version, and which there are.
void TellNoAdapter(const char* folder, const char* version) {
  constexpr int kMost = 64;
  constexpr int kLongest = 64;
  char versions[kMost][kLongest];
  int count = 0;
  if (DIR* directory = opendir(folder)) {
    while (const dirent* entry = readdir(directory)) {
      const char* suffix = std::strstr(entry->d_name, kSuffix);
      if (suffix == nullptr || count == kMost) continue;
      char found[kLongest];
      std::snprintf(found, sizeof(found), "%.*s",
                    static_cast<int>(suffix - entry->d_name), entry->d_name);
      int place = count++;
      for (; place > 0 && CompareVersions(found, versions[place - 1]) < 0;
           --place) {
        std::memcpy(versions[place], versions[place - 1], kLongest);
      }
      std::memcpy(versions[place], found, kLongest);
    }
    closedir(directory);
  }
  char text[kPathSize];
  int length =
      std::snprintf(text, sizeof(text),
                    "there is no adapter for TensorFlow %s, only for", version);
  for (int i = 0; i < count && length < kPathSize; ++i) {
    length += std::snprintf(text + length, sizeof(text) - length, "%s %s",
                            i == 0 ? "" : ",", versions[i]);
  }
  Tell(text, "; `make plugin FOR=<python>` in its sources builds one");
}

// Sets `adapter` to the file of that name in a folder, and returns whether
// there is one.
bool Find(const char* folder, const char* name, int length) {
  std::snprintf(adapter, sizeof(adapter), "%s/%.*s%s", folder, length, name,
                kSuffix);
  std::FILE* const file = std::fopen(adapter, "rb");
  if (file != nullptr) {
    std::fclose(file);
    return true;
  }
  adapter[0] = '\0';
  return false;
}

// Finds the adapter for a version in a folder.
bool FindAdapter(const char* folder, const char* version) {
  if (Find(folder, version, std::strlen(version))) return true;
  if (std::strstr(version, "-dev") != nullptr) return false;
  const char* const major_end = std::strchr(version, '.');
  if (major_end == nullptr) return false;
  const int minor = std::strspn(major_end + 1, "0123456789");
  return Find(folder, version, major_end + 1 + minor - version);
}

// Imports the module that does the same for TensorFlow's Python; see there.
int ImportHook(void*) {
  using Import = void* (*)(const char*);
  using Nothing = void (*)();
  const auto import =
      reinterpret_cast<Import>(dlsym(RTLD_DEFAULT, "PyImport_ImportModule"));
  const auto print =
      reinterpret_cast<Nothing>(dlsym(RTLD_DEFAULT, "PyErr_Print"));
  // A module that cannot be imported is no reason to stop whatever runs now.
  if (import != nullptr && print != nullptr && import(kHook) == nullptr)
    print();
  return 0;
}

// This is called in the midst of an import, where the interpreter's lock may be
// another thread's: Python is asked to call ImportHook soon.
void ScheduleHook() {
  using AddPendingCall = int (*)(int (*)(void*), void*);
  const auto add = reinterpret_cast<AddPendingCall>(
      dlsym(RTLD_DEFAULT, "Py_AddPendingCall"));
  // Not in a process without Python.
  if (add != nullptr && add(ImportHook, nullptr) != 0) {
    std::fprintf(stderr, PACKAGE ": could not have %s imported\n", kHook);
  }
}

__attribute__((constructor)) void LoadAdapter() {
  const char* const version = RunningVersion();
  if (version == nullptr) {
    Tell("cannot tell which TensorFlow this is", "");
    return;
  }
  if (Loaded(kRebuilt) != nullptr) {
    Tell("this TensorFlow has them already", "");
    return;
  }
  Dl_info here;
  if (dladdr(reinterpret_cast<void*>(&LoadAdapter), &here) == 0) {
    Tell("cannot tell where they are", "");
    return;
  }
  char folder[kPathSize];
  const char* const slash = std::strrchr(here.dli_fname, '/');
  const int length = std::snprintf(
      folder, sizeof(folder), "%.*s%s",
      static_cast<int>(slash == nullptr ? 0 : slash - here.dli_fname),
      here.dli_fname, slash == nullptr ? kAdapters + 1 : kAdapters);
  if (length + std::strlen(version) + sizeof(kSuffix) >= sizeof(folder)) {
    Tell("their path is too long: ", folder);
    return;
  }
  if (!FindAdapter(folder, version)) {
    TellNoAdapter(folder, version);
    return;
  }
  void* const library = dlopen(adapter, RTLD_NOW | RTLD_LOCAL);
  const char* error = nullptr;
  if (library == nullptr) {
    error = dlerror();
  } else {
    using Register = const char* (*)();
    const auto register_kernels =
        reinterpret_cast<Register>(dlsym(library, "GroupedConvRegister"));
    error =
        register_kernels == nullptr ? "it is no adapter" : register_kernels();
  }
  if (error != nullptr) {
    adapter[0] = '\0';
    Tell("they do not fit this TensorFlow: ", error);
    return;
  }
  ScheduleHook();
}

}  // namespace

// The path of the adapter that was loaded, or "".
EXPORTED const char* tensorflow_grouped_convolution_adapter() {
  return adapter;
}

// "" if one was loaded, else why not.
EXPORTED const char* tensorflow_grouped_convolution_status() { return status; }
