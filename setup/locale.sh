# shellcheck shell=bash

# use_utf8: sets a locale in which Elixir reads and writes UTF-8, unless the one in use is such. That without a language is
# not on every Mac, and the American one not on every Linux.
use_utf8() {
  case ${LC_ALL:-${LC_CTYPE:-${LANG:-}}} in *[Uu][Tt][Ff]*8*) return ;; esac
  case $(uname -s) in
    Darwin) export LC_ALL=en_US.UTF-8 ;;
    *) export LC_ALL=C.UTF-8 ;;
  esac
}
