using System.Runtime.InteropServices;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>One product of ggml: activations are quantized to int8 in blocks of 32 inside.</summary>
internal sealed unsafe class GgmlProduct : IDisposable
{
    private readonly nint _backend = Ggml.NewBackend();
    private readonly nint _weights = NewContext();
    private readonly nint _values = NewContext();
    private readonly nint _weightBuffer;
    private readonly nint _valueBuffer;
    private readonly nint _graph;
    private readonly nint _result;

    /// <summary>Quantizes a weight into one of ggml's block types.</summary>
    /// <param name="type">The block type.</param>
    /// <param name="rearranged">Whether ggml may rearrange the blocks, as it does for models where it can.</param>
    /// <param name="w">[n, k].</param>
    /// <param name="x">[m, k].</param>
    /// <param name="m">M.</param>
    /// <param name="k">K.</param>
    /// <param name="n">N.</param>
    /// <param name="threads">Its threads.</param>
    public GgmlProduct(int type, bool rearranged, float[] w, float[] x, int m, int k, int n, int threads)
    {
        Ggml.SetThreads(_backend, threads);
        var weight = Ggml.NewTensor(_weights, type, k, n);
        _weightBuffer = Ggml.Allocate(_weights, rearranged ? Ggml.RearrangingBufferType() : Ggml.PlainBufferType());
        var bytes = Ggml.Bytes(weight);
        var blocks = NativeMemory.Alloc(bytes);
        fixed (float* values = w)
            Ggml.Quantize(type, values, blocks, 0, n, k, null);
        Ggml.Set(weight, blocks, 0, bytes);
        NativeMemory.Free(blocks);

        var input = Ggml.NewTensor(_values, Ggml.Float32, k, m);
        _result = Ggml.MatMul(_values, weight, input);
        _valueBuffer = Ggml.Allocate(_values, Ggml.PlainBufferType());
        fixed (float* values = x)
            Ggml.Set(input, values, 0, (nuint)x.Length * sizeof(float));
        _graph = Ggml.NewGraph(_values);
        Ggml.Expand(_graph, _result);
    }

    public void Run()
    {
        if (Ggml.Compute(_backend, _graph) != 0)
            throw new InvalidOperationException("ggml did not compute the product.");
    }

    /// <summary>The result [m, n].</summary>
    public float[] Result()
    {
        var values = new float[Ggml.Bytes(_result) / sizeof(float)];
        fixed (float* target = values)
            Ggml.Get(_result, target, 0, (nuint)values.Length * sizeof(float));
        return values;
    }

    public void Dispose()
    {
        Ggml.FreeBuffer(_valueBuffer);
        Ggml.FreeBuffer(_weightBuffer);
        Ggml.Free(_values);
        Ggml.Free(_weights);
        Ggml.FreeBackend(_backend);
    }

    /// <summary>Room for the descriptions of tensors and a graph; their data lies in buffers.</summary>
    private static nint NewContext() => Ggml.Init(new Ggml.InitParameters(1 << 20, 0, 1));
}
