# The package as users get it, and what its installation may start.
# shellcheck shell=bash disable=SC2034,SC2154

# What starts Elixir, Erlang and a release, which are scripts, and what setup/fresh_project.sh calls.
programs_of_users='sh dash env mix elixir erl awk mawk basename dirname readlink sed uname cat cut grep head tail tr od rm mkdir cp date id'

# What these start.
programs_of_erlang='dyn_erl beam.smp erlexec erl_child_setup inet_gethost epmd'

# copy_package FOLDER ARCHIVES: the files that mix.exs lists for Hex, with a list that trusts the archives of this folder.
copy_package() {
  local names
  names=$(cd "$root" && mix run --no-compile --no-start --no-deps-check -e 'IO.puts(Enum.join(Mix.Project.config()[:package][:files], "\n"))') ||
    fail 'mix.exs does not tell the files of the package'
  mkdir -p "$1"
  # shellcheck disable=SC2086
  (cd "$root" && git ls-files -z -- $names | xargs -0 tar -cf -) | tar -xf - -C "$1"
  (cd "$1" && mix mlx.precompile --checksums --output "$2") || fail "there is no list of the archives in $2"
}
