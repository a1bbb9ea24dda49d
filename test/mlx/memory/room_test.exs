defmodule Mlx.Memory.RoomTest do
  use ExUnit.Case, async: true

  alias Mlx.{ChildVM, Memory}
  alias Mlx.FileTree
  alias Mlx.Memory.Room

  @moduletag :tmp_dir

  # What Linux shows below /, of which a test needs some files only.
  defp room(root, files), do: root |> FileTree.write!(files) |> Room.bytes()

  test "there is no limit where nothing says so", %{tmp_dir: root} do
    assert Room.bytes(root) == nil
    assert room(root, %{"proc/self/cgroup" => "0::/\n", "sys/fs/cgroup/cgroup.controllers" => "memory\n"}) == nil

    limits =
      "Max data size             100    200   bytes\nMax address space         unlimited            unlimited  bytes\n"

    assert room(root, %{"proc/self/limits" => limits, "sys/fs/cgroup/memory.max" => "max\n"}) == nil
  end

  test "the groups of version 2 count from the outermost to the own, with both limits", %{tmp_dir: root} do
    files = %{
      "proc/self/cgroup" => "0::/machine/app.service\n",
      "sys/fs/cgroup/machine/app.service/memory.max" => "4000000000\n",
      "sys/fs/cgroup/machine/app.service/memory.high" => "max\n"
    }

    assert room(root, files) == 4_000_000_000
    assert room(root, %{"sys/fs/cgroup/machine/memory.max" => "3000000000\n"}) == 3_000_000_000
    assert room(root, %{"sys/fs/cgroup/memory.high" => "2000000000\n"}) == 2_000_000_000
    assert room(root, %{"sys/fs/cgroup/other/memory.max" => "1000\n"}) == 2_000_000_000
  end

  test "a container of version 2 sees its own group as the outermost", %{tmp_dir: root} do
    assert room(root, %{"proc/self/cgroup" => "0::/\n", "sys/fs/cgroup/memory.max" => "536870912\n"}) == 536_870_912
    assert room(root, %{"proc/self/cgroup" => "0::/../other\n"}) == 536_870_912
  end

  test "the groups of version 1 are those of the memory", %{tmp_dir: root} do
    files = %{
      "proc/self/cgroup" => "11:cpu,cpuacct:/cpu\n4:memory:/docker/1f\n1:name=systemd:/\n0::/\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes" => "9223372036854771712\n",
      "sys/fs/cgroup/memory/docker/memory.limit_in_bytes" => "3000000000\n",
      "sys/fs/cgroup/memory/docker/1f/memory.limit_in_bytes" => "2000000000\n",
      "sys/fs/cgroup/memory/cpu/memory.limit_in_bytes" => "1000\n"
    }

    assert room(root, files) == 2_000_000_000
  end

  test "a container of version 1 does not find the name that its group has outside", %{tmp_dir: root} do
    files = %{
      "proc/self/cgroup" => "4:hugetlb,memory:/docker/1f\n",
      "sys/fs/cgroup/memory/memory.limit_in_bytes" => "2000000000\n"
    }

    assert room(root, files) == 2_000_000_000
  end

  test "of `ulimit -v` counts what is left, where it is less", %{tmp_dir: root} do
    limits = """
    Limit                     Soft Limit           Hard Limit           Units
    Max data size             1000                 unlimited            bytes
    Max address space         5000000000           unlimited            bytes
    """

    files = %{"proc/self/limits" => limits, "proc/self/status" => "VmPeak:\t 9000 kB\nVmSize:\t 1000000 kB\n"}
    assert room(root, files) == 5_000_000_000 - 1_024_000_000
    files = %{"proc/self/cgroup" => "0::/\n", "sys/fs/cgroup/memory.max" => "8000000000\n"}
    assert room(root, files) == 3_976_000_000
    assert room(root, %{"proc/self/status" => "VmSize:\t 9000000 kB\n"}) == 0
  end

  if :os.type() == {:unix, :linux} do
    test "the limits of a virtual machine are lower where it gets less memory than there is" do
      code = quote(do: IO.inspect({Mlx.Memory.limit(), Mlx.Memory.array_limit(), Mlx.Memory.cache_limit()}))
      megabytes = 4_000
      assert {:exit, 0, output} = ChildVM.run(code, megabytes: megabytes)
      {{limit, array_limit, cache_limit}, _binding} = Code.eval_string(output)

      if Mlx.Device.count(:gpu) == 0 do
        assert limit < 0.8 * megabytes * 1024 * 1024
        assert limit > 0
        assert array_limit == limit
        assert cache_limit <= limit / 16
      else
        assert limit == Memory.limit()
      end
    end

    test "a new version of the library keeps the limits that were set" do
      code =
        quote do
          Mlx.Memory.set_limit(10_000_000_000)
          {:module, Mlx.Native} = :code.load_file(Mlx.Native)
          IO.inspect(Mlx.Memory.limit())
        end

      assert {:exit, 0, "10000000000\n"} = ChildVM.run(code, megabytes: 4_000)
    end
  end
end
