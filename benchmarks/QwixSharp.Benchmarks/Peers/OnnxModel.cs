using Microsoft.ML.OnnxRuntime;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>A whole model in ONNX Runtime with inputs that stay the same.</summary>
internal sealed class OnnxModel : IDisposable
{
    private static readonly string[] OutputNames = ["result"];

    private readonly InferenceSession _session;
    private readonly RunOptions _options = new();
    private readonly string[] _names;
    private readonly OrtValue[] _inputs;

    /// <summary>Loads a model.</summary>
    /// <param name="model">Its bytes.</param>
    /// <param name="threads">Its threads.</param>
    /// <param name="inputs">Its inputs by name, float32 or int64.</param>
    public OnnxModel(byte[] model, int threads, params (string Name, Tensor Value)[] inputs)
    {
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        options.AddSessionConfigEntry("session.force_spinning_stop", "1");
        _session = new InferenceSession(model, options);
        _names = [.. inputs.Select(i => i.Name)];
        _inputs = [.. inputs.Select(i => i.Value.dtype == ScalarType.Int64
            ? OrtValue.CreateTensorValueFromMemory(i.Value.data<long>().ToArray(), i.Value.shape)
            : OrtValue.CreateTensorValueFromMemory(i.Value.data<float>().ToArray(), i.Value.shape))];
    }

    public void Run() => _session.Run(_options, _names, _inputs, OutputNames).Dispose();

    /// <summary>Runs it once.</summary>
    /// <returns>The result.</returns>
    public Tensor Result()
    {
        using var results = _session.Run(_options, _names, _inputs, OutputNames);
        return tensor(results[0].GetTensorDataAsSpan<float>().ToArray(), results[0].GetTensorTypeAndShape().Shape);
    }

    public void Dispose()
    {
        foreach (var value in _inputs)
            value.Dispose();
        _session.Dispose();
        _options.Dispose();
    }
}
