# The archives that users get in place of a build: what is in each, and how it is made on Linux for every platform.
# shellcheck shell=bash disable=SC2016,SC2034,SC2154

targets='x86_64-linux-gnu aarch64-linux-gnu x86_64-linux-gnu-cuda13 aarch64-apple-darwin-macos14 aarch64-apple-darwin-macos26'

# The newest of each that the archives for Linux may ask for: what Ubuntu 22.04 has.
newest_versions='GLIBC_2.35 GLIBCXX_3.4.30 CXXABI_1.3.13 GCC_12.0.0'

# use_target TARGET: sets wheel and platform, its names in sources.txt, and machine.
use_target() {
  machine=${1%%-*}
  case $1 in
    x86_64-linux-gnu | aarch64-linux-gnu) wheel=mlx-cpu platform=linux-$machine ;;
    x86_64-linux-gnu-cuda13) wheel=mlx-cuda-13 platform=linux-x86_64 ;;
    aarch64-apple-darwin-macos*) wheel=mlx-metal platform=${1##*-}-arm64 ;;
    *) fail "there is no archive for $1; there is one for each of $targets" ;;
  esac
  whole=$cache/mlx-$(version_of "$wheel")-$1-whole
}

# The NIF for CUDA is that for the processor where the headers of both wheels are the same: it is linked with either.
use_cpu_nif() {
  local cuda=$whole
  use_target x86_64-linux-gnu
  if [ ! -d "$whole" ] || diff -rq "$cuda/mlx/include" "$whole/mlx/include" |
    grep -v "^Only in $cuda/mlx/include: c" >/dev/null; then use_target "$1"; fi
}

# get_parts TARGET: brings in what the archive is made of. The cache is open.
get_parts() {
  case $1 in *-linux-*) check_libstdcxx ;; esac
  [ -d "$whole" ] || step "MLX $(version_of "$wheel") for $1" get_whole_mlx
  case $1 in
    *-linux-*) [ -d "$(openblas_folder)" ] || step "OpenBLAS $(version_of scipy-openblas32) for $platform" get_openblas_wheel ;;
  esac
}

get_whole_mlx() {
  part_folder
  unpack_wheel "$wheel" "$part/mlx" "$platform"
  mv "$part/mlx" "$whole"
}

openblas_folder() { echo "$cache/openblas-$(version_of scipy-openblas32)-$platform"; }

get_openblas_wheel() {
  part_folder
  unpack_wheel scipy-openblas32 "$part/openblas" "$platform"
  mv "$part/openblas" "$(openblas_folder)"
}

# find_libstdcxx: sets where the C++ library of GCC for this machine is, and its Debian package.
find_libstdcxx() {
  local triple=$machine-linux-gnu debian
  case $machine in x86_64) debian=amd64 ;; *) debian=arm64 ;; esac
  if [ "$(uname -m)" = "$machine" ]; then
    libstdcxx_package=libstdc++-14-dev
    LIBSTDCXX_HEADERS="/usr/include/c++/14 /usr/include/$triple/c++/14"
    LIBSTDCXX="/usr/lib/$triple/libstdc++.so.6 /usr/lib/$triple/libgcc_s.so.1"
  else
    libstdcxx_package=libstdc++-14-dev-$debian-cross
    LIBSTDCXX_HEADERS="/usr/$triple/include/c++/14 /usr/$triple/include/c++/14/$triple"
    LIBSTDCXX="/usr/$triple/lib/libstdc++.so.6 /usr/$triple/lib/libgcc_s.so.1"
  fi
  export LIBSTDCXX_HEADERS LIBSTDCXX
}

check_libstdcxx() {
  local path
  find_libstdcxx
  missing=
  for path in $LIBSTDCXX_HEADERS $LIBSTDCXX; do [ -e "$path" ] || missing=$libstdcxx_package; done
  [ -n "$missing" ] || return 0
  step "$libstdcxx_package" install_tools
}

