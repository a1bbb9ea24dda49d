defmodule Mlx.LM.Families do
  @moduledoc """
  The types of models that can be loaded: what `model_type` of a `config.json` means.

  A type of your own is a module (`Mlx.LM.Family`), given with the option `:families` of `Mlx.LM.load/2`, or in the
  configuration:

      config :mlx, families: %{"my_type" => MyFamily}

  Of a model for pictures or sounds too, the part for text is loaded.
  """

  use Mlx.Arguments.Mismatch

  alias Mlx.Arguments.{Given, Options}
  alias Mlx.LM.Families
  alias Mlx.LM.Families.Fields

  @families %{
    "Klear" => Families.Klear,
    "afmoe" => Families.AFMoE,
    "afm7" => Families.AFM7,
    "apertus" => Families.Apertus,
    "baichuan_m1" => Families.BaichuanM1,
    "bailing_hybrid" => Families.BailingHybrid,
    "bailing_moe" => Families.BailingMoE,
    "bailing_moe_linear" => Families.BailingMoELinear,
    "bailing_moe_v3" => Families.BailingMoEV3,
    "bitnet" => Families.BitNet,
    "cohere" => Families.Cohere,
    "cohere2" => Families.Cohere2,
    "dbrx" => Families.DBRX,
    "deepseek" => Families.Deepseek,
    "deepseek_v2" => Families.DeepseekV2,
    "deepseek_v3" => Families.DeepseekV3,
    "deepseek_v32" => Families.DeepseekV32,
    "deepseek_v4" => Families.DeepseekV4,
    "deepseek_v41" => Families.DeepseekV41,
    "dots1" => Families.Dots1,
    "ernie4_5" => Families.Ernie45,
    "ernie4_5_moe" => Families.Ernie45MoE,
    "exaone" => Families.Exaone,
    "exaone4" => Families.Exaone4,
    "exaone_moe" => Families.ExaoneMoE,
    "falcon_h1" => Families.FalconH1,
    "falcon_mamba" => Families.Mamba,
    "gear" => Families.Gear,
    "gemma" => Families.Gemma,
    "gemma2" => Families.Gemma2,
    "gemma3" => Families.Gemma3,
    "gemma3_text" => Families.Gemma3,
    "gemma3n_text" => Families.Gemma3n,
    "gemma4_text" => Families.Gemma4,
    "gemma4_unified_text" => Families.Gemma4,
    "glm" => Families.GLM,
    "glm4" => Families.GLM4,
    "glm4_moe" => Families.GLM4MoE,
    "glm4_moe_lite" => Families.GLM4MoELite,
    "glm_moe_dsa" => Families.GLMMoEDSA,
    "gpt2" => Families.GPT2,
    "gpt_bigcode" => Families.GPTBigCode,
    "gpt_neox" => Families.GPTNeoX,
    "gpt_oss" => Families.GptOss,
    "gptj" => Families.GPTJ,
    "granite" => Families.Granite,
    "granitemoe" => Families.GraniteMoE,
    "granitemoehybrid" => Families.GraniteMoEHybrid,
    "helium" => Families.Helium,
    "hunyuan" => Families.Hunyuan,
    "hunyuan_v1_dense" => Families.HunyuanV1Dense,
    "internlm2" => Families.InternLM2,
    "internlm3" => Families.InternLM3,
    "iquestcoder" => Families.Llama,
    "iquestloopcoder" => Families.IQuestLoopCoder,
    "jamba" => Families.Jamba,
    "joyai_llm_flash" => Families.DeepseekV3,
    "kimi_k2" => Families.DeepseekV3,
    "kimi_k3" => Families.KimiK3,
    "kimi_linear" => Families.KimiLinear,
    "laguna" => Families.Laguna,
    "lfm2" => Families.LFM2,
    "lfm2_moe" => Families.LFM2MoE,
    "lille-130m" => Families.Lille,
    "llama" => Families.Llama,
    "llama4" => Families.Llama4,
    "llama4_text" => Families.Llama4Text,
    "longcat_flash" => Families.LongcatFlash,
    "longcat_flash_ngram" => Families.LongcatFlashNgram,
    "mamba" => Families.Mamba,
    "mamba2" => Families.Mamba2,
    "mellum" => Families.Mellum,
    "mimo" => Families.MiMo,
    "mimo_v2_flash" => Families.MiMoV2Flash,
    "minicpm" => Families.MiniCPM,
    "minicpm3" => Families.MiniCPM3,
    "minimax" => Families.MiniMax,
    "minimax_m2" => Families.MiniMax,
    "minimax_m3" => Families.MiniMaxM3,
    "ministral3" => Families.Ministral3,
    "mistral" => Families.Llama,
    "mistral4" => Families.Mistral4,
    "mixtral" => Families.Mixtral,
    "muse_glimmer" => Families.MuseGlimmer,
    "muse_spark" => Families.MuseSpark,
    "nanbeige" => Families.Nanbeige,
    "nanochat" => Families.NanoChat,
    "nemotron" => Families.Nemotron,
    "nemotron-nas" => Families.NemotronNAS,
    "nemotron_h" => Families.NemotronH,
    "olmo" => Families.Olmo,
    "olmo2" => Families.Olmo2,
    "olmo3" => Families.Olmo3,
    "olmo_hybrid" => Families.OlmoHybrid,
    "olmoe" => Families.OlmoE,
    "openelm" => Families.OpenELM,
    "phi" => Families.Phi,
    "phi-msft" => Families.Phixtral,
    "phi3" => Families.Phi3,
    "phi3small" => Families.Phi3Small,
    "phimoe" => Families.PhiMoE,
    "phixtral" => Families.Phixtral,
    "plamo" => Families.Plamo,
    "plamo2" => Families.Plamo2,
    "plamo3" => Families.Plamo3,
    "prism_hadamard_qwen35" => Families.PrismHadamardQwen35,
    "qwen" => Families.Qwen,
    "qwen2" => Families.Qwen2,
    "qwen2_moe" => Families.Qwen2MoE,
    "qwen3" => Families.Qwen3,
    "qwen3_5" => Families.Qwen35,
    "qwen3_5_moe" => Families.Qwen35,
    "qwen3_moe" => Families.Qwen3MoE,
    "qwen3_next" => Families.Qwen3Next,
    "recurrent_gemma" => Families.RecurrentGemma,
    "rwkv7" => Families.RWKV7,
    "seed_oss" => Families.SeedOss,
    "smollm3" => Families.SmolLM3,
    "solar_open" => Families.GLM4MoE,
    "spark2_5" => Families.Spark25,
    "stablelm" => Families.StableLM,
    "starcoder2" => Families.StarCoder2,
    "step3p5" => Families.Step3p5,
    "talkie" => Families.Talkie,
    "telechat3" => Families.Llama,
    "xverse" => Families.Llama,
    "youtu_llm" => Families.YoutuLLM
  }

  # Types of models whose text part is another type, which their files need not name.
  @wrappers %{
    "gemma3n" => "gemma3n_text",
    "gemma4" => "gemma4_text",
    "gemma4_unified" => "gemma4_text",
    "kimi_k25" => "deepseek_v3",
    "kimi_vl" => "deepseek_v3",
    "lfm2-vl" => "lfm2",
    "lfm2_vl" => "lfm2",
    "llava" => "llama",
    "minimax_m3_vl" => "minimax_m3",
    "mistral3" => "llama",
    "pixtral" => "llama",
    "qwen2_5_vl" => "qwen2",
    "qwen2_vl" => "qwen2",
    "qwen3_vl" => "qwen3",
    "qwen3_vl_moe" => "qwen3_moe"
  }

  # The types that the text parts of those have.
  @text_types %{
    "minimax_m3_text" => "minimax_m3",
    "minimax_m3_vl_text" => "minimax_m3",
    "qwen2_5_vl_text" => "qwen2",
    "qwen2_vl_text" => "qwen2",
    "qwen3_vl_text" => "qwen3",
    "qwen3_vl_moe_text" => "qwen3_moe"
  }

  # What stands in front of names in files of `mlx-lm`, and in place of `model.`: in those of models that have parts beside
  # the one for text, in others, and in those of types that are none of both.
  @inside {"language_model.", "language_model.model."}
  @outside {"", "model."}
  @places %{
    "deepseek_v41" => @outside,
    "gemma3n" => {"", "model.language_model."},
    "kimi_k3" => @inside,
    "muse_glimmer" => @outside,
    "muse_spark" => {"", "model.language_model."},
    "prism_hadamard_qwen35" => @inside,
    "qwen3_5" => @inside,
    "qwen3_5_moe" => @inside
  }

  @doc """
  All types, in order.

      iex> "qwen3" in Mlx.LM.Families.types()
      true
  """
  @spec types() :: [String.t()]
  def types, do: Enum.sort(Map.keys(known(%{})) ++ Map.keys(@wrappers))

  @doc """
  The family of a configuration, and the fields that it reads: those of the part for text.

  Options:

    * `:families` - a map of types and modules, which count before others

  Examples:

      iex> {module, fields} = Mlx.LM.Families.find(Mlx.LM.Families.Fields.new(%{"model_type" => "qwen3"}))
      iex> {module.names(), fields.map}
      {[], %{"model_type" => "qwen3"}}

  Raises `Mlx.Error` for a type that is not known.
  """
  @spec find(Fields.t(), keyword()) :: {module(), Fields.t()}
  def find(fields, options \\ [])

  def find(%Fields{} = fields, options) do
    [own] = Options.without_stream(options, :"LM.Families.find", families: %{})

    if not is_map(own) or is_struct(own) do
      raise ArgumentError,
            "Mlx.LM.Families.find: expected :families to be a map of types and modules, got: #{Given.text(own)}"
    end

    known = known(own)
    type = Fields.text(fields, "model_type")
    text = text(fields)
    found = of_architecture(type, fields) || known[type] || known[text_type(type, text)]

    if is_atom(found) and found != nil and Code.ensure_loaded?(found) do
      {found, text}
    else
      Fields.refuse(fields, "model_type", "one of #{Enum.join(types(), ", ")}")
    end
  end

  @doc false
  # What stands in front of the names of the text part in `mlx-lm`, and in place of `model.`.
  @spec prefix(Fields.t()) :: {String.t(), String.t()}
  def prefix(%Fields{map: %{"model_type" => type} = map}) do
    inside? = is_map_key(@wrappers, type) or map["text_config"] != nil
    @places[type] || if(inside?, do: @inside, else: @outside)
  end

  # A type that means different models has a family for a name in `architectures`.
  defp of_architecture("bailing_hybrid", %Fields{map: %{"architectures" => names}}) do
    if "BailingMoeV3ForCausalLM" in List.wrap(names), do: Families.BailingMoEV3
  end

  defp of_architecture(_type, _fields), do: nil

  defp known(own), do: @families |> Map.merge(Map.new(Application.get_env(:mlx, :families, %{}))) |> Map.merge(own)

  # What the text part does not say stands beside it.
  defp text(fields) do
    case Fields.under(fields, "text_config") do
      nil -> fields
      text -> %{text | map: fields.map |> Map.delete("text_config") |> Map.merge(text.map)}
    end
  end

  defp text_type(type, text) do
    inner = Fields.text(text, "model_type", nil)

    if default = @wrappers[type],
      do: if(inner in [nil, "", type], do: default, else: Map.get(@text_types, inner, inner))
  end
end
