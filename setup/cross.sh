# What building for other platforms has in common.
# shellcheck shell=bash

# same_files FROM TO: makes the files of TO those of FROM. What is the same stays as it is, so that it is not compiled again.
same_files() {
  local file
  mkdir -p "$2"
  (cd "$1" && find . -type f) | while IFS= read -r file; do
    cmp -s "$1/$file" "$2/$file" || { mkdir -p "$2/$(dirname "$file")" && cp "$1/$file" "$2/$file"; }
  done
  (cd "$2" && find . -type f) | while IFS= read -r file; do
    [ -f "$1/$file" ] || rm "$2/$file"
  done
}

erts_headers() {
  erl -noshell -eval '
    Folders = [filename:join([code:root_dir(), Folder, "include"])
               || Folder <- ["erts-" ++ erlang:system_info(version), "usr"]],
    [First | _] = [Folder || Folder <- Folders, filelib:is_file(filename:join(Folder, "erl_nif.h"))],
    io:put_chars(First),
    halt().'
}
