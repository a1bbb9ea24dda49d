# mlx-c: its sources, adapted to the pinned MLX, and its build.
# shellcheck shell=bash disable=SC2154

# The sources of mlx-c: from cargo's registry where there is a cargo, else upstream's archive of the release.
get_mlx_c_sources() {
  local version
  version=$(version_of mlx-c)
  part_folder
  mlx_c_sources_from_crate "$version" || mlx_c_sources_from_upstream "$version" ||
    fail_download "the sources of mlx-c $version could not be downloaded, neither with cargo nor with curl, which said"
  check_sum "mlx-c $version" "$(source_field mlx-c 5)" "$(tree_sha256 "$part/mlx-c" CMakeLists.txt mlx/c)"
  adapt_mlx_c "$part/mlx-c/mlx/c/ops.cpp"
}

# adapt_mlx_c FILE: in MLX 0.32.4 the function gather_qmm has a parameter more, a scale of all values, which may be absent.
# mlx-c 0.7.0 is older, and its call does not compile; in the adapted file it gives no such scale.
adapt_mlx_c() {
  sed '/mlx::core::gather_qmm(/,/sorted_indices,/s/sorted_indices,/std::nullopt, sorted_indices,/' "$1" >"$1.adapted"
  mv "$1.adapted" "$1"
  check_sum "ops.cpp of mlx-c $(version_of mlx-c), adapted to MLX," "$(source_field mlx-c-adapted 5)" "$(file_sha256 "$1")"
}

mlx_c_sources_from_crate() {
  unpack_crate mlx-sys "$1" "$part/crate" && mv "$part/crate/src/mlx-c" "$part/mlx-c"
}

mlx_c_sources_from_upstream() {
  command -v curl >/dev/null || return 1
  curl --fail --silent --show-error --location --connect-timeout 20 --output "$part/mlx-c.tar.gz" \
    "https://github.com/ml-explore/mlx-c/archive/refs/tags/v$1.tar.gz" &&
    tar -xzf "$part/mlx-c.tar.gz" -C "$part" && mv "$part/mlx-c-$1" "$part/mlx-c"
}

# The sources stay for those who build mlx-c otherwise than for this machine.
mlx_c_sources() { echo "$cache/mlx-c-$(version_of mlx-c)-adapted-source"; }

keep_mlx_c_sources() {
  get_mlx_c_sources
  mv "$part/mlx-c" "$(mlx_c_sources)"
}

# build_mlx_c SOURCES [OPTION...]: builds mlx-c; the options are CMake's.
build_mlx_c() {
  local sources=$1
  shift
  cmake -S "$sources" -B "$part/build" -G "$(generator)" -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_C_COMPILER="$(c_compiler)" -DMLX_DIR="$root/setup" -DMLX_FOLDER="$mlx_dir" \
    -DCMAKE_OSX_DEPLOYMENT_TARGET=14.0 -DCMAKE_OSX_ARCHITECTURES=arm64 \
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF \
    -DMLX_C_USE_SYSTEM_MLX=ON -DMLX_C_BUILD_EXAMPLES=OFF \
    -DCMAKE_INSTALL_PREFIX="$part/install" -DCMAKE_INSTALL_LIBDIR=lib "$@"
  cmake --build "$part/build" --parallel "$(getconf _NPROCESSORS_ONLN)"
  cmake --install "$part/build"
  mv "$part/install" "$mlx_c_dir"
}
