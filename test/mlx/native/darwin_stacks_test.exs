defmodule Mlx.Native.DarwinStacksTest do
  # Deep functions and graphs on threads as Darwin gives them: with stacks of 512 KiB, and none of the size that was asked for
  # where that is no multiple of 16 KiB. bin/darwin_stacks runs whole test files so.
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, DarwinStacks}

  if reason = DarwinStacks.missing(), do: @moduletag(skip: reason)
  @moduletag timeout: 300_000
  @timeout 240_000

  setup_all do
    if DarwinStacks.missing() do
      :ok
    else
      folder = Path.join(System.tmp_dir!(), "mlx_darwin_stacks_#{System.pid()}")
      File.mkdir_p!(folder)
      on_exit(fn -> File.rm_rf!(folder) end)
      %{folder: folder, library: DarwinStacks.compile!(folder)}
    end
  end

  # A program that passes for the virtual machine by its name, and one that does not, with a library of their own.
  @asks """
  #include <pthread.h>
  #include <stdio.h>
  void ask(void) {
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    for (size_t kib = 1024; kib <= 1040; kib += 4) {
      printf("%d ", pthread_attr_setstacksize(&attributes, kib << 10) == 0);
    }
  }
  """

  @program """
  #define _GNU_SOURCE
  #include <pthread.h>
  #include <stdio.h>
  void ask(void);
  static void *tell(void *none) {
    pthread_attr_t attributes;
    size_t size = 0;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstacksize(&attributes, &size);
    printf("%d\\n", size <= (512 << 10));
    return none;
  }
  int main(void) {
    pthread_t thread;
    ask();
    pthread_create(&thread, NULL, tell, NULL);
    return pthread_join(thread, NULL);
  }
  """

  test "the threads are as Darwin's, and other programs' are not", %{folder: folder, library: library} do
    asks = compile!(folder, "asks.so", @asks, ["-shared", "-fPIC"])
    machine = compile!(folder, "beam.control", @program, [asks])
    other = compile!(folder, "control", @program, [asks])
    env = [{"LD_PRELOAD", library}]
    assert {"1 0 0 0 1 1\n", 0} = System.cmd("sh", ["-c", "exec #{machine} 2>/dev/null"], env: env)
    assert {"1 1 1 1 1 0\n", 0} = System.cmd(other, [], env: env)
    assert {"1 1 1 1 1 0\n", 0} = System.cmd(machine, [])
  end

  defp compile!(folder, name, source, arguments) do
    file = Path.join(folder, "#{name}.c")
    path = Path.join(folder, name)
    File.write!(file, source)
    assert {_, 0} = System.cmd("cc", [file, "-o", path, "-lpthread"] ++ arguments, stderr_to_stdout: true)
    path
  end

  # What each gives in a virtual machine of its own. `chain.(n)` is a function of 2 x n operations that adds n.
  scenarios = [
    {"the gradient of a function of 2 x 4,000 operations",
     quote do
       {value, slope} = Mlx.value_and_grad(fn x -> Mlx.negate(chain.(4_000).(x)) end).(Mlx.array(2.0))
       {Mlx.to_number(value), Mlx.to_number(slope)}
     end, {-4_002.0, -1.0}},
    {"gradients of functions of all lengths",
     quote do
       for length <- 140..160, do: Mlx.to_number(Mlx.grad(chain.(length)).(Mlx.array(2.0)))
     end, List.duplicate(1.0, 21)},
    {"the gradient of a gradient",
     quote do
       square = fn x -> Mlx.square(chain.(1_000).(x)) end
       Mlx.to_number(Mlx.grad(Mlx.grad(square)).(Mlx.array(2.0)))
     end, 2.0},
    {"a product with the Jacobian of a long function",
     quote do
       {[value], [product]} = Mlx.jvp(fn x -> [chain.(20_000).(x)] end, [Mlx.array(2.0)], [Mlx.array(3.0)])
       {Mlx.to_number(value), Mlx.to_number(product)}
     end, {20_002.0, 3.0}},
    {"a long function mapped over an axis", quote(do: Mlx.to_list(Mlx.vmap(chain.(20_000)).(Mlx.array([1.0, 2.0])))),
     [20_001.0, 20_002.0]},
    {"a long compiled function",
     quote do
       compiled = Mlx.compile(chain.(4_000))
       for value <- [2.0, 3.0, 4.0], do: Mlx.to_number(compiled.(Mlx.array(value)))
     end, [4_002.0, 4_003.0, 4_004.0]},
    {"the gradient of a long function that is computed twice",
     quote(do: Mlx.to_number(Mlx.grad(Mlx.checkpoint(chain.(4_000))).(Mlx.array(2.0)))), 1.0},
    {"a long function in a file",
     quote do
       path = Path.join(System.tmp_dir!(), "mlx_stacks_#{System.pid()}.mlxfn")
       Mlx.export_function(path, chain.(4_000), [Mlx.array(2.0)])
       imported = Mlx.Unsafe.import_function(path)
       File.rm!(path)
       Enum.map(imported.([Mlx.array(2.0)]), &Mlx.to_number/1)
     end, [4_002.0]},
    {"a long graph in the language of dot",
     quote(do: Mlx.array(2.0) |> chain.(20_000).() |> Mlx.export_to_dot() |> byte_size() |> Kernel.>(100_000)), true},
    {"the evaluation of a graph of 100,000 operations", quote(do: Mlx.to_number(chain.(50_000).(Mlx.array(2.0)))),
     50_002.0},
    {"graphs of 100,000 operations that nobody wants",
     quote do
       for _ <- 1..4 do
         {_pid, monitor} = spawn_monitor(fn -> chain.(50_000).(Mlx.array(2.0)) end)

         receive do
           {:DOWN, ^monitor, :process, _, reason} -> reason
         end
       end
     end, List.duplicate(:normal, 4)}
  ]

  for {what, code, expected} <- scenarios do
    test what, %{library: library} do
      outcome = ChildVM.run(unquote(Macro.escape(code)) |> program(), env: [{"LD_PRELOAD", library}], timeout: @timeout)
      assert outcome == {:exit, 0, "#{inspect(unquote(Macro.escape(expected)), limit: :infinity)}\n"}
    end
  end

  defp program(code) do
    quote do
      "on" = System.get_env("DARWIN_STACKS")

      var!(chain) = fn length ->
        fn x -> Enum.reduce(1..length, x, fn _, x -> Mlx.multiply(Mlx.add(x, 1), 1) end) end
      end

      result = unquote(code)
      # What is dropped is freed by then.
      :erlang.garbage_collect()
      Process.sleep(200)
      3.0 = Mlx.to_number(Mlx.add(Mlx.array(1.0), 2))
      IO.puts(inspect(result, limit: :infinity))
    end
  end
end
