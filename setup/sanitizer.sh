# MLX, mlx-c and the core built from source with a sanitizer in all of them.
# shellcheck shell=bash disable=SC2034,SC2154

# check_sanitizer_tools FLAG: installs what MLX's sources need beside a compiler, and tries the sanitizer.
check_sanitizer_tools() {
  look_for_headers
  if [ -n "$missing" ]; then
    install_tools
    look_for_headers
    [ -z "$missing" ] || fail "missing on this machine (Debian's names): $missing"
  fi
  links "$1" || fail "$cxx cannot build programs with $1"
}

# look_for_headers: sets missing to the Debian packages of what is not there.
look_for_headers() {
  missing=
  has_header nlohmann/json.hpp || missing="$missing nlohmann-json3-dev"
  has_header fmt/format.h || missing="$missing libfmt-dev"
  { has_header cblas.h && links -lblas; } || missing="$missing libblas-dev"
  { has_header lapack.h && links -llapack; } || missing="$missing liblapacke-dev liblapack-dev"
  missing=${missing# }
}

has_header() { printf '#include <%s>\n' "$1" | "$cxx" -std=c++20 -x c++ -fsyntax-only -; }
links() { printf 'int main() {}\n' | "$cxx" -x c++ - -o "$part/probe" "$1"; }

# build_stress SANITIZERS FOLDER: brings the program in the folder up to date; the first time it builds all of MLX.
build_stress() {
  ! command -v ninja >/dev/null || export CMAKE_GENERATOR=Ninja
  # CMake refuses a folder that another checkout was built in; what was built stays.
  grep -qsFx "CMAKE_HOME_DIRECTORY:INTERNAL=$root/c_src/sanitizers" "$2/CMakeCache.txt" || rm -f "$2/CMakeCache.txt"
  cmake -S "$root/c_src/sanitizers" -B "$2" -DSANITIZER="$1" -DCMAKE_CXX_COMPILER="$cxx" \
    -DCMAKE_C_COMPILER="$(c_compiler)" -DMLX_SOURCE="$(mlx_sources)" -DMLX_C_SOURCE="$(mlx_c_sources)"
  nice cmake --build "$2" --parallel "$(getconf _NPROCESSORS_ONLN)" --target stress
}
