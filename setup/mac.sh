# What bin/cross_mac compiles with on Linux: a compiler that has libc++ and the headers of macOS inside, Apple's way to
# link, and MLX as Macs get it.
# shellcheck shell=bash disable=SC2034,SC2154

# The oldest release that there is a wheel for, and the newest: what one has the other may lack.
mac_platforms='macos14-arm64 macos26-arm64'

# One version for all platforms; archives are made with `platform` naming another one.
zig_folder() { echo "$cache/ziglang-$(awk '$1 == "ziglang" { print $2; exit }' "$root/setup/sources.txt")"; }
mac_mlx_folder() { echo "$cache/mlx-$(source_field mlx-metal 2 "$1")-$1"; }

# The wheels' files for graphics processors are left out: they are what is large, and nothing is linked with them.
have_mac() {
  local one
  [ -d "$(zig_folder)" ] && [ -d "$(mlx_c_sources)" ] && have_mac_tools || return 1
  for one in $mac_platforms; do [ -d "$(mac_mlx_folder "$one")" ] || return 1; done
}

get_mac() {
  local one
  case $platform in linux-*) ;; *) fail "bin/setup mac prepares the compilation for macOS on Linux only" ;; esac
  have_mac_tools || step 'lld and llvm' check_mac_tools
  [ -d "$(zig_folder)" ] || step "zig $(version_of ziglang)" get_zig
  [ -d "$(mlx_c_sources)" ] || step "mlx-c $(version_of mlx-c): sources" keep_mlx_c_sources
  for one in $mac_platforms; do
    [ -d "$(mac_mlx_folder "$one")" ] || step "MLX $(source_field mlx-metal 2 "$one") for $one" get_mac_mlx "$one"
  done
}

have_mac_tools() {
  missing=
  command -v ld64.lld-19 >/dev/null || missing="$missing lld-19"
  { command -v llvm-nm-19 && command -v llvm-objdump-19; } >/dev/null || missing="$missing llvm-19"
  missing=${missing# }
  [ -z "$missing" ]
}

check_mac_tools() {
  install_tools
  hash -r
  have_mac_tools || fail "missing on this machine (Debian's names): $missing"
}

get_zig() {
  part_folder
  unpack_wheel ziglang "$part/zig"
  chmod +x "$part/zig/ziglang/zig"
  mv "$part/zig" "$(zig_folder)"
}

get_mac_mlx() {
  part_folder
  unpack_wheel mlx-metal "$part/mlx" "$1"
  rm "$part"/mlx/mlx/lib/*.metallib
  mv "$part/mlx" "$(mac_mlx_folder "$1")"
}

# use_mac_compiler FOLDER: sets cxx and mac_options, which tell CMake what to build for. The tools are copied into the
# folder, where they are the same for every checkout, as CMake takes a compiler at another place for another compiler. Beside
# them is what the linker takes for libraries of macOS: the names in libSystem, which come with zig, and a libc++ without
# any, so that its symbols are left to be found when the library is loaded, and to bin/cross_mac.
use_mac_compiler() {
  export ZIG LLD STUBS ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
  ZIG=$(zig_folder)/ziglang/zig
  LLD=$1/ld64.lld
  STUBS=$1
  ZIG_GLOBAL_CACHE_DIR=$cache/zig
  ZIG_LOCAL_CACHE_DIR=$cache/zig
  mkdir -p "$1"
  cp "$(dirname "$ZIG")/lib/libc/darwin/libSystem.tbd" "$root"/setup/mac/* "$1"
  cxx=$1/c++
  # The last one is what CMake takes itself where sw_vers tells a release of macOS.
  # shellcheck disable=SC2054
  mac_options=(-DCMAKE_SYSTEM_NAME=Darwin -DCMAKE_SYSTEM_PROCESSOR=arm64 -DCMAKE_OSX_SYSROOT= "-DCMAKE_AR=$1/ar"
    "-DCMAKE_RANLIB=$1/ranlib" -DCMAKE_SHARED_LIBRARY_RUNTIME_CXX_FLAG=-Wl,-rpath,)
}
