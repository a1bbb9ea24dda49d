# The tools that the build needs: Elixir and Erlang, a C++20 compiler, CMake and Python. What is missing is installed
# with apt-get where that can be done, and else named in one sentence.
# shellcheck shell=bash disable=SC1091,SC2016,SC2154

# find_tools: fills in cxx and python from what the last set-up found, as long as the tools are where they were.
find_tools() {
  local known_signature='' known_cxx='' known_python=''
  if [ -f "$cache/tools" ]; then
    { read -r known_signature && read -r known_cxx && read -r known_python; } <"$cache/tools" || return 1
  fi
  [ "$known_signature" = "$(tools_signature)" ] || return 1
  cxx=$known_cxx
  python=$known_python
}

tools_signature() {
  echo "$(command -v mix):$(command -v cmake):$(command -v ninja):$(command -v python3):${CXX:-}"
}

# check_tools: looks at every tool, installs the missing ones (not when `install` is "no"), and notes the finding.
check_tools() {
  look_for_tools
  if [ -n "$missing" ]; then
    install_tools
    look_for_tools
    [ -z "$missing" ] || fail "$(missing_sentence)"
  fi
  printf '%s\n%s\n%s\n' "$(tools_signature)" "$cxx" "$python" >"$part/tools"
  mv "$part/tools" "$cache/tools"
}

