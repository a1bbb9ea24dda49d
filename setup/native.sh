# What the NIF is built on: MLX from the wheel of this platform, with a fast BLAS on Linux, and mlx-c built against it.
# shellcheck shell=bash disable=SC2013,SC2016,SC2154

# find_platform: sets platform, backend, and the folders of MLX and mlx-c (MLX_DIR and MLX_C_DIR override them).
find_platform() {
  local system
  system=$(uname -sm)
  case $system in
    'Linux x86_64') platform=linux-x86_64 ;;
    'Linux aarch64' | 'Linux arm64') platform=linux-aarch64 ;;
    'Darwin arm64') platform=$(macos_platform) ;;
    'Darwin x86_64') fail "$(intel_sentence)" ;;
    *) fail "there is no MLX for $system; Linux (x86_64, aarch64) and macOS on Apple Silicon are supported" ;;
  esac
  [ -n "$platform" ] || fail "MLX needs macOS 14 or newer; this is macOS $(sw_vers -productVersion)"
  find_backend
  mlx_dir=${MLX_DIR:-$cache/mlx-$(version_of "$wheel")-$backend/mlx}
  mlx_c_dir=${MLX_C_DIR:-$cache/mlx-c-$(version_of mlx-c)-$(mlx_c_key)}
  [ -z "${MLX_DIR:-}" ] || check_given_mlx
  [ -z "${MLX_C_DIR:-}" ] || check_given_mlx_c
}

# Programs for Intel Macs that run on Apple Silicon are told that they run on an Intel Mac.
intel_sentence() {
  if [ "$(sysctl -n sysctl.proc_translated 2>/dev/null)" = 1 ]; then
    echo "this shell runs under Rosetta, as programs for Intel Macs do, and MLX is made for Apple Silicon only; start it with" \
      "arch -arm64 bash, and use an Elixir and an Erlang for Apple Silicon (Homebrew has them in /opt/homebrew)"
  else
    echo "MLX does not run on Intel Macs; an Apple Silicon Mac or Linux is needed"
  fi
}

# The wheel for macOS 26 is for 26.2 and newer, whatever its name says (mlx #4525): its library and its kernels say so.
macos_platform() {
  local version release minor=0
  version=$(sw_vers -productVersion)
  release=${version%%.*}
  case $version in *.*) minor=${version#*.} && minor=${minor%%.*} ;; esac
  if [ $((release * 100 + minor)) -ge 2602 ]; then
    echo macos26-arm64
  elif [ "$release" -ge 15 ]; then
    echo macos15-arm64
  elif [ "$release" -ge 14 ]; then
    echo macos14-arm64
  fi
}

# There is no wheel for a Mac's processor alone, and the wheel for Metal makes no array where there is no Metal (as in some
# virtual machines): MLX is built from its sources there. `wheel` is then the name of these.
find_backend() {
  case $platform in macos*) backend=${MLX_BACKEND:-metal} ;; *) backend=${MLX_BACKEND:-cpu} ;; esac
  case $platform:$backend in
    macos*:metal) wheel=mlx-metal ;;
    macos*:cpu) wheel=mlx ;;
    linux*:cpu) wheel=mlx-cpu ;;
    linux*:cuda) wheel=mlx-cuda-13 ;;
    *) fail "MLX_BACKEND=$backend does not exist on $platform; it is cpu or cuda on Linux, and metal or cpu on macOS" ;;
  esac
}

# mlx-c is built against one MLX, so another MLX_DIR gets another build.
mlx_c_key() {
  if [ -z "${MLX_DIR:-}" ]; then echo "mlx-$(version_of "$wheel")-$backend"; else printf '%s' "$MLX_DIR" | sha256 | cut -c 1-12; fi
}

have_native() { [ -d "$mlx_dir" ] && have_openblas && [ -d "$mlx_c_dir" ]; }

get_native() {
  if [ -d "$mlx_dir" ]; then
    have_openblas || step "OpenBLAS $(version_of scipy-openblas32)" add_openblas "${mlx_dir%/mlx}"
  elif [ "$wheel" = mlx ]; then
    [ -d "$(mlx_sources)" ] || step "MLX $(version_of mlx): sources" get_mlx_sources
    step "MLX $(version_of mlx): build, which takes some minutes" build_mlx
  else
    step "MLX $(version_of "$wheel") ($wheel)" get_mlx
  fi
  if [ ! -d "$mlx_c_dir" ]; then
    step "mlx-c $(version_of mlx-c): sources" get_mlx_c_sources
    step "mlx-c $(version_of mlx-c): build" build_mlx_c "$part/mlx-c"
  fi
}

# Other versions have other functions, and objects of another layout.
check_given_mlx() {
  local given
  # shellcheck disable=SC2046
  has_files MLX_DIR "$mlx_dir" $(headers_of_mlx) "lib/libmlx.$(library_suffix)"
  given=$(awk '$2 ~ /^MLX_VERSION_(MAJOR|MINOR|PATCH)$/ { printf "%s%s", dot, $3; dot = "." }' "$mlx_dir/include/mlx/version.h")
  [ "$given" = "$(version_of "$wheel")" ] ||
    fail "MLX_DIR=$mlx_dir holds MLX $given; the NIF is made for MLX $(version_of "$wheel")"
}

check_given_mlx_c() {
  local given
  # shellcheck disable=SC2046
  has_files MLX_C_DIR "$mlx_c_dir" $(headers_of_mlx_c) lib/libmlxc.a share/cmake/MLXC/MLXCConfigVersion.cmake
  given=$(sed -n 's/^set(PACKAGE_VERSION "\(.*\)")$/\1/p' "$mlx_c_dir/share/cmake/MLXC/MLXCConfigVersion.cmake")
  case $given in
    0.7.* | 0.8.*) ;;
    *) fail "MLX_C_DIR=$mlx_c_dir holds mlx-c $given; the NIF is made for mlx-c $(version_of mlx-c), and 0.8 fits as well" ;;
  esac
}

