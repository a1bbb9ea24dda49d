defmodule Mlx.Native.LoadFailureTest do
  use ExUnit.Case, async: true

  alias Mlx.Native.LoadFailure

  @moduletag :tmp_dir

  # Texts of Linux and of macOS.
  @meanings [
    {"dlopen(x.so, 0x0002): tried: 'x.so' (mach-o file, but is an incompatible architecture (have 'arm64', need 'x86_64'))",
     "Erlang is made for another processor than the library"},
    {"/a/x.so: undefined symbol: _ZN3mlx4core3addEv",
     "the MLX that it finds is not the one that it was built for (MLX_DIR)"},
    {"dlopen(x.so, 0x0002): Symbol not found: __ZNSt3__18to_charsEPcS0_d",
     "or the system is older than the compiler's"},
    {"Library load-call unsuccessful (1).", "MLX could not start on this machine"},
    {"dlopen(x.so, 0x0002): Library not loaded: @rpath/libmlx.dylib\n  Reason: tried: '/a/libmlx.dylib' (no such file)",
     "when the native library was built, MLX was where it no longer is"}
  ]

  setup %{tmp_dir: folder} do
    File.write!(Path.join(folder, "mlx_nif.so"), "")
    %{library: Path.join(folder, "mlx_nif")}
  end

  test "what the system says is one line, with what it means", %{library: library} do
    for {text, meaning} <- @meanings do
      reason = LoadFailure.reason(to_charlist(text), library)
      assert String.starts_with?(reason, text |> String.split() |> Enum.join(" "))
      assert reason =~ meaning
      refute reason =~ "\n"
    end

    assert LoadFailure.reason(~c"bad  luck", library) == "bad luck"
  end

  test "where MLX was is known from the build", %{library: library, tmp_dir: folder} do
    File.write!(Path.join(folder, "libmlx_folder"), "/a/lib")
    text = ~c"Failed to load NIF library: 'libmlx.so: cannot open shared object file: No such file or directory'"

    assert LoadFailure.reason(text, library) =~
             "(when the native library was built, MLX was in /a/lib; `bin/setup` and then"
  end

  test "a precompiled library has MLX beside itself, and the rest is the system's", %{library: library, tmp_dir: folder} do
    File.mkdir_p!(Path.join(folder, "mlx/lib"))
    text = ~c"Failed to load NIF library: 'libmlx.so: cannot open shared object file: No such file or directory'"

    assert LoadFailure.reason(text, library) =~
             "(MLX belongs beside the library, into #{folder}/mlx/lib; `mix deps.compile"

    text = ~c"Failed to load NIF library: 'libcudart.so.13: cannot open shared object file: No such file or directory'"
    assert LoadFailure.reason(text, library) =~ "(this system lacks a library that MLX needs"
    text = ~c"/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.35' not found (required by /a/libmlx.so)"
    assert LoadFailure.reason(text, library) =~ "it needs glibc 2.35"
  end

  test "a library that is not there is said to be nowhere else", %{tmp_dir: folder} do
    missing = Path.join(folder, "missing")

    assert LoadFailure.reason(~c"any", missing) ==
             "the native library is not at #{missing}.so; `mix compile --force` builds it"
  end
end
