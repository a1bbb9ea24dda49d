# Nx and the libraries on it, which are optional: where the shell finds them.
# shellcheck shell=bash

# use_nx: where Nx is not a dependency, looks after ERL_LIBS in the folder erl_libs of the cache, if Nx is there.
use_nx() {
  local libs
  libs=$(cache_folder)/erl_libs
  if [ ! -d deps/nx ] && [[ :${ERL_LIBS:-}: != *:"$libs":* ]] && [ -d "$libs/nx/ebin" ]; then
    export ERL_LIBS=${ERL_LIBS:+$ERL_LIBS:}$libs
  fi
}
