# BLAS and LAPACK for MLX on Linux. The wheel's own are the reference implementation, some 25 times slower in a matrix product.
# In our copy of MLX a library that forwards to OpenBLAS has their names.
# shellcheck shell=bash disable=SC2016,SC2154

# have_openblas: the copy of MLX keeps the key of what was put into it, so that it gets another when this is made of other
# things. An MLX that was given has the BLAS that it came with.
have_openblas() {
  case $platform in macos*) return ;; esac
  [ -n "${MLX_DIR:-}" ] || [ "$(cat "${mlx_dir%/mlx}/openblas.key" 2>/dev/null)" = "$(openblas_key)" ]
}

# openblas_key: a checksum of all that the library is made of, and of how.
openblas_key() {
  {
    (cd "$root" && file_sums setup/gemm.cpp c_src/core/threads/workers.hpp setup/openblas.S setup/openblas.sh)
    version_of scipy-openblas32
  } | sha256
}

# add_openblas FOLDER: puts it into the copy of MLX in this folder. Each file takes its place in one step, and those that are
# replaced live on in the virtual machines that have loaded them.
add_openblas() {
  local libraries blas lapack file trial=$part/trial
  libraries=$(basename "$1"/*.libs)
  blas=$(basename "$1/$libraries"/libblas-*)
  lapack=$(basename "$1/$libraries"/liblapack-*)
  if try_openblas "$1"; then
    for file in libscipy_openblas.so "$blas" "$lapack"; do mv -f "$trial/$libraries/$file" "$1/$libraries"; done
  else
    say "(OpenBLAS could not be added: matrix products on the CPU will be slow; to try again remove ${mlx_dir%/mlx}/openblas.key)"
  fi
  openblas_key >"$1/openblas.key"
}

# try_openblas FOLDER: makes the libraries in another folder, and loads MLX there with every symbol.
try_openblas() {
  mkdir -p "$trial" &&
    cp -R "$1/$libraries" "$trial" &&
    rm "$trial/$libraries/$blas" "$trial/$libraries/$lapack" &&
    get_openblas &&
    "$cxx" -shared -nostdlib -fPIC -O2 -x assembler-with-cpp "$root/setup/openblas.S" \
      -x c++ -std=c++20 -fno-exceptions -fno-rtti "$root/setup/gemm.cpp" -o "$trial/$libraries/$blas" \
      -L"$trial/$libraries" -lscipy_openblas -lc -Wl,-soname,"$blas" -Wl,-rpath,'$ORIGIN' &&
    ln -s "$blas" "$trial/$libraries/$lapack" &&
    mlx_loads "$1"
}

# OpenBLAS is downloaded when it is not there, or in another version.
get_openblas() {
  grep -qs "OpenBLAS $(version_of scipy-openblas32) " "$trial/$libraries/libscipy_openblas.so" && return
  (unpack_wheel scipy-openblas32 "$part/openblas") &&
    mv -f "$part/openblas/scipy_openblas32/lib/libscipy_openblas.so" "$trial/$libraries"
}

# With CUDA the driver may be on another machine than the one that builds.
mlx_loads() {
  [ "$backend" != cuda ] || return 0
  mkdir -p "$trial/mlx/lib" &&
    cp "$1/mlx/lib/libmlx.so" "$trial/mlx/lib" &&
    "$python" -c 'import ctypes, os, sys; ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)' "$trial/mlx/lib/libmlx.so"
}
