defmodule Mlx.Hub.Certificates do
  @moduledoc false
  # Whom to trust: the certificates of the system, or those of a file that a variable of the environment names.

  alias Mlx.Hub.Settings

  @variables ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "HEX_CACERTS_PATH"]

  @doc "The options of a connection."
  @spec options() :: keyword()
  def options do
    match = :public_key.pkix_verify_hostname_match_fun(:https)
    [verify: :verify_peer, depth: 10, log_level: :none, customize_hostname_check: [match_fun: match]] ++ trusted()
  end

  defp trusted do
    case Enum.find_value(@variables, &named/1) do
      nil -> [cacerts: of_system()]
      {name, path} -> of_file(name, path)
    end
  end

  defp named(name), do: with(path when path != nil <- Settings.variable(name), do: {name, path})

  defp of_file(name, path) do
    if File.regular?(path) do
      [cacertfile: to_charlist(path)]
    else
      raise ArgumentError, "the environment variable #{name} names no file of certificates: #{path}"
    end
  end

  defp of_system do
    :public_key.cacerts_get()
  rescue
    _none ->
      reraise Mlx.Error,
              [message: "this system has no certificates to trust; install them, or name a file by SSL_CERT_FILE"],
              __STACKTRACE__
  end
end
