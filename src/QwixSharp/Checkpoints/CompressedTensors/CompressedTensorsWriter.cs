using System.Text.Json;
using QwixSharp.Arrays;
using QwixSharp.Checkpoints.Layouts;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.CompressedTensors;

/// <summary>
/// Writes a folder in the layout of compressed-tensors, which vLLM serves: safetensors, and a <c>config.json</c> that says how
/// they are quantized. Tensors are declared beforehand and written in any order, from several threads.
/// </summary>
/// <remarks>
/// Integers go as <c>weight_packed</c> where only weights are quantized or codes have 4 bits, else as int8 <c>weight</c>; fp8 as
/// <c>weight</c>. Codes, scales and zero points stay as they are.
/// </remarks>
public sealed class CompressedTensorsWriter : IDisposable
{
    private readonly string _folder;
    private readonly JsonElement? _config;
    private readonly CompressedTensorsActivations? _activations;
    private readonly string[] _ignore;
    private readonly CompressedTensorsPlan _plan;
    private readonly Dictionary<string, CompressedTensorsTensor> _tensors;
    private readonly SafetensorsWriter _writer;

    /// <summary>Begins a folder.</summary>
    /// <param name="folder">The folder; made where there is none.</param>
    /// <param name="tensors">The tensors that will be written.</param>
    /// <param name="config">The model's <c>config.json</c>, to which the quantization is added; null where it has none.</param>
    /// <param name="activations">How inputs of the quantized modules are quantized when they are served; null for not at all.</param>
    /// <param name="ignore">
    /// The linear modules that are not quantized, which a server must know. Unless told: those of all plain weights with two axes
    /// whose name does not speak of an embedding.
    /// </param>
    /// <param name="maxShardSize">The bytes of tensors that a shard may have.</param>
    /// <exception cref="ArgumentException">A tensor cannot be quantized so in this layout, or two have one name.</exception>
    /// <exception cref="CheckpointException">The folder cannot be written to, or lacks the room.</exception>
    public CompressedTensorsWriter(
        string folder,
        IEnumerable<CompressedTensorsTensor> tensors,
        JsonElement? config = null,
        CompressedTensorsActivations? activations = null,
        IEnumerable<string>? ignore = null,
        long maxShardSize = SafetensorsWriter.DefaultShardSize)
    {
        ArgumentException.ThrowIfNullOrEmpty(folder);
        ArgumentNullException.ThrowIfNull(tensors);
        CompressedTensorsTensor[] declared = [.. tensors];
        if (Array.Find(declared, t => t.Quantization is not null && !CompressedTensorsTensor.CanHold(t.Name, t.Shape, t.Quantization)) is { } unfit)
            throw new ArgumentException($"The tensor {CheckpointException.Quote(unfit.Name)} [{string.Join(", ", unfit.Shape)}] in {unfit.Quantization!.QType} has no form in compressed-tensors, which holds weights [out, in] in int4, int8 and fp8. Dequantize it.", nameof(tensors));
        _folder = folder;
        _config = config;
        _activations = activations;
        _ignore = [.. ignore ?? declared.Where(IsLinear).Select(t => t.Module)];
        _plan = new CompressedTensorsPlan(declared.Where(t => t.Quantization is not null));
        _tensors = declared.DistinctBy(t => t.Name).ToDictionary(t => t.Name, StringComparer.Ordinal);
        _writer = SafetensorsWriter.CreateFolder(folder, declared.SelectMany(EntriesOf), new Dictionary<string, string> { ["format"] = "pt" }, maxShardSize);
    }

    /// <summary>Writes a plain tensor.</summary>
    /// <param name="name">Its name, as declared.</param>
    /// <param name="tensor">Its values, of the declared shape and dtype.</param>
    /// <exception cref="ArgumentException">It was not declared so.</exception>
    /// <exception cref="CheckpointException">It cannot be written.</exception>
    public void Write(string name, Tensor tensor) => _writer.Write(name, tensor);

    /// <summary>Writes a quantized weight.</summary>
    /// <param name="name">Its name, as declared.</param>
    /// <param name="array">The array, quantized as declared.</param>
    /// <exception cref="ArgumentException">It was not declared so.</exception>
    /// <exception cref="CheckpointException">It cannot be written.</exception>
    public void Write(string name, QArray array)
    {
        ArgumentNullException.ThrowIfNull(array);
        var declared = Declared(name);
        if (declared.Quantization is not { } quantization || array.QType != quantization.QType || !array.Shape.SequenceEqual([.. declared.Shape])
            || !array.ScaleShape.SequenceEqual([.. quantization.ScaleShape]) || array.ZeroPoint is not null != quantization.HasZeroPoint)
        {
            throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} was declared as {declared}, but {array} was given.", nameof(array));
        }

