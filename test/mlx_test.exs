defmodule MlxTest do
  use ExUnit.Case, async: true

  doctest Mlx
end