# look_for_tools: sets cxx and python, and missing to the Debian packages of what is not there.
look_for_tools() {
  hash -r
  missing=
  have_elixir || missing="$missing elixir"
  have_erlang || missing="$missing erlang-dev erlang-tools"
  cxx=$(find_compiler) || missing="$missing g++-14"
  command -v cmake >/dev/null || missing="$missing cmake"
  command -v ninja >/dev/null || command -v make >/dev/null || missing="$missing ninja-build"
  python=$(find_python) || missing="$missing python3 python3-venv"
  if [ -n "$python" ] && ! have_pip; then missing="$missing python3-venv"; fi
  command -v cargo >/dev/null || command -v curl >/dev/null || missing="$missing curl ca-certificates"
  missing=${missing# }
}

have_elixir() {
  local version
  version=$(elixir --short-version 2>/dev/null) || return 1
  [ "${version%%.*}" -gt 1 ] || { version=${version#*.} && [ "${version%%.*}" -ge 18 ]; }
}

# OTP 26 or newer with the headers of the NIF interface and, for test coverage, the application tools.
have_erlang() {
  erl -noshell -eval '
    Release = list_to_integer(erlang:system_info(otp_release)),
    Erts = "erts-" ++ erlang:system_info(version),
    Header = fun(Folder) -> filelib:is_file(filename:join([code:root_dir(), Folder, "include", "erl_nif.h"])) end,
    Found = Release >= 26 andalso lists:any(Header, [Erts, "usr"]) andalso is_list(code:lib_dir(tools)),
    halt(case Found of true -> 0; false -> 1 end).' >/dev/null 2>&1
}

# find_compiler: prints the first compiler that builds a C++20 program with <format>; CXX is the only choice if set.
find_compiler() {
  local candidate
  printf '#include <format>\nint main() { return std::format("{}", 1).size() == 1 ? 0 : 1; }\n' >"$part/probe.cpp"
  for candidate in ${CXX:-$(compiler_names)}; do
    if have_compiler "$candidate" &&
      "$candidate" -std=c++20 "$part/probe.cpp" -o "$part/probe" 2>/dev/null && "$part/probe"; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Without Xcode's command line tools Apple's compilers are there, too, but all that they do is to ask for these in a window.
have_compiler() {
  command -v "$1" >/dev/null || return 1
  case $platform:$(command -v "$1") in macos*:/usr/bin/*) have_command_line_tools ;; esac
}

have_command_line_tools() { xcode-select -p >/dev/null 2>&1; }

# Apple's comes first: the headers of another clang can ask for functions that the libc++ of the system does not have. (A
# test names another one.)
compiler_names() {
  case $platform in
    macos*) echo "${apple_compiler:-/usr/bin/clang++}" clang++ c++ ;;
    *) echo g++-16 g++-15 g++-14 g++-13 g++ clang++-21 clang++-20 clang++-19 clang++-18 clang++-17 clang++ c++ ;;
  esac
}

find_python() {
  local candidate
  for candidate in python3 python3.14 python3.13 python3.12 python3.11 python3.10; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

have_pip() { "$python" -m pip --version >/dev/null 2>&1 || "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# pip_run ARGUMENT...: pip of the Python that was found or, where it has none, of a virtual environment of ours.
pip_run() {
  if "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m pip --disable-pip-version-check "$@"
  else
    [ -x "$cache/pip/bin/pip" ] || { rm -rf "$cache/pip" && "$python" -m venv "$cache/pip"; }
    "$cache/pip/bin/python" -m pip --disable-pip-version-check "$@"
  fi
}

install_tools() {
  [ "$install" = yes ] || fail "$(missing_sentence)"
  [ -z "${CXX:-}" ] || case " $missing " in *" g++-14 "*) fail "$(missing_sentence)" ;; esac
  { command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ]; } || fail "$(missing_sentence)"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q
  local suite=
  if ! apt_is_recent; then
    add_trixie
    suite='-t trixie'
  fi
  # shellcheck disable=SC2086
  apt-get install -y -q --no-install-recommends $suite $missing ||
    fail_download "apt-get could not install $missing, and said"
}

# Whether what is missing can be installed from the suites in use, in versions that will do.
apt_is_recent() {
  local package version
  for package in $missing; do
    version=$(apt-cache policy "$package" 2>/dev/null | awk '$1 == "Candidate:" { print $2 }')
    case $package:$version in
      *: | *:'(none)') return 1 ;;
      elixir:*) dpkg --compare-versions "$version" ge 1.18 || return 1 ;;
      erlang-*:*) dpkg --compare-versions "$version" ge 1:26 || return 1 ;;
    esac
  done
  # shellcheck disable=SC2086
  apt-get install -q --simulate --no-install-recommends $missing
}

# Debian's trixie, from the mirror that is in use, pinned so low that nothing comes from it unless asked for.
add_trixie() {
  local mirror
  [ "$(. /etc/os-release && echo "$ID")" = debian ] || fail "$(missing_sentence)"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | sed -n 1p)
  [ -n "$mirror" ] || fail "apt-get knows no Debian mirror from which $missing could be installed"
  if [ -z "$(apt-cache policy | sed -n '/n=trixie,/p')" ]; then
    printf 'Types: deb\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: %s\n' \
      "$mirror" /usr/share/keyrings/debian-archive-keyring.gpg >/etc/apt/sources.list.d/mlx-trixie.sources
    printf 'Package: *\nPin: release n=trixie\nPin-Priority: 100\n' >/etc/apt/preferences.d/mlx-trixie
    apt-get update -q
  fi
}

missing_sentence() {
  if [ -n "${CXX:-}" ] && [ -z "$cxx" ]; then
    echo "CXX=$CXX does not build C++20 programs that use <format>; g++ 13 or clang++ 17 and newer do"
    return
  fi
  case $platform in
    macos*) macos_sentence ;;
    *)
      if command -v apt-get >/dev/null; then
        echo "missing on this machine: $(with_releases "$missing"); run as root: $(apt_sentence)"
      else
        echo "missing on this machine (Debian's names): $(with_releases "$missing"); install that and run bin/setup again"
      fi
      ;;
  esac
}

# A compiler that is there and does not know <format> is Apple's of some years ago; what is installed already does not
# come anew with xcode-select --install.
macos_sentence() {
  local old=
  case " $missing " in
    *' g++-14 '*)
      if have_compiler clang++; then
        old="a newer Xcode (its command line tools) is needed, from Software Update or the App Store:"
        old="$old $(command -v clang++) does not build C++20 programs that use <format>"
        missing=$(echo " $missing " | sed -e 's/ g++-14 / /' -e 's/^ *//' -e 's/ *$//')
      fi
      ;;
  esac
  if [ -z "$missing" ]; then
    echo "$old"
  else
    echo "${old:+$old; and }missing on this machine: $(with_releases "$(macos_names)"); run: $(macos_commands)"
  fi
}

apt_sentence() {
  if apt_is_recent >/dev/null 2>&1; then
    echo "apt-get install $missing"
  else
    echo "bin/setup (on Debian it does apt-get install -t trixie $missing)"
  fi
}

# with_releases NAMES: the names as a list, with the releases that will do where not every one does.
with_releases() {
  echo "$1" | sed -e 's/ /, /g' -e 's/elixir/elixir (1.18 or newer)/' -e 's/erlang\(-dev\)\{0,1\}/& (OTP 26 or newer)/'
}

macos_names() {
  echo "$missing" | sed -e 's/erlang-dev erlang-tools/erlang/' -e 's/g++-14/clang++/' -e 's/ninja-build/ninja/' \
    -e 's/ *python3-venv//'
}

macos_commands() {
  local formulae
  formulae=$(macos_names | sed -e 's/clang++//' -e 's/python3/python/' | tr -s ' ')
  formulae=${formulae# }
  case $missing in *g++-14*) printf 'xcode-select --install%s' "${formulae:+ && }" ;; esac
  [ -z "$formulae" ] || echo "brew install $formulae"
}