        using var scope = NewDisposeScope();
        bool isPacked = IsPacked(declared);
        WritePart(declared, isPacked ? "weight_packed" : "weight", isPacked ? PackedWords.FromCodes(array.Codes.cpu(), array.QType, array.Shape[1]) : array.Codes);
        WritePart(declared, "weight_scale", array.Scale.reshape(ScaleShape(declared)));
        if (isPacked)
            WritePart(declared, "weight_shape", tensor(array.Shape.ToArray()));
        if (array.ZeroPoint is { } zeroPoint)
            WritePart(declared, "weight_zero_point", isPacked ? PackZeroPoint(zeroPoint.cpu(), array.QType) : zeroPoint.reshape(ScaleShape(declared)));
    }

    /// <summary>Writes the fixed scale of a quantized module's input, where activations are static.</summary>
    /// <param name="name">The name of the module's weight, as declared.</param>
    /// <param name="scale">What a code of the input stands for.</param>
    /// <exception cref="ArgumentException">No such weight was declared as quantized, or activations are not static.</exception>
    /// <exception cref="CheckpointException">It cannot be written.</exception>
    public void WriteInputScale(string name, float scale)
    {
        var declared = Declared(name);
        if (declared.Quantization is null || _activations is not { IsStatic: true })
            throw new ArgumentException($"The module of {CheckpointException.Quote(name)} has no fixed scale for its input: its weight is plain, or activations are not static.", nameof(name));
        using var values = tensor([scale]);
        WritePart(declared, "input_scale", values);
    }

    /// <summary>Brings everything to the disk and gives the files their names; the configuration comes last.</summary>
    /// <exception cref="InvalidOperationException">A declared tensor was not written.</exception>
    /// <exception cref="CheckpointException">It cannot be done.</exception>
    public void Complete()
    {
        _writer.Complete();
        CompressedTensorsConfigWriter.Write(_folder, _config, _plan, _activations, _ignore);
    }

    /// <summary>Closes the files. Without <see cref="Complete"/> before, what was written is deleted.</summary>
    public void Dispose() => _writer.Dispose();

    private static bool IsLinear(CompressedTensorsTensor tensor) =>
        tensor.Quantization is null && tensor.Shape.Count == 2 && tensor.IsWeight && !tensor.Module.Contains("embed", StringComparison.OrdinalIgnoreCase);

    /// <summary>Zero points in words of consecutive outputs.</summary>
    private static Tensor PackZeroPoint(Tensor zeroPoint, QType qtype) =>
        PackedWords.FromCodes(CodePacking.Pack(zeroPoint.t().contiguous(), qtype), qtype, zeroPoint.shape[0]).t().contiguous();

    private static long Words(long codes, QType qtype) => (codes + PackedWords.PerWord(qtype.Bits) - 1) / PackedWords.PerWord(qtype.Bits);

    private bool IsPacked(CompressedTensorsTensor tensor) => CompressedTensorsPlan.FormatOf(_plan.For(tensor.Module), _activations) == "pack-quantized";

    /// <summary>One scale for a whole tensor has one axis.</summary>
    private long[] ScaleShape(CompressedTensorsTensor tensor) =>
        _plan.For(tensor.Module).Strategy == "tensor" ? [1] : [.. tensor.Quantization!.ScaleShape];

    private IEnumerable<TensorEntry> EntriesOf(CompressedTensorsTensor tensor)
    {
        if (tensor.Quantization is not { } quantization)
        {
            yield return new TensorEntry(tensor.Name, tensor.Dtype, [.. tensor.Shape]);
            yield break;
        }

        string Part(string part) => StoredParts.Join(tensor.Module, part);
        var (qtype, scaleShape) = (quantization.QType, ScaleShape(tensor));
        if (IsPacked(tensor))
        {
            yield return new TensorEntry(Part("weight_packed"), CheckpointDtype.Int32, [tensor.Shape[0], Words(tensor.Shape[1], qtype)]);
            yield return new TensorEntry(Part("weight_shape"), CheckpointDtype.Int64, [2]);
            if (quantization.HasZeroPoint)
                yield return new TensorEntry(Part("weight_zero_point"), CheckpointDtype.Int32, [Words(quantization.ScaleShape[0], qtype), quantization.ScaleShape[1]]);
        }
        else
        {
            yield return new TensorEntry(Part("weight"), qtype.Kind == QTypeKind.Integer ? CheckpointDtype.Int8 : CheckpointDtype.Float8E4M3Fn, [.. tensor.Shape]);
            if (quantization.HasZeroPoint)
                yield return new TensorEntry(Part("weight_zero_point"), CheckpointDtype.Int8, scaleShape);
        }

        yield return new TensorEntry(Part("weight_scale"), tensor.Dtype, scaleShape);
        if (_activations is { IsStatic: true })
            yield return new TensorEntry(Part("input_scale"), CheckpointDtype.Float32, [1]);
    }

    private CompressedTensorsTensor Declared(string name) =>
        _tensors.TryGetValue(name, out var tensor) ? tensor : throw new ArgumentException($"The tensor {CheckpointException.Quote(name)} was not declared.", nameof(name));

    private void WritePart(CompressedTensorsTensor tensor, string part, Tensor values) => _writer.Write(StoredParts.Join(tensor.Module, part), values);
}
