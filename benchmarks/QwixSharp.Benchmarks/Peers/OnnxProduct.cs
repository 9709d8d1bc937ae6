using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>One product of ONNX Runtime: x [M, K] float32 in, y [M, N] float32 out. Weights that are not given are random.</summary>
internal sealed class OnnxProduct : IDisposable
{
    private static readonly string[] InputNames = ["x"];
    private static readonly string[] OutputNames = ["y"];

    private readonly InferenceSession _session;
    private readonly OrtValue[] _inputs;
    private readonly OrtValue[] _outputs;
    private readonly RunOptions _options = new();

    private OnnxProduct(byte[] model, int m, int k, int n, float[] x, int threads)
    {
        using var options = new SessionOptions { IntraOpNumThreads = threads, InterOpNumThreads = 1 };
        // Its threads spin within a run but not after it, where they would slow down the next candidate.
        options.AddSessionConfigEntry("session.force_spinning_stop", "1");
        _session = new InferenceSession(model, options);
        _inputs = [OrtValue.CreateTensorValueFromMemory(x, [m, k])];
        _outputs = [OrtValue.CreateTensorValueFromMemory(new float[m * n], [m, n])];
    }

    /// <summary>MatMul in float32.</summary>
    /// <param name="m">M.</param>
    /// <param name="k">K.</param>
    /// <param name="n">N.</param>
    /// <param name="x">[m, k].</param>
    /// <param name="threads">Its threads.</param>
    /// <param name="w">[k, n].</param>
    public static OnnxProduct Float32(int m, int k, int n, float[] x, int threads, float[]? w = null) =>
        Create(m, k, n, x, threads, OnnxWriter.Node("MatMul", "", ["x", "w"]), OnnxWriter.Tensor("w", OnnxWriter.Float, [k, n], Bytes(w ?? Floats((long)k * n))));

    /// <summary>DynamicQuantizeMatMul: int8 weights per column, activations quantized to 8 bits inside.</summary>
    /// <param name="m">M.</param>
    /// <param name="k">K.</param>
    /// <param name="n">N.</param>
    /// <param name="x">[m, k].</param>
    /// <param name="threads">Its threads.</param>
    /// <param name="codes">[k, n].</param>
    /// <param name="scales">[n].</param>
    public static OnnxProduct DynamicInt8(int m, int k, int n, float[] x, int threads, byte[]? codes = null, float[]? scales = null) =>
        Create(
            m, k, n, x, threads,
            OnnxWriter.Node("DynamicQuantizeMatMul", "com.microsoft", ["x", "w", "s"]),
            OnnxWriter.Tensor("w", OnnxWriter.Int8, [k, n], codes ?? Bytes((long)k * n)),
            OnnxWriter.Tensor("s", OnnxWriter.Float, [n], Bytes(scales ?? Floats(n))));

    /// <summary>MatMulNBits: int4 weights in blocks; activations as int8 (level 4) or float32 (level 0).</summary>
    /// <param name="m">M.</param>
    /// <param name="k">K.</param>
    /// <param name="n">N.</param>
    /// <param name="block">Codes that share a scale.</param>
    /// <param name="level">Its accuracy level.</param>
    /// <param name="x">[m, k].</param>
    /// <param name="threads">Its threads.</param>
    /// <param name="codes">[n, k / 2]: two codes 0 … 15 a byte, the low half first; 8 stands for 0.</param>
    /// <param name="scales">[n, k / block].</param>
    public static OnnxProduct Int4(int m, int k, int n, int block, int level, float[] x, int threads, byte[]? codes = null, float[]? scales = null) =>
        Create(
            m, k, n, x, threads,
            OnnxWriter.Node("MatMulNBits", "com.microsoft", ["x", "w", "s"], ("K", k), ("N", n), ("bits", 4), ("block_size", block), ("accuracy_level", level)),
            OnnxWriter.Tensor("w", OnnxWriter.UInt8, [n, k / block, block / 2], codes ?? Bytes((long)k * n / 2)),
            OnnxWriter.Tensor("s", OnnxWriter.Float, [(long)n * (k / block)], Bytes(scales ?? Floats((long)n * (k / block)))));

    /// <summary>The result of the last run, [m, n].</summary>
    public ReadOnlySpan<float> Result => _outputs[0].GetTensorDataAsSpan<float>();

    public void Run() => _session.Run(_options, InputNames, _inputs, OutputNames, _outputs);

    public void Dispose()
    {
        foreach (var value in _inputs.Concat(_outputs))
            value.Dispose();
        _session.Dispose();
        _options.Dispose();
    }

    private static OnnxProduct Create(int m, int k, int n, float[] x, int threads, byte[] node, params byte[][] initializers) =>
        new(OnnxWriter.Model(node, initializers, OnnxWriter.Value("x", OnnxWriter.Float, m, k), OnnxWriter.Value("y", OnnxWriter.Float, m, n)), m, k, n, x, threads);

    private static float[] Floats(long count)
    {
        var random = new Random(1);
        var values = new float[count];
        for (var i = 0L; i < count; i++)
            values[i] = (float)(random.NextDouble() - 0.5) * 0.1f;
        return values;
    }

    private static ReadOnlySpan<byte> Bytes(float[] values) => MemoryMarshal.AsBytes(values.AsSpan());

    private static byte[] Bytes(long count)
    {
        var bytes = new byte[count];
        new Random(1).NextBytes(bytes);
        return bytes;
    }
}
