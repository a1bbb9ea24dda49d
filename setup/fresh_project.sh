#!/bin/sh
# What a user does who takes the precompiled library, in this folder, where `mlx` is the package: a new project, the dependency,
# a call, and a release that runs at another place when everything else is gone. It says how long each takes, and ends with `ok`.
# bin/try_archive and bin/fresh_install run this. MLX_NIF_ARCHIVE or MLX_NIF_URL say where the archive is.
set -eu

call='IO.inspect(Mlx.to_number(Mlx.add(1, 2)))'

fail() {
  printf '%s\n' "$1" >&2
  exit 1
}

# took WHAT: the seconds since the last call, and those of processors that the programs took, all together.
took() {
  now=$(date +%s)
  times >seconds.txt
  processors=$(awk 'NR == 2 { for (i = 1; i <= 2; i++) { split($i, part, "m"); sum += 60 * part[1] + part[2] } printf "%.1f", sum }' seconds.txt)
  [ -z "${1:-}" ] || awk -v what="$1" -v wall="$((now - started))" -v now="$processors" -v before="$before" \
    'BEGIN { printf "%s: %d s, and %.1f s of processors\n", what, wall, now - before }'
  started=$(date +%s)
  before=$processors
}

took
began=$started
mix new fresh >new.log
cd fresh
awk '/defp deps do/ { print "  defp deps, do: [{:mlx, path: \"../mlx\"}]"; inside = 1 } !inside { print } inside && /^  end/ { inside = 0 }' \
  mix.exs >../mix.exs
cp ../mix.exs mix.exs
took 'mix new'
mix compile || fail 'the new project does not compile'
took 'mix compile'
answer=$(mix run -e "$call" 2>&1) || true
took 'mix run'
case $answer in
  3) ;;
  *'No Metal device available'*)
    echo 'skipped: there is no Metal device; the library loads'
    exit
    ;;
  *) fail "Mlx.add(1, 2) gives: $answer" ;;
esac
echo "from mix new to the answer: $((started - began)) s"
mix release --quiet --path ../release || fail 'there is no release'
took 'mix release'
cd ..
cp -R release elsewhere
rm -rf release cache mlx fresh
unset MLX_NIF_ARCHIVE MLX_NIF_URL
answer=$(elsewhere/bin/fresh eval "$call" 2>&1) || true
[ "$answer" = 3 ] || fail "the release elsewhere gives: $answer"
took 'the release, elsewhere'
echo 'ok: a new project and its release compute 1 + 2'
