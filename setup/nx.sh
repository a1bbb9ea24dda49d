# Nx, which is optional: where the shell finds it.
# shellcheck shell=bash

# use_nx: where Nx is neither a dependency nor in ERL_LIBS, takes it from the folder erl_libs of the cache, if it is there.
use_nx() {
  local libs
  libs=$(cache_folder)/erl_libs
  if [ ! -d deps/nx ] && [[ :${ERL_LIBS:-}: != *:"$libs":* ]] && [ -d "$libs/nx/ebin" ]; then
    export ERL_LIBS=$libs${ERL_LIBS:+:$ERL_LIBS}
  fi
}
