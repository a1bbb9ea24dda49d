/*
 * Threads as Darwin gives them on Apple Silicon, for a virtual machine on Linux (LD_PRELOAD):
 *
 * - A stack whose size is no multiple of the page of 16 KiB is refused with EINVAL. Whoever does not look at that gets
 * the default.
 * - The default is 512 KiB, for std::thread as well.
 *
 * Only what the NIF and the libraries under it ask for is refused: the virtual machine rounds to the page of the system
 * that it runs on. Other programs than the virtual machine are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t page = 16 << 10;
static const size_t default_size = 512 << 10;
static int in_virtual_machine;

static int is_virtual_machine(const char* path) {
  const char* slash = strrchr(path, '/');
  return strncmp(slash == NULL ? path : slash + 1, "beam", 4) == 0;
}

static int is_of_virtual_machine(const void* caller) {
  Dl_info info;
  return dladdr(caller, &info) == 0 || info.dli_fname == NULL || is_virtual_machine(info.dli_fname);
}

int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t size) {
  static int (*original)(pthread_attr_t*, size_t);
  if (original == NULL) {
    *(void**)&original = dlsym(RTLD_NEXT, "pthread_attr_setstacksize");
  }
  if (in_virtual_machine && size % page != 0 && !is_of_virtual_machine(__builtin_return_address(0))) {
    fprintf(stderr, "darwin_stacks: a stack of %zu bytes is refused\n", size);
    return EINVAL;
  }
  return original(attributes, size);
}

__attribute__((constructor)) static void start(void) {
  in_virtual_machine = is_virtual_machine(program_invocation_name);
  if (!in_virtual_machine) {
    return;
  }
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, default_size);
  const int status = pthread_setattr_default_np(&attributes);
  pthread_attr_destroy(&attributes);
  if (status != 0) {
    fprintf(stderr, "darwin_stacks: the default could not be set: %s\n", strerror(status));
    _Exit(70);
  }
  /* What tests ask for, to know that all this is there. */
  setenv("DARWIN_STACKS", "on", 1);
}
