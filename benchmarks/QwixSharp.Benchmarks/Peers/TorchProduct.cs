using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Peers;

/// <summary>libtorch's products. Those of quantized weights are reached through TorchScript, since TorchSharp has no call for them.</summary>
internal sealed class TorchProduct : IDisposable
{
    private static readonly Lazy<jit.CompilationUnit> Script = new(() => jit.compile("""
        def int_mm(x, w):
            return torch._int_mm(x, w)
        def int8pack_mm(x, w, s):
            return torch._weight_int8pack_mm(x, w, s)
        def int4pack(w):
            return torch._convert_weight_to_int4pack_for_cpu(w, 1)
        def int4pack_mm(x, w, group: int, s):
            return torch._weight_int4pack_mm_for_cpu(x, w, group, s)

        """));

    private readonly Func<Tensor> _multiply;
    private readonly Tensor[] _operands;
    private Tensor _result;

    private TorchProduct(Func<Tensor> multiply, params Tensor[] operands)
    {
        _multiply = multiply;
        _operands = operands;
        _result = multiply();
    }

    /// <summary>float32.</summary>
    /// <param name="x">[m, k].</param>
    /// <param name="w">[n, k].</param>
    public static TorchProduct Float32(Tensor x, Tensor w) => new(() => nn.functional.linear(x, w), x, w);

    /// <summary>_int_mm: int8 codes on both sides, int32 out. Quantizing and scaling, which it leaves to others, are not in its time.</summary>
    /// <param name="x">[m, k] int8.</param>
    /// <param name="w">[n, k] int8.</param>
    public static TorchProduct Integers(Tensor x, Tensor w)
    {
        var transposed = w.t();
        return new(() => Script.Value.invoke<Tensor>("int_mm", x, transposed), x, w, transposed);
    }

    /// <summary>_weight_int8pack_mm: bfloat16 activations, int8 weights.</summary>
    /// <param name="x">[m, k] bfloat16.</param>
    /// <param name="w">[n, k] int8.</param>
    /// <param name="scales">[n] bfloat16.</param>
    public static TorchProduct Int8(Tensor x, Tensor w, Tensor scales) =>
        new(() => Script.Value.invoke<Tensor>("int8pack_mm", x, w, scales), x, w, scales);

    /// <summary>_weight_int4pack_mm_for_cpu: bfloat16 activations, int4 weights in groups.</summary>
    /// <param name="x">[m, k] bfloat16.</param>
    /// <param name="w">[n, k] int32 codes 0 … 15.</param>
    /// <param name="group">Codes that share a scale.</param>
    /// <param name="scales">[k / group, n, 2] bfloat16: scale and the number of code 8.</param>
    public static TorchProduct Int4(Tensor x, Tensor w, long group, Tensor scales)
    {
        var packed = Script.Value.invoke<Tensor>("int4pack", w);
        w.Dispose();
        return new(() => (Tensor)Script.Value.invoke("int4pack_mm", x, packed, group, scales), x, packed, scales);
    }

    public void Run()
    {
        _result.Dispose();
        _result = _multiply();
    }

    /// <summary>The result [m, n].</summary>
    public float[] Result()
    {
        using var floats = _result.to(ScalarType.Float32);
        return floats.data<float>().ToArray();
    }

    public void Dispose()
    {
        foreach (var operand in _operands)
            operand.Dispose();
        _result.Dispose();
    }
}
