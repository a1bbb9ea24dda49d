# ExDoc, which makes the documentation.
# shellcheck shell=bash disable=SC2034,SC2154

have_ex_doc() { elixir -e 'Code.ensure_loaded!(Mix.Tasks.Docs)' >/dev/null 2>&1; }

check_ex_doc() {
  command -v apt-get >/dev/null || fail "ExDoc is missing: Elixir has to find it among its libraries (see ERL_LIBS)"
  missing=elixir-ex-doc
  install_tools
  have_ex_doc || fail "ExDoc is not where Elixir finds it; Debian's package for its own Elixir is elixir-ex-doc"
}
