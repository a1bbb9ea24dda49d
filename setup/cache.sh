# The cache folder: its place and lock, steps with their times, and downloads checked against sources.txt.
# shellcheck shell=bash disable=SC2154

# What sentences begin with.
program=bin/${0##*/}

cache_folder() {
  if [ -n "${MLX_CACHE:-}" ]; then
    echo "$MLX_CACHE"
  elif [ "$(uname -s)" = Darwin ]; then
    echo "$HOME/Library/Caches/mlx-elixir"
  else
    echo "${XDG_CACHE_HOME:-$HOME/.cache}/mlx-elixir"
  fi
}

# open_cache: makes the folder, waits until no other set-up works in it, and removes what an interrupted one left.
# The lock belongs to file descriptor 9 of this shell and is gone with it, however it ends.
open_cache() {
  mkdir -p "$cache" 2>/dev/null || fail "the cache folder $cache cannot be made; set MLX_CACHE to another folder"
  [ -w "$cache" ] || fail "the cache folder $cache is not writable; set MLX_CACHE to another folder"
  wait_for_lock "$cache/lock" "waiting for another set-up that works in $cache"
  rm -rf "$cache"/part.*
  log=$cache/setup.log
  : >"$log"
}

close_cache() {
  exec 9>&-
}

# wait_for_lock FILE SENTENCE: holds the lock, and says the sentence when another has it.
wait_for_lock() {
  exec 9>"$1"
  lock_now && return
  say "$2"
  until lock_now; do sleep 1; done
}

lock_now() {
  if command -v flock >/dev/null; then
    flock -n 9
  else
    perl -MFcntl=:flock -e 'open(my $lock, ">&=9") or die; exit(flock($lock, LOCK_EX | LOCK_NB) ? 0 : 1)'
  fi
}

say() { printf '%s\n' "$1" >&3; }

fail() {
  said=yes
  [ -z "${current_step:-}" ] || printf '\n' >&3
  printf '%s: %s\n' "$program" "$1" >&3
  exit 1
}

# fail_download SENTENCE: ends the set-up with what the programs of this step said, which tells what is wrong with the network,
# a proxy, a certificate or the disk. The sentence goes on with the place of the log.
fail_download() {
  local words
  words=$(last_words)
  fail "$1 (all of the output is in $log):
${words:-  nothing}"
}

# last_words: the last lines that the programs of this step wrote, without those that say the same once more.
last_words() {
  tail -c +$((logged + 1)) "$log" | sed -e 's/Retry([^)]*)/Retry/' -e 's/ object at 0x[0-9a-f]*//g' -e 's/^ */  /' |
    awk 'NF && $0 !~ /^ *Caused by:$/ && !seen[$0]++' | tail -n 6
}

# step TITLE COMMAND...: runs the command with its output in the log; a failure ends the set-up (finish_setup).
step() {
  current_step=$1
  logged=$(wc -c <"$log")
  local started=$SECONDS
  shift
  printf '%s ... ' "$current_step" >&3
  "$@" >>"$log" 2>&1
  printf '%d s\n' $((SECONDS - started)) >&3
  current_step=
}

# The EXIT trap: leaves nothing half done behind and says why the set-up ended.
finish_setup() {
  local status=$?
  [ -z "${part:-}" ] || rm -rf "$part"
  if [ "$status" -ne 0 ] && [ -z "${said:-}" ] && [ -n "${current_step:-}" ]; then
    printf '\n' >&3
    [ "$status" -gt 128 ] || tail -n 20 "$log" >&3
    if [ "$status" -gt 128 ]; then
      printf '%s: interrupted; run it again to go on from here\n' "$program" >&3
    else
      printf '%s: this step failed: %s (all of its output is in %s)\n' "$program" "$current_step" "$log" >&3
      status=1
    fi
  fi
  exit "$status"
}

# part_folder: sets `part` to a new empty folder beside the finished ones, to be moved into place when it is complete.
part_folder() {
  part=$cache/part.$$
  rm -rf "$part"
  mkdir -p "$part"
}

# source_field NAME COLUMN [PLATFORM]: a column of the pin that fits this platform, or the one that is named.
source_field() {
  awk -v name="$1" -v platform="${3:-$platform}" -v column="$2" \
    '$1 == name && ($3 == platform || $3 == "any") { print $column; exit }' "$root/setup/sources.txt"
}

version_of() { source_field "$1" 2; }

# unpack_wheel NAME FOLDER [PLATFORM]: downloads the pinned wheel of this platform, or of the one that is named, checks it,
# and unpacks it into the folder. It is not installed, so that it does not matter which Python the wheel is for: Apple's is
# older than what MLX's wheels ask for.
unpack_wheel() {
  local version tag expected wheel
  version=$(source_field "$1" 2 "${3:-$platform}")
  tag=$(source_field "$1" 4 "${3:-$platform}")
  expected=$(source_field "$1" 5 "${3:-$platform}")
  [ -n "$version" ] || fail "there is no $1 for ${3:-$platform}"
  mkdir -p "$part/wheels/$1"
  pip_run download --quiet --no-deps --only-binary=:all: --ignore-requires-python --platform "$tag" \
    --dest "$part/wheels/$1" "$1==$version" ||
    fail_download "$1 $version could not be downloaded with pip, which said"
  wheel=$(echo "$part/wheels/$1"/*.whl)
  check_sum "$1 $version" "$expected" "$(file_sha256 "$wheel")"
  "$python" -m zipfile -e "$wheel" "$2" || fail "the wheel of $1 $version could not be unpacked into $2"
  rm -rf "$part/wheels/$1"
}

check_sum() {
  [ "$2" = "$3" ] || fail "what was downloaded as $1 has the checksum $3 and not the pinned $2"
}

file_sha256() { sha256 <"$1"; }

# tree_sha256 FOLDER PATH...: one checksum of the names and contents of all files under these paths of the folder.
tree_sha256() {
  (
    cd "$1" && shift
    file_sums "$@" | sha256
  )
}

# file_sums PATH...: the checksum and the name of each file under these paths, in the order of the names.
file_sums() {
  # shellcheck disable=SC2014,SC2046
  find "$@" -type f -exec $(sha256_command) {} + | LC_ALL=C sort -k 2
}

# shellcheck disable=SC2091
sha256() { $(sha256_command) | cut -d ' ' -f 1; }

sha256_command() {
  if command -v sha256sum >/dev/null; then echo sha256sum; else echo shasum -a 256; fi
}
