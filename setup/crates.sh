# Source trees that come inside of crates, through cargo.
# shellcheck shell=bash disable=SC2154

# unpack_crate CRATE VERSION FOLDER: brings the crate in and unpacks it into the folder.
unpack_crate() {
  local crate
  command -v cargo >/dev/null || return 1
  crate=$(cached_crate "$1" "$2")
  if [ -z "$crate" ]; then
    mkdir -p "$part/cargo/src" && : >"$part/cargo/src/lib.rs" &&
      printf '[package]\nname = "fetch"\nversion = "0.0.0"\nedition = "2021"\n' >"$part/cargo/Cargo.toml" &&
      (cd "$part/cargo" && fetch_crate "$1" "$2")
    crate=$(cached_crate "$1" "$2")
  fi
  [ -n "$crate" ] && tar -xzf "$crate" -C "$part" && mv "$part/$1-$2" "$3"
}

# cargo info brings one crate; cargo before 1.82 does not have it and brings what the crate depends on as well.
fetch_crate() {
  cargo info --quiet "$1@$2" >/dev/null && return
  printf '[dependencies]\n%s = "=%s"\n' "$1" "$2" >>Cargo.toml
  cargo fetch --quiet
}

cached_crate() {
  find "${CARGO_HOME:-$HOME/.cargo}/registry/cache" -name "$1-$2.crate" 2>/dev/null | sed -n 1p
}
