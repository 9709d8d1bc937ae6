using QwixSharp.LiteRT.Tests.Export;
using QwixSharp.LiteRT.Tests.Runtime;
using QwixSharp.Providers;
using QwixSharp.Rules;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Tests.Integers;

/// <summary>Calibrates and converts models for devices, exports and runs the files, and compares codes.</summary>
internal static class OnDevice
{
    public static QuantizationRule[] Static(string weights = "int8", string activations = "int8") =>
        [new() { WeightQType = weights, ActQType = activations, ActStaticScale = true, ActCalibrationMethod = activations == "int16" ? "absmax" : "minmax" }];

    /// <summary>The conversion model of a model that has seen some inputs. It takes its statistics from the other, which is to live as long.</summary>
    public static (nn.Module Converted, IDisposable Training) Convert(nn.Module model, IReadOnlyList<Tensor[]> batches, QuantizationRule[] rules)
    {
        model.eval();
        var training = Quantize(model, new OdmlQatProvider(rules), batches[0]);
        training.train();
        // Batch statistics stay as they are.
        foreach (var norm in model.modules().OfType<TorchSharp.Modules.BatchNorm2d>())
            norm.eval();
        foreach (var batch in batches)
            Exported.Call(training, batch).Single().Dispose();
        training.eval();
        return (Quantize(model, new OdmlConversionProvider(rules, model.state_dict(), ((IQuantizedModel)training).QuantStats), batches[0]), training);
    }

    /// <summary>The same for models of one input.</summary>
    public static (nn.Module Converted, IDisposable Training) Convert(nn.Module<Tensor, Tensor> model, IEnumerable<Tensor> batches, QuantizationRule[] rules) =>
        Convert(model, [.. batches.Select(b => new[] { b })], rules);

    /// <summary>Outputs of the file are within one code of the conversion model's, and nearly all equal, for models of one input.</summary>
    public static LiteRtModel Check(LiteRtRuntime runtime, nn.Module<Tensor, Tensor> model, Tensor[] batches, QuantizationRule[] rules, LiteRtOptions? options = null) =>
        Check(runtime, model, [.. batches.Select(b => new[] { b })], rules, options);

    /// <summary>Outputs of the file are within one code of the conversion model's, and nearly all equal.</summary>
    /// <param name="runtime">What runs the file.</param>
    /// <param name="model">The model.</param>
    /// <param name="batches">Its inputs, for calibration and to compare.</param>
    /// <param name="rules">How it is quantized.</param>
    /// <param name="options">How it is exported.</param>
    /// <param name="equal">The share that is to be equal.</param>
    public static LiteRtModel Check(LiteRtRuntime runtime, nn.Module model, IReadOnlyList<Tensor[]> batches, QuantizationRule[] rules, LiteRtOptions? options = null, double equal = 0.99)
    {
        using var scope = NewDisposeScope();
        var (converted, training) = Convert(model, batches, rules);
        using var both = training;
        using var owned = converted;
        var path = Path.Combine(Path.GetTempPath(), $"qwixsharp-{Guid.NewGuid():N}.tflite");
        try
        {
            var written = LiteRtConverter.Convert(converted, batches[0], options ?? new LiteRtOptions());
            written.Export(path);
            var file = written.Inspect();
            var graph = file.Subgraphs[0];
            var output = graph.Tensors[graph.Outputs[0]];
            var expected = stack([.. batches.Select(b => Exported.Call(converted, b).Single())]);
            var (newer, older) = runtime.RunInBoth(path, [.. batches.Select(b => b.Select((t, i) => Codes(t, graph.Tensors[graph.Inputs[i]])).ToArray())]);
            void CompareAll(RunOutput[][] results, Bar bar)
            {
                using var result = stack([.. results.Select(r => r[0].ToTensor())]);
                if (output.Quantization is null)
                    Exported.Compare(expected, result, 1e-5);
                else
                    Compare(expected, result, output, file, bar);
            }

            CompareAll(newer, new Bar(Equal: equal));
            SecondOpinion.Check(file, older, (results, bar) => CompareAll(results, bar with { Equal = Math.Min(bar.Equal, equal) }));
            return file;
        }
        finally
        {
            File.Delete(path);
        }
    }

    /// <summary>A tensor as a file's tensor takes it.</summary>
    public static Tensor Codes(Tensor values, LiteRtTensor tensor)
    {
        if (tensor.Quantization is not { } quantization)
            return values.alias();
        var (scale, zeroPoint) = (quantization.Scales[0], quantization.ZeroPoints[0]);
        // As QUANTIZE does: for int16 it divides in double precision and rounds ties away from zero, for int8 it multiplies by the reciprocal and rounds them to even.
        var steps = values.to(ScalarType.Float64) / (double)scale;
        return tensor.Type == LiteRtType.Int16
            ? (steps.sign() * (steps.abs() + 0.5).floor()).clamp(-32768, 32767).to(ScalarType.Int16)
            : ((values * (1 / scale)).round() + zeroPoint).clamp(-128, 127).to(ScalarType.Int8);
    }

    /// <summary>Outputs of a file are within one code of a model's, and nearly all equal.</summary>
    public static void Compare(Tensor expected, Tensor actual, LiteRtTensor output, LiteRtModel file, Bar? bar = null)
    {
        bar ??= new Bar();
        using var scope = NewDisposeScope();
        var codes = Codes(expected, output);
        Assert.Equal(codes.shape, actual.shape);
        Assert.Equal(codes.dtype, actual.dtype);
        if (!bar.Clipped)
        {
            var inside = codes.gt(output.Type == LiteRtType.Int16 ? -32768 : -128).logical_and(codes.lt(output.Type == LiteRtType.Int16 ? 32767 : 127));
            (codes, actual) = (codes[inside], actual[inside]);
        }

        double largest = (codes.to(ScalarType.Float64) - actual.to(ScalarType.Float64)).abs().max().item<double>();
        double share = codes.eq(actual).to(ScalarType.Float64).mean().item<double>();
        var found = $"Of {codes.NumberOfElements} outputs {share:P2} equal, largest difference {largest} codes.";
        TestContext.Current.TestOutputHelper?.WriteLine(found);
        Assert.True(largest <= bar.Codes && share >= bar.Equal, $"{found}\n{file}");
    }

    private static nn.Module Quantize(nn.Module model, ModelProvider provider, Tensor[] inputs) => model switch
    {
        nn.Module<Tensor, Tensor> one => Qwix.QuantizeModel(one, provider, inputs[0]),
        nn.Module<Tensor, Tensor, Tensor> two => Qwix.QuantizeModel(two, provider, inputs[0], inputs[1]),
        nn.Module<Tensor, Tensor, Tensor, Tensor> three => Qwix.QuantizeModel(three, provider, inputs[0], inputs[1], inputs[2]),
        _ => throw new NotSupportedException(model.GetType().ToString()),
    };
}