# The headers that the sources of the NIF include: those of mlx-c are in a folder of MLX's.
headers_of_mlx() { included_headers | sed '/^include\/mlx\/c\//d'; }
headers_of_mlx_c() { included_headers | sed -n '/^include\/mlx\/c\//p'; }

included_headers() {
  find "$root/c_src" -name '*.[ch]pp' -exec sed -n 's/^#include <\(mlx\/.*\)>.*/include\/\1/p' {} + | sort -u
}

# has_files VARIABLE FOLDER FILE...: the folder that the variable gives has these files.
has_files() {
  local variable=$1 folder=$2 file
  shift 2
  for file in "$@"; do
    [ -f "$folder/$file" ] || fail "$variable=$folder does not hold $file"
  done
}

library_suffix() { case $platform in macos*) echo dylib ;; *) echo so ;; esac; }

get_mlx() {
  check_libc
  part_folder
  unpack_wheel "$wheel" "$part/mlx"
  [ "$backend" != cuda ] || get_cuda_libraries
  case $platform in
    linux*) add_openblas "$part/mlx" ;;
  esac
  mv "$part/mlx" "${mlx_dir%/mlx}"
}

check_libc() {
  local version
  case $platform in macos*) return ;; esac
  version=$(getconf GNU_LIBC_VERSION 2>/dev/null) || fail "MLX's wheels need glibc 2.35 or newer; this system has another C library"
  version=${version#glibc 2.}
  [ "${version%%.*}" -ge 35 ] || fail "MLX's wheels need glibc 2.35 or newer; this system has 2.$version"
}

# The wheel finds NVIDIA's libraries beside itself, where their own wheels put them.
get_cuda_libraries() {
  local name
  for name in $(awk -v platform="$platform" '/^nvidia-/ && $3 == platform { print $1 }' "$root/setup/sources.txt"); do
    unpack_wheel "$name" "$part/mlx"
  done
}

mlx_sources() { echo "$cache/mlx-$(version_of mlx)-source"; }

get_mlx_sources() {
  local version
  version=$(version_of mlx)
  part_folder
  mlx_from_crate mlx || mlx_from_upstream "$version" ||
    fail_download "the sources of MLX $version could not be downloaded, neither with cargo nor with curl, which said"
  check_sum "MLX $version" "$(source_field mlx 5)" "$(tree_sha256 "$part/mlx-$version" CMakeLists.txt cmake mlx mlx.pc.in)"
  mv "$part/mlx-$version" "$(mlx_sources)"
}

# mlx_from_crate NAME: the tree of MLX that the crate of this pin holds, in the folder mlx-VERSION. The crate's own changes to
# it are undone.
mlx_from_crate() {
  local origin change
  origin=$(source_field "$1" 4)
  origin=${origin#crate:}
  unpack_crate "${origin%@*}" "${origin#*@}" "$part/crate" || return 1
  for change in "$part"/crate/patches/*.patch; do
    patch -R -s -p1 -d "$part/crate/vendor/mlx" <"$change" || return 1
  done
  # Where a change was found some lines off, patch leaves the file as it was before beside it.
  find "$part/crate/vendor/mlx" -type f -name '*.orig' -delete
  mv "$part/crate/vendor/mlx" "$part/mlx-$(version_of "$1")"
}

# mlx_from_upstream VERSION [FOLDER]: the archive of the release, or a folder of it, in the folder mlx-VERSION.
mlx_from_upstream() {
  command -v curl >/dev/null || return 1
  curl --fail --silent --show-error --location --connect-timeout 20 --output "$part/mlx.tar.gz" \
    "https://github.com/ml-explore/mlx/archive/refs/tags/v$1.tar.gz" &&
    tar -xzf "$part/mlx.tar.gz" -C "$part" "mlx-$1${2:+/$2}"
}

# build_mlx [OPTION...]: builds MLX for the processor alone, as the wheels are made; the options are CMake's. It downloads
# what MLX is built with: json, fmt and gguflib.
build_mlx() {
  part_folder
  cmake -S "$(mlx_sources)" -B "$part/build" -G "$(generator)" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_COMPILER="$(c_compiler)" \
    -DCMAKE_OSX_DEPLOYMENT_TARGET=14.0 -DCMAKE_OSX_ARCHITECTURES=arm64 \
    -DBUILD_SHARED_LIBS=ON -DMLX_BUILD_METAL=OFF -DMLX_BUILD_TESTS=OFF -DMLX_BUILD_EXAMPLES=OFF \
    -DCMAKE_INSTALL_PREFIX="$part/mlx/mlx" -DCMAKE_INSTALL_LIBDIR=lib "$@"
  cmake --build "$part/build" --parallel "$(getconf _NPROCESSORS_ONLN)"
  cmake --install "$part/build"
  mv "$part/mlx" "${mlx_dir%/mlx}"
}

generator() { if command -v ninja >/dev/null; then echo Ninja; else echo 'Unix Makefiles'; fi; }

# The C compiler that goes with the C++ compiler: gcc-14 with g++-14, clang with clang++.
c_compiler() {
  local name
  name=$(basename "$cxx" | sed -e 's/clang++/clang/' -e 's/g++/gcc/' -e 's/^c++$/cc/')
  command -v "$(dirname "$cxx")/$name" || command -v cc || echo "$cxx"
}
