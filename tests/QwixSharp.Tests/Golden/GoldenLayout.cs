using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Golden;

/// <summary>Between the reference's layout (Flax: kernels [in, out] and HWIO, images NHWC) and PyTorch's.</summary>
internal static class GoldenLayout
{
    /// <summary>The path of a parameter here for its path there, both with dots.</summary>
    public static string Name(string flax)
    {
        int dot = flax.LastIndexOf('.');
        var (module, leaf) = (flax[..dot], flax[(dot + 1)..]);
        return module + "." + leaf switch
        {
            "kernel" or "scale" => "weight",
            "mean" => "running_mean",
            "var" => "running_var",
            _ => leaf,
        };
    }

    /// <summary>The order of PyTorch's axes in terms of Flax's, for a kernel of some rank.</summary>
    public static int[] KernelAxes(int rank) => rank switch { 2 => [1, 0], 3 => [2, 1, 0], 4 => [3, 2, 0, 1], 5 => [4, 3, 0, 1, 2], _ => [.. Enumerable.Range(0, rank)] };

    public static Tensor Kernel(Tensor flax) => flax.permute([.. KernelAxes((int)flax.dim()).Select(a => (long)a)]).contiguous();

    public static QArray Kernel(QArray flax) => flax.Transpose(KernelAxes(flax.Rank));

    /// <summary>An image batch or feature map in PyTorch's layout.</summary>
    public static Tensor Image(Tensor nhwc) => nhwc.dim() == 4 ? nhwc.permute(0, 3, 1, 2).contiguous() : nhwc;

    /// <summary>A scale of an activation: the axes of an image follow it.</summary>
    public static Tensor ActivationScale(Tensor scale) => scale.dim() == 4 ? scale.permute(0, 3, 1, 2).contiguous() : scale;

    /// <summary>A rule; one with settings of the backward pass is a <see cref="QtRule"/>.</summary>
    public static QuantizationRule Rule(JsonElement rule, bool forTraining = false)
    {
        var result = rule.TryGetProperty("rank", out var rank) ? new LoraRule { Rank = rank.GetInt32(), Alpha = rule.GetProperty("alpha").GetDouble() }
            : forTraining ? new QtRule()
            : new QuantizationRule();
        foreach (var setting in rule.EnumerateObject().SelectMany(s => s.Name == "additional_qt_config" ? s.Value.EnumerateObject() : Enumerable.Repeat(s, 1)))
        {
            var value = setting.Value;
            result = setting.Name switch
            {
                "module_path" => result with { ModulePath = value.GetString()!.Replace("/", @"\.") },
                "op_names" => result with { OpNames = [.. value.EnumerateArray().Select(e => e.GetString()!)] },
                "weight_qtype" => result with { WeightQType = value.GetString() },
                "act_qtype" => result with { ActQType = value.GetString() },
                "tile_size" => result with { TileSize = Tiling(value) },
                "act_static_scale" => result with { ActStaticScale = value.GetBoolean() },
                "weight_calibration_method" => result with { WeightCalibrationMethod = value.GetString()! },
                "act_calibration_method" => result with { ActCalibrationMethod = value.GetString() },
                "act_batch_axes" => result with { ActBatchAxes = [.. value.EnumerateArray().Select(e => e.GetInt32())] },
                "rank" or "alpha" => result,
                "dropout" => (LoraRule)result with { Dropout = value.GetDouble() },
                _ => TrainingSetting(result as QtRule, setting.Name, value) ?? throw new NotSupportedException($"Rule setting {setting.Name}."),
            };
        }

        return result;
    }

    private static QtRule? TrainingSetting(QtRule? rule, string name, JsonElement value) => name switch
    {
        _ when rule is null => null,
        "bwd_qtype" => rule with { BwdQType = value.GetString() },
        "bwd_calibration_method" => rule with { BwdCalibrationMethod = value.GetString()! },
        "bwd_weight_grad_tile_size" => rule with { BwdWeightGradTileSize = GoldenValue.Tile(value) },
        "disable_channelwise_axes" => rule with { DisableChannelwiseAxes = value.GetBoolean() },
        "disable_gradient_clipping" => rule with { DisableGradientClipping = value.GetBoolean() },
        "use_original_residuals" => rule with { UseOriginalResiduals = value.GetBoolean() },
        "dlhs_residual_qtype" => rule with { DlhsResidualQType = value.GetString() },
        "dlhs_residual_calibration_method" => rule with { DlhsResidualCalibrationMethod = value.GetString()! },
        "drhs_residual_qtype" => rule with { DrhsResidualQType = value.GetString() },
        "drhs_residual_calibration_method" => rule with { DrhsResidualCalibrationMethod = value.GetString()! },
        _ => null,
    };

    /// <summary>Axis numbers of a map mean a dense kernel, whose two axes are exchanged here.</summary>
    private static Tiling Tiling(JsonElement value) => value.ValueKind == JsonValueKind.Object
        ? GoldenValue.Tiles(value).ToDictionary(t => 1 - t.Key, t => t.Value)
        : GoldenValue.Tile(value);
}
