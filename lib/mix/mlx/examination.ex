defmodule Mix.Mlx.Examination do
  @moduledoc false
  # What `mix mlx.doctor` looks at. A check is a name, a function that returns what it found or raises, and what to do
  # when it raises.

  alias Mix.Mlx.LibraryFiles
  alias Mlx.{Device, Linalg, Native}
  alias Mlx.Transforms.{Compilation, KernelMaking}

  @type check :: {String.t(), (-> String.t()), String.t()}
  @type finding :: {String.t(), :ok, String.t()} | {String.t(), {:error, advice :: String.t()}, String.t()}

  @sources "setup/sources.txt"
  @external_resource @sources
  @pins for line <- File.stream!(@sources),
            [name, version | _] <- [String.split(line)],
            name in ["mlx-cpu", "mlx-c"],
            into: %{},
            do: {name, version}

  @platforms [~r/^x86_64.*linux/, ~r/^aarch64.*linux/, ~r/^aarch64-apple-darwin/, ~r/^arm.*-apple-darwin/]
  @rebuild "run `mix compile --force`, and as a dependency `mix deps.compile mlx --force`; from source, `bin/setup` before it"

  @doc "The checks, in the order in which one rests on the other."
  @spec checks() :: [check()]
  def checks do
    [
      {"platform", &platform/0, "use Linux (x86_64, aarch64) with glibc, or macOS 14 or newer on Apple Silicon"},
      {"Elixir", &elixir/0, "install Elixir 1.18 or newer"},
      {"Erlang/OTP", &otp/0, "install Erlang/OTP 26 or newer"},
      {"native library", &there/0, @rebuild},
      {"processor", &made_for/0, "use an Erlang for this machine's processor, and then " <> @rebuild},
      {"files of MLX", &mlx_files/0, @rebuild},
      {"quarantine", &quarantine/0, "run `xattr -dr com.apple.quarantine` on the folders of these files: #{priv()}"},
      {"NIF", &nif/0, @rebuild},
      {"MLX", &mlx/0, "unset MLX_DIR, or let it name MLX #{@pins["mlx-cpu"]}; then " <> @rebuild},
      {"mlx-c", fn -> @pins["mlx-c"] end, @rebuild},
      {"GPU", &gpu/0,
       "on a Mac log in at its screen, as ssh and virtual machines may have no Metal device; for CUDA install NVIDIA's driver " <>
         "for CUDA 13; or set MLX_BACKEND=cpu and " <> @rebuild},
      {"device", &device/0, "choose a device that is there with `Mlx.Device.set_default/1`"},
      {"late failures", &late_failures/0, "report it, with the versions above: this MLX keeps errors in another place"},
      {"operation", &operation/0, @rebuild},
      {"linear algebra", &linear_algebra/0, "MLX found no LAPACK: " <> @rebuild},
      {"compiled function", &compiled/0,
       "MLX makes kernels for the CPU with g++: install it, and let TMPDIR name a folder to write to, with room in it; or " <>
         "call `Mlx.disable_compile()` when the application starts, and what is given to `Mlx.compile/2` and to the " <>
         "compiler of Nx, `compiler: Mlx`, runs operation by operation"},
      {"Nx", &nx/0, "use Nx 0.13, and compile this library with it: `mix deps.get`, `mix compile --force`"}
    ]
  end

  @doc "Makes the checks. What several of them fail of is found once."
  @spec findings([check()]) :: [finding()]
  def findings(checks) do
    checks
    |> Enum.map(&finding/1)
    |> Enum.uniq_by(fn
      {_name, {:error, _advice}, text} -> text
      {name, :ok, _text} -> name
    end)
  end

  defp finding({name, check, advice}) do
    {name, :ok, check.()}
  rescue
    error -> {name, {:error, advice}, Exception.message(error)}
  end

  @doc "A finding as lines of text."
  @spec line(finding()) :: String.t()
  def line({name, :ok, text}), do: "ok     #{String.pad_trailing(name, 18)} #{text}"
  def line({name, {:error, advice}, text}), do: "wrong  #{String.pad_trailing(name, 18)} #{text}\n       -> #{advice}"

  @doc "A finding as JSON has it."
  @spec values(finding()) :: map()
  def values({name, :ok, text}), do: %{name: name, ok: true, text: text}
  def values({name, {:error, advice}, text}), do: %{name: name, ok: false, text: text, advice: advice}

  @doc "Whether nothing is wrong."
  @spec healthy?([finding()]) :: boolean()
  def healthy?(findings), do: Enum.all?(findings, &match?({_name, :ok, _text}, &1))

  defp platform do
    architecture = to_string(:erlang.system_info(:system_architecture))
    demand(Enum.any?(@platforms, &(architecture =~ &1)), "#{architecture} is not supported")
    architecture
  end

  defp elixir do
    demand(Version.match?(System.version(), ">= 1.18.0"), "#{System.version()} is too old")
    System.version()
  end

  defp otp do
    demand(String.to_integer(System.otp_release()) >= 26, "#{System.otp_release()} is too old")
    System.otp_release()
  end

  defp there, do: LibraryFiles.there!(priv())
  defp made_for, do: LibraryFiles.made_for!(priv(), to_string(:erlang.system_info(:system_architecture)))
  defp mlx_files, do: LibraryFiles.mlx!(priv())
  defp quarantine, do: LibraryFiles.quarantine!(priv())

  defp nif do
    Native.get_active_memory()
    priv()
  end

  defp priv do
    case :code.priv_dir(:mlx) do
      folder when is_list(folder) -> to_string(folder)
      {:error, :bad_name} -> "priv"
    end
  end

  defp gpu do
    case LibraryFiles.backend(priv()) do
      :cpu ->
        "not needed: this MLX is for the CPU"

      backend ->
        demand(Device.available?(:gpu), "this MLX is for #{backend}, and it finds no GPU")
        "there, for #{backend}"
    end
  end

  defp mlx do
    version = Native.version()
    demand(version == @pins["mlx-cpu"], "#{version}, where mlx-c needs #{@pins["mlx-cpu"]}")
    version
  end

  defp device do
    devices = for device <- [:cpu, :gpu], Device.available?(device), do: device
    default = Device.default()
    demand(default in devices, "the default, #{default}, is not there")
    "#{default} (of #{Enum.join(devices, ", ")})"
  end

  defp late_failures do
    demand(Native.sees_late_failures(), "a computation that fails on the device may give a wrong value unnoticed")
    "a process learns when the device fails to compute what it was given"
  end

  defp operation do
    a = Mlx.array([[1.0, 2.0], [3.0, 4.0]])
    demand(Mlx.to_list(Mlx.matmul(a, a)) == [[7.0, 10.0], [15.0, 22.0]], "the product of two matrices is wrong")
    "the product of two matrices is right"
  end

  defp linear_algebra do
    inverse = Linalg.invert(Mlx.array([[2.0, 0.0], [0.0, 4.0]]))
    demand(Mlx.to_list(inverse) == [[0.5, 0.0], [0.0, 0.25]], "the inverse of a matrix is wrong")
    "the inverse of a matrix is right"
  end

  defp compiled do
    if Compilation.disabled?(), do: "switched off by `Mlx.disable_compile/0`", else: fused()
  end

  # With a number that no kernel was made for before, so that one is made.
  defp fused do
    number = rem(System.os_time(:microsecond), 1_000_000)
    result = Mlx.compile(fn x -> x |> Mlx.multiply(2) |> Mlx.add(number) end).(Mlx.array([1.0]))
    fused = Mlx.export_to_dot(result) =~ "Compiled"
    demand(Mlx.to_list(result) == [2.0 + number], "the result is wrong")
    problem = if fused, do: KernelMaking.failure(), else: "MLX finds no C++ compiler"
    demand(problem == nil, "operations are not fused, so that compiled functions are slow: #{problem}")
    "operations are fused"
  end

  defp nx do
    if Code.ensure_loaded?(Nx), do: with_nx(), else: "not there; it is not needed"
  end

  defp with_nx do
    demand(Code.ensure_loaded?(Mlx.Backend), "this library was compiled without it")
    x = apply(Nx, :tensor, [[1.0, 2.0], [backend: Mlx.Backend]])
    demand(apply(Nx, :to_list, [apply(Nx, :add, [x, x])]) == [2.0, 4.0], "Mlx.Backend adds wrongly")
    # MLX makes kernels for the second call.
    for _ <- 1..2 do
      doubled = apply(Nx.Defn, :jit_apply, [&apply(Nx, :multiply, [&1, 2]), [x], [compiler: Mlx]])
      demand(apply(Nx, :to_list, [doubled]) == [2.0, 4.0], "the compiler Mlx multiplies wrongly")
    end

    "#{Application.spec(:nx, :vsn)}, with Mlx.Backend and the compiler Mlx"
  end

  defp demand(true, _problem), do: :ok
  defp demand(false, problem), do: raise(problem)
end