# use_linux_compiler FOLDER: sets cxx and linux_options, which tell CMake what to build for. See use_mac_compiler in mac.sh.
use_linux_compiler() {
  export ZIG TARGET EXPORTS OLDER_LIBSTDCXX ZIG_GLOBAL_CACHE_DIR ZIG_LOCAL_CACHE_DIR
  ZIG=$(zig_folder)/ziglang/zig
  TARGET=$machine-linux-gnu.2.35
  EXPORTS=$1/exports
  OLDER_LIBSTDCXX=
  ZIG_GLOBAL_CACHE_DIR=$cache/zig
  ZIG_LOCAL_CACHE_DIR=$1/../zig
  mkdir -p "$1"
  same_files "$root/setup/linux" "$1"
  cxx=$1/c++
  "$cxx" -std=c++20 -O2 -fPIC -c "$1/older_libstdcxx.cpp" -o "$1/older_libstdcxx.o"
  OLDER_LIBSTDCXX=$1/older_libstdcxx.o
  # What CMake tries is compiled, and not linked: a program would ask for more of the C library than there is for 2.35.
  linux_options=(-DCMAKE_SYSTEM_NAME=Linux "-DCMAKE_SYSTEM_PROCESSOR=$machine" "-DCMAKE_AR=$1/ar" "-DCMAKE_RANLIB=$1/ranlib"
    -DCMAKE_TRY_COMPILE_TARGET_TYPE=STATIC_LIBRARY)
}

build_linux_mlx_c() {
  part=$1/part
  rm -rf "$part"
  mkdir -p "$part"
  mlx_dir=$whole/mlx
  mlx_c_dir=$1/mlx-c
  use_linux_compiler "$1/tools"
  build_mlx_c "$(mlx_c_sources)" "${linux_options[@]}"
  rm -rf "$part"
}

build_linux_nif() {
  use_linux_compiler "$1/tools"
  same_files "$root/c_src" "$1/c_src"
  cmake -S "$1/c_src" -B "$1/nif" -G "$(generator)" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_COMPILER="$cxx" \
    -DMLX_DIR="$whole/mlx" -DMLX_C_DIR="$1/mlx-c" -DERTS_INCLUDE_DIR="$(erts_headers)" "${linux_options[@]}" \
    -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON '-DCMAKE_INSTALL_RPATH=$ORIGIN/mlx/lib'
  cmake --build "$1/nif" --target mlx_nif --parallel "$(getconf _NPROCESSORS_ONLN)"
  rm -rf "$ZIG_LOCAL_CACHE_DIR"
}

# linux_build_folder: objects are for these tools, options and headers.
linux_build_folder() {
  local key
  key=$({
    (cd "$root/setup" && file_sums linux)
    declare -f use_linux_compiler build_linux_mlx_c build_mlx_c
    grep -E "^(ziglang|mlx-c|$wheel) " "$root/setup/sources.txt"
  } | sha256 | cut -c 1-12)
  echo "$cache/linux/$key-$machine-$wheel"
}

