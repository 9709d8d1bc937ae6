using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Gguf;
using static TorchSharp.torch;

namespace QwixSharp.Samples.Chat;

/// <summary>Writes a quantized model as a GGUF file that llama.cpp runs: its weights stay as they were quantized.</summary>
public static class GgufExport
{
    /// <summary>Writes a file.</summary>
    /// <param name="path">The file to write.</param>
    /// <param name="source">The file that the model came from: gives the metadata.</param>
    /// <param name="model">The floating-point model: gives what is not quantized, as float32.</param>
    /// <param name="weights">The quantized weights by the paths of their parameters; int8 and int4 with tiles of a multiple of 32 can be written.</param>
    /// <exception cref="ArgumentException">A weight is of another type; the message names it.</exception>
    public static void Write(string path, GgufCheckpoint source, Llama model, IReadOnlyDictionary<string, QArray> weights)
    {
        using var noGrad = no_grad();
        var names = new GgufMetadata(source);
        var parameters = model.named_parameters().ToDictionary(p => names.StoredName(p.name), p => (Path: p.name, Value: (Tensor)p.parameter));
        var announced = parameters.Select(p => (p.Key, weights.TryGetValue(p.Value.Path, out var array) ? TypeOf(p.Value.Path, array) : GgufTensorType.F32, p.Value.Value.shape));
        using var file = new GgufWriter(path, source.Values, announced);
        foreach (var (stored, (name, value)) in parameters)
        {
            using var scope = NewDisposeScope();
            if (weights.TryGetValue(name, out var array))
                file.Write(stored, GgufMetadata.IsTurned(stored) ? Turned(array, names.HeadSize) : array);
            else
                file.Write(stored, value);
        }

        file.Complete();
    }

    private static GgufTensorType TypeOf(string name, QArray array) => GgufWriter.TypeOf(array)
        ?? throw new ArgumentException($"The weight \"{name}\" is {array}, which blocks of GGUF cannot hold. Use int8 or int4 without zero points, and tiles of a multiple of 32.");

    /// <summary>The rows in llama.cpp's order: neighbouring features of a head turn together, not its two halves.</summary>
    private static QArray Turned(QArray array, int headSize)
    {
        long[] shape = array.Shape.ToArray();
        return array.Reshape(shape[0] / headSize, 2, headSize / 2, shape[1]).SwapAxes(1, 2).Reshape(shape);
    }
}
