defmodule ShellTest do
  use ExUnit.Case, async: true

  # Macs have bash 3.2 and BSD's tools, which nobody sees who works on Linux. So this is a list of what the scripts must not
  # use, and each entry has an example, so that a pattern which finds nothing is seen, too.

  @root Path.expand("..", __DIR__)

  @bash [
    {"associative arrays", ~r/\b(declare|local|typeset)\s+-\w*A/, "declare -A map"},
    {"global declarations", ~r/\b(declare|typeset)\s+-\w*g/, "declare -g name=1"},
    {"references to names", ~r/\b(declare|local|typeset)\s+-\w*n/, "local -n other=$1"},
    {"changes of case in a declaration", ~r/\b(declare|local|typeset)\s+-\w*[lu]/, "declare -l name"},
    {"changes of case in an expansion", ~r/\$\{[^}]*[A-Za-z0-9_\]](\^|,)/, "echo ${name,,}"},
    {"transformations", ~r/\$\{[^}]*@[A-Za-z]\}/, "echo ${name@Q}"},
    {"mapfile and readarray", ~r/\b(mapfile|readarray)\b/, "mapfile -t lines"},
    {"coprocesses", ~r/^\s*coproc\b/, "coproc cat"},
    {"&>>", ~r/&>>/, "command &>> log"},
    {"|&", ~r/\|&/, "command |& tee log"},
    {"wait -n", ~r/\bwait\s+-\w*[np]/, "wait -n"},
    {"times in printf", ~r/%\([^)]*\)T/, "printf '%(%s)T'"},
    {"negative lengths and indexes", ~r/\$\{\w+:[^-=?+}][^}]*:\s*-|\[-\d+\]/, "echo ${name:1:-1}"},
    {"-v and -R in tests", ~r/\[\s+(!\s+)?-[vR]\s/, "[[ -v name ]]"},
    {"descriptors in variables", ~r/\{\w+\}[<>]/, "exec {lock}>file"},
    {"fall-through in case", ~r/;;?&/, ";;&"},
    {"variables of newer releases", ~r/\bEPOCH(SECONDS|REALTIME)|\bSRANDOM\b|\bBASHPID\b/, "echo $EPOCHSECONDS"},
    {"options of newer releases", ~r/shopt.*\b(globstar|lastpipe|inherit_errexit)\b/, "shopt -s globstar"},
    {"read -N", ~r/\bread\s+-\w*N/, "read -N 1 key"},
    {"case inside $(), which 3.2 cannot read", ~r/\$\(\s*case\b/, "$(case x in x) ;; esac)"}
  ]

  @tools [
    {"sed -i", ~r/\bsed\b.*\s(-i|--in-place|-\w*i)\b/, "sed -i s/a/b/ file"},
    {"sed -r, -z, -s", ~r/\bsed\s+(-\w+\s+)*-\w*[rzs]\w*\b/, "sed -r s/a/b/"},
    {"GNU's escapes in sed", ~r/\bsed\b[^|]*\\[+?|wWsSbt<>]/, ~S(sed 's/a\+/b/')},
    {"grep -P", ~r/\bgrep\s+(-\w+\s+)*-\w*P/, "grep -oP a"},
    {"readlink -f, realpath", ~r/\breadlink\s+-\w*[fem]|\brealpath\b/, "readlink -f ."},
    {"date of GNU", ~r/\bdate\s+.*(-d\b|--date|%N|-I|-r\b)/, "date -d now"},
    {"stat", ~r/(^|[\s(|&;`])stat\s+-/, "stat -c %s file"},
    {"find of GNU", ~r/\bfind\b.*-(printf|regextype|readable|executable|newermt|mindepth\s*=|ls\b)/,
     "find . -printf %p"},
    {"find without a folder", ~r/\bfind\s+-/, "find -name a"},
    {"xargs of GNU", ~r/\bxargs\s+(-\w+\s+)*(-\w*[rd]\b|--)/, "xargs -r rm"},
    {"sort of GNU", ~r/\bsort\s+(-\w+\s+)*-\w*[VhRz]/, "sort -V"},
    {"head and tail of GNU", ~r/\b(head|tail)\s+(-[nc]\s*-|-[nc]\s*\+?\w*[kM]|--)/, "head -n -1"},
    {"long options of GNU's tools",
     ~r/\b(cp|mv|rm|ln|ls|cut|tr|wc|mkdir|touch|cat|chmod|tee|uniq|sort|sed|find|date|du|df|basename|dirname)\s+(-\w+\s+)*--\w/,
     "mkdir --parents a"},
    {"cp of GNU", ~r/\bcp\s+(-\w+\s+)*-\w*[dtTu]\b/, "cp -t folder file"},
    {"ln of GNU", ~r/\bln\s+(-\w+\s+)*-\w*[rtT]\b/, "ln -sr a b"},
    {"mktemp of GNU", ~r/\bmktemp\s+(.*-p|--|.*--suffix)/, "mktemp -p folder"},
    {"tac, nproc, seq of GNU, numfmt, setsid, shuf", ~r/\b(tac|nproc|numfmt|setsid|shuf|tsort|getopt)\b(?!=)/,
     "tac file"},
    {"timeout", ~r/(^|[\s(|&;])timeout\s/, "timeout 10 command"},
    {"sha256sum and other sums", ~r/\b(sha\d+sum|md5sum|b2sum)\b/, "sha256sum file"},
    {"flock", ~r/(^|[\s(|&;])flock\s+-/, "flock -n 9"},
    {"awk of GNU", ~r/\bgawk\b|\b(gensub|strftime|systime|asorti?|PROCINFO|IGNORECASE|BEGINFILE)\b/,
     "awk '{ gensub(a) }'"},
    {"echo -e and -n", ~r/\becho\s+-[en]/, "echo -e text"},
    {"/proc", ~r{/proc/}, "cat /proc/cpuinfo"},
    {"a locale that older Macs lack", ~r/C\.UTF-8/, "LC_ALL=C.UTF-8"},
    {"tar of GNU", ~r/\btar\s.*--(wildcards|transform|sort|owner|absolute)/, "tar --wildcards -x"},
    {"ls, ps and du of GNU", ~r/\b(ps\s+-\w*\s*--|du\s+-\w*b|ls\s+-\w*[vQ]\b)/, "du -sb folder"}
  ]

  # What is right nevertheless: where, and why.
  @exceptions [
    {"setup/cache.sh", ~r/command -v sha256sum/, "shasum where it is not there"},
    {"setup/cache.sh", ~r/flock -n 9/, "perl where it is not there"},
    {"bin/fresh_install", ~r/binfmt_misc/, "Linux only"},
    {"bin/fresh_install", ~r/chroot "\$folder" .* LC_ALL=C\.UTF-8/, "in Debian"},
    {"setup/locale.sh", ~r/\*\) export LC_ALL=C\.UTF-8/, "not on a Mac"},
    {"bin/sanitize", ~r/timeout --kill-after/, "runs on Linux only"}
  ]

  defp scripts do
    named =
      for pattern <- ["bin/*", ".ci/*", "bench/*"],
          path <- Path.wildcard(Path.join(@root, pattern), match_dot: true),
          do: path

    parts = Path.wildcard(Path.join(@root, "setup/*.sh")) ++ Path.wildcard(Path.join(@root, "setup/{mac,linux}/*"))
    for path <- named ++ parts, File.regular?(path), shell?(path), do: Path.relative_to(path, @root)
  end

  defp shell?(path), do: Path.extname(path) == ".sh" or File.read!(path) =~ ~r{\A#!(/usr/bin/env bash|/bin/sh)\n}

  # The lines of a script with their numbers, without comments.
  defp lines(script) do
    for {line, number} <- @root |> Path.join(script) |> File.stream!() |> Enum.with_index(1),
        not (line =~ ~r/^\s*#/),
        do: {String.replace(line, ~r/\s#\s.*/, ""), number}
  end

  defp excepted?(script, line),
    do: Enum.any?(@exceptions, fn {where, what, _why} -> where == script and line =~ what end)

  test "the scripts are found" do
    for script <- ~w(bin/setup bin/test bin/cross_mac .ci/run setup/cache.sh setup/mac/c++ bench/generate) do
      assert script in scripts()
    end
  end

  test "scripts use nothing that bash 3.2 and BSD's tools lack" do
    found =
      for script <- scripts(),
          {line, number} <- lines(script),
          {name, pattern, _example} <- @bash ++ @tools,
          line =~ pattern,
          not excepted?(script, line),
          do: "#{script}:#{number}: #{name}: #{String.trim(line)}"

    assert found == []
  end

  test "each entry of the list finds its example" do
    for {name, pattern, example} <- @bash ++ @tools, do: assert(example =~ pattern, name)
  end

  test "exceptions are of use" do
    for {script, pattern, _why} <- @exceptions,
        do: assert(Enum.any?(lines(script), fn {line, _number} -> line =~ pattern end))
  end

  # With `set -u` bash 3.2 takes an empty array for a variable that is not set.
  test "arrays that are empty at first are expanded with +" do
    assert unguarded("list=()\ncommand \"${list[@]}\"") == ["list"]
    assert unguarded(~S'list=() && command ${list[@]+"${list[@]}"}') == []
    for script <- scripts(), do: assert({script, unguarded(File.read!(Path.join(@root, script)))} == {script, []})
  end

  defp unguarded(text) do
    for [name] <- Regex.scan(~r/\b(\w+)=\(\)/, text, capture: :all_but_first),
        guarded = "${#{name}[@]+\"${#{name}[@]}\"}",
        text |> String.replace(guarded, "") |> String.contains?("${#{name}[@]"),
        do: name
  end

  test "all scripts can be read by bash, and by the one of MLX_TEST_BASH" do
    for script <- scripts() do
      assert {"", 0} =
               System.cmd(System.get_env("MLX_TEST_BASH", "bash"), ["-n", Path.join(@root, script)],
                 stderr_to_stdout: true
               )
    end
  end
end
