# The native library: built once on a machine from the same sources, tools and options, and kept in the folder nif of the
# cache, under a checksum of these. A library gets its name when it is complete, so that nobody takes half of one.
# shellcheck shell=bash disable=SC2154

# How many are kept: those that were used last.
kept_libraries=8

# What compilers and linkers read of the environment.
build_variables='CXXFLAGS LDFLAGS CPATH CPLUS_INCLUDE_PATH LIBRARY_PATH SDKROOT MACOSX_DEPLOYMENT_TARGET'

# get_nif BUILD TARGET: brings the library into the folder TARGET. Who comes while another builds the same waits, and takes it.
get_nif() {
  local kept
  find_nif_cache
  if [ -z "$nif_cache" ]; then
    build_nif "$1" mlx_nif
    install_nif "$1/mlx_nif.so" "$2"
    return
  fi
  kept=$nif_cache/$(nif_key).so
  take_nif "$kept" "$2" && return
  wait_for_lock "${kept%.so}.lock" "waiting for another build of the native library"
  if ! take_nif "$kept" "$2"; then
    build_nif "$1" mlx_nif 9>&-
    keep_nif "$1/mlx_nif.so" "$kept"
    install_nif "$1/mlx_nif.so" "$2"
  fi
  exec 9>&-
}

# find_nif_cache: sets nif_cache to the folder, or to nothing where there is none that can be written to.
find_nif_cache() {
  nif_cache=
  [ -n "${MLX_CACHE:-}${XDG_CACHE_HOME:-}${HOME:-}" ] || return 0
  nif_cache=$(cache_folder)/nif
  { mkdir -p "$nif_cache" && [ -w "$nif_cache" ]; } 2>/dev/null || nif_cache=
}

# nif_key: a checksum of all that the library is made of. Of MLX itself only the headers count, and the place where it is found.
# The pins count by what they brought.
nif_key() {
  {
    (cd "$root" && file_sums c_src)
    build_configuration
    file_sums "$MLX_DIR/include/mlx" "$MLX_C_DIR/include" "$MLX_C_DIR/lib" "$ERTS_INCLUDE_DIR"
  } | sha256
}

# build_configuration: what CMake takes note of once, and then keeps to.
build_configuration() {
  local variable
  uname -sm
  "$CXX" --version
  printf '%s\n' "$CXX" "$MLX_DIR" "$MLX_C_DIR" "$ERTS_INCLUDE_DIR"
  for variable in $build_variables; do eval "printf '%s\n' \"$variable=\${$variable:-}\""; done
}

# take_nif KEPT TARGET: a touch tells when it was used last.
take_nif() {
  [ "$force" = no ] && [ -f "$1" ] && touch "$1" && install_nif "$1" "$2"
}

# install_nif LIBRARY TARGET: a library that a virtual machine has loaded is replaced, and not written over.
install_nif() {
  mkdir -p "$2"
  cp "$1" "$2/mlx_nif.so.part.$$" &&
    mv -f "$2/mlx_nif.so.part.$$" "$2/mlx_nif.so" &&
    printf '%s' "$MLX_DIR/lib" >"$2/libmlx_folder"
}

# keep_nif LIBRARY KEPT: sources that changed while they were compiled gave a library of neither.
keep_nif() {
  [ "$2" = "$nif_cache/$(nif_key).so" ] || return 0
  cp "$1" "$2.part.$$"
  mv -f "$2.part.$$" "$2"
  prune_nif_cache
}

prune_nif_cache() {
  local library
  find "$nif_cache" -type f \( -name '*.lock' -o -name '*.part.*' \) -mtime +1 -exec rm -f {} +
  # shellcheck disable=SC2012
  ls -t "$nif_cache"/*.so | tail -n +$((kept_libraries + 1)) | while IFS= read -r library; do rm -f "$library"; done
}

# build_nif BUILD TARGET: brings a target of CMake's up to date. A folder that was made otherwise begins anew.
build_nif() {
  command -v cmake >/dev/null || fail "cmake, which builds the native library, is missing on this machine; install it"
  say "Building the native library"
  local wanted
  wanted=$(echo "$root" && build_configuration)
  if [ "$wanted" != "$(cat "$1/configuration" 2>/dev/null)" ]; then
    rm -rf "$1"
    mkdir -p "$1"
    configure_nif "$1"
    printf '%s\n' "$wanted" >"$1/configuration"
  fi
  cmake --build "$1" --target "$2" --parallel "${CMAKE_BUILD_PARALLEL_LEVEL:-$(getconf _NPROCESSORS_ONLN)}"
}

configure_nif() {
  local output
  output=$(cmake -S "$root/c_src" -B "$1" -G "$(generator)" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$CXX" \
    -DMLX_DIR="$MLX_DIR" -DMLX_C_DIR="$MLX_C_DIR" -DERTS_INCLUDE_DIR="$ERTS_INCLUDE_DIR" 2>&1) || {
    printf '%s\n' "$output" >&2
    fail "the build of the native library could not be configured; CMake says why above"
  }
}