# stage_linux BUILD FOLDER: the files of an archive for Linux. MLX looks for a BLAS in this place, and by these names.
stage_linux() {
  local libraries blas file headers
  libraries=$(basename "$whole"/*.libs)
  mkdir -p "$2/mlx/lib" "$2/$libraries"
  cp "$1/nif/mlx_nif.so" "$2/mlx_nif.so"
  cp "$whole/mlx/lib/libmlx.so" "$2/mlx/lib/libmlx.so"
  # With CUDA, MLX compiles kernels while it runs, with these.
  for headers in cccl cute cutlass; do
    [ ! -d "$whole/mlx/include/$headers" ] || { mkdir -p "$2/mlx/include" && cp -R "$whole/mlx/include/$headers" "$2/mlx/include"; }
  done
  cp "$(openblas_folder)/scipy_openblas32/lib/libscipy_openblas.so" "$2/$libraries/libscipy_openblas.so"
  use_linux_compiler "$1/tools"
  mkdir -p "$1/blas"
  "$ZIG" cc -target "$TARGET" -c "$root/setup/openblas.S" -o "$1/blas/openblas.o"
  "$cxx" -std=c++20 -fPIC -O2 -fno-exceptions -fno-rtti -c "$root/setup/gemm.cpp" -o "$1/blas/gemm.o"
  for file in "$whole/$libraries"/libblas-* "$whole/$libraries"/liblapack-*; do
    blas=$(basename "$file")
    "$ZIG" cc -target "$TARGET" -shared -nostdlib -s "$1/blas/openblas.o" "$1/blas/gemm.o" \
      "$2/$libraries/libscipy_openblas.so" -lc -o "$2/$libraries/$blas" -Wl,-soname,"$blas" -Wl,-rpath,'$ORIGIN'
  done
}

# stage_mac NIF FOLDER: the files of an archive for macOS. llvm's tool signs the library anew.
stage_mac() {
  mkdir -p "$2/mlx/lib"
  cp "$1" "$2/mlx_nif.so"
  llvm-strip-19 -x "$2/mlx_nif.so"
  cp "$whole/mlx/lib/libmlx.dylib" "$whole/mlx/lib/mlx.metallib" "$2/mlx/lib"
}

# stage_licences FOLDER: of all that is in the archive.
stage_licences() {
  mkdir -p "$1/licenses"
  cp "$root/LICENSE" "$1/licenses/Mlx.txt"
  cp "$(find "$whole" -path '*.dist-info/*' -name LICENSE | sed -n 1p)" "$1/licenses/MLX.txt"
  cp "$(mlx_c_sources)/LICENSE" "$1/licenses/mlx-c.txt"
  cp "$(zig_folder)/ziglang/LICENSE" "$1/licenses/zig.txt"
  if [ -f "$whole/mlx/include/metal_cpp/LICENSE.txt" ]; then
    cp "$whole/mlx/include/metal_cpp/LICENSE.txt" "$1/licenses/metal-cpp.txt"
  fi
  case $platform in
    linux-*) cp "$(find "$(openblas_folder)" -path '*.dist-info/*' -name 'LICENSE*' | sed -n 1p)" "$1/licenses/OpenBLAS.txt" ;;
  esac
}

# check_linux FOLDER: what would else be seen on another machine only, when the library is loaded.
check_linux() {
  local file version newest found machines
  machines=$(find "$1" -name '*.so*' -exec llvm-readelf-19 -h {} \; | sed -n 's/^ *Machine: *//p' | sort -u)
  case $machine:$machines in
    'x86_64:Advanced Micro Devices X86-64' | aarch64:AArch64) ;;
    *) fail "the libraries are for ${machines:-no machine}, and not for $machine" ;;
  esac
  for file in $(cd "$1" && find . -name '*.so*'); do
    for newest in $newest_versions; do
      for version in $(llvm-readelf-19 --version-info "$1/$file" | sed -n "s/.*Name: \(${newest%%_*}_[0-9.]*\) .*/\1/p" | sort -u); do
        newer "${version#*_}" "${newest#*_}" && fail "$file needs $version; what it may need is at most $newest"
      done
    done
    for found in $(llvm-readelf-19 -d "$1/$file" | sed -n 's/.*Library r[un]*path: \[\(.*\)\]/\1/p' | tr ':' '\n'); do
      case $found in '$ORIGIN' | '$ORIGIN/'*) ;; *) fail "$file looks for libraries in $found" ;; esac
    done
  done
  found=$(llvm-nm-19 -D --defined-only --extern-only "$1/mlx_nif.so" | awk '{ print $NF }' | tr '\n' ' ')
  [ "$found" = 'nif_init ' ] || fail "the NIF exports ${found:-nothing} and not just nif_init"
  check_linux_symbols "$1"
}

# The system brings what its C and C++ libraries have, and NVIDIA's; the VM what begins with enif_; all else is in the archive.
check_linux_symbols() {
  local lost own
  own=$(find "$1" -name '*.so*' -exec llvm-nm-19 -D --defined-only --extern-only {} \; | awk 'NF { sub(/@.*/, "", $NF); print $NF }' | sort -u)
  lost=$(find "$1" -name '*.so*' -exec llvm-nm-19 -D --undefined-only {} \; |
    awk '$1 == "U" && $NF !~ /@/ && $NF !~ /^enif_/ && $NF !~ /^(cu|nccl|nvrtc|nvJitLink)/ { print $NF }' | sort -u | comm -23 - <(printf '%s\n' "$own"))
  [ -z "$lost" ] || fail "nothing in the archive has: $(echo "$lost" | tr '\n' ' ')"
}

# newer ONE OTHER: whether the version is newer than the other.
newer() {
  awk -v one="$1" -v other="$2" 'BEGIN {
    n = split(one, a, "."); m = split(other, b, ".")
    for (i = 1; i <= (n > m ? n : m); i++) if (a[i] + 0 != b[i] + 0) exit !(a[i] + 0 > b[i] + 0)
    exit 1
  }'
}
