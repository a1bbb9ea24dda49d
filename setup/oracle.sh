# The Python environment with the MLX that tests compare with.
# shellcheck shell=bash disable=SC2154

oracle_folder() { echo "$cache/oracle-$(oracle_packages | sha256 | cut -c 1-12)"; }

oracle_packages() {
  awk -v family="${platform%%[-1-9]*}" \
    '/^oracle:/ && ($3 == "" || $3 == family) { print substr($1, 8) "==" $2 }' "$root/setup/sources.txt"
}

have_oracle() { [ -f "$(oracle_folder)/complete" ] && "$(oracle_folder)/bin/python" -c '' 2>/dev/null; }

# An environment cannot be moved, so it is made in place; the file `complete` comes last.
get_oracle() {
  local folder
  folder=$(oracle_folder)
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "the tests compare with Python MLX, which needs Python 3.11 or newer; $python is older"
  rm -rf "$folder"
  "$python" -m venv "$folder" ||
    fail "Python's venv module is missing; on Debian it is in the package python3-venv"
  # shellcheck disable=SC2046
  "$folder/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --only-binary=:all: $(oracle_packages) ||
    fail_download "the Python packages of the tests could not be installed with pip, which said"
  : >"$folder/complete"
}
