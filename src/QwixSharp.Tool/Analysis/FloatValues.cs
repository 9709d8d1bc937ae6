using System.Runtime.InteropServices;
using QwixSharp.Checkpoints;
using static TorchSharp.torch;

namespace QwixSharp.Tool.Analysis;

/// <summary>The values of a logical tensor as float32, given in blocks that fit a span.</summary>
internal sealed class FloatValues : IDisposable
{
    private const int BlockLength = 1 << 20;
    private readonly Tensor _flat;

    private FloatValues(Tensor flat) => _flat = flat;

    /// <summary>How many there are.</summary>
    internal long Count => _flat.numel();

    /// <summary>How many blocks they come in.</summary>
    internal int Blocks => (int)((Count + BlockLength - 1) / BlockLength);

    /// <summary>Reads a tensor; what is quantized is dequantized.</summary>
    internal static FloatValues Read(LogicalTensor tensor)
    {
        using var scope = NewDisposeScope();
        return new(tensor.ReadFloat(ScalarType.Float32).to(ScalarType.Float32).contiguous().flatten().DetachFromDisposeScope());
    }

    /// <summary>Some of the values, valid while this is.</summary>
    internal ReadOnlySpan<float> Block(int index)
    {
        long start = (long)index * BlockLength;
        using var part = _flat.narrow(0, start, Math.Min(BlockLength, Count - start));
        return MemoryMarshal.Cast<byte, float>(part.bytes);
    }

    /// <inheritdoc/>
    public void Dispose() => _flat.Dispose();
}
