using System.Runtime.InteropServices;
using QwixSharp.Benchmarks.Peers;
using QwixSharp.Kernels;
using static TorchSharp.torch;

namespace QwixSharp.Benchmarks.Figures;

/// <summary>The figures of matrix products of one shape: y [m, n] = x [m, k] · wᵀ [n, k], float32 in and out.</summary>
internal sealed unsafe class ProductFigures
{
    private readonly int _m, _k, _n, _threads;
    private readonly float[] _x;
    private readonly ProductReference _reference;
    private readonly Lazy<SampleWeight> _int8, _uniform, _int4Tile32, _int4Tile128, _int4, _nf4, _fp8;

    public ProductFigures(int m, int k, int n, int threads)
    {
        (_m, _k, _n, _threads) = (m, k, n, threads);
        var random = new Random(3);
        _x = new float[m * k];
        for (var i = 0; i < _x.Length; i++)
            _x[i] = (float)(random.NextDouble() * 2 - 1);
        _reference = new ProductReference(_x, m);
        _int8 = new(() => SampleWeight.Gaussian(n, k, k, 8));
        _uniform = new(() => SampleWeight.Uniform(n, k));
        _int4Tile32 = new(() => SampleWeight.Gaussian(n, k, 32, 4));
        _int4Tile128 = new(() => SampleWeight.Gaussian(n, k, 128, 4));
        _int4 = new(() => SampleWeight.Gaussian(n, k, k, 4));
        _nf4 = new(() => SampleWeight.NormalFloat(n, k, 64));
        _fp8 = new(() => SampleWeight.Float8(n, k));
    }

    private string Shape => $"M={_m} K={_k} N={_n}";

    /// <summary>Activations quantized to int8 inside.</summary>
    public IEnumerable<Figure> Quantized(Goal int8, Goal? uniform, Goal int4)
    {
        Candidate onnx = OnnxInt8("ONNX Runtime int8", _int8), ggml = GgmlQ8(), torch = TorchIntegers();
        yield return new($"W8A8 {Shape}", int8, Ours("W8A8", _int8), onnx, ggml, torch);
        if (uniform is { } goal)
            yield return new($"W8A8 uniform weights {Shape}", goal, Ours("W8A8 uniform", _uniform), OnnxInt8("ONNX Runtime int8, uniform", _uniform));
        Candidate onnx32 = OnnxInt4(32, _int4Tile32), onnx128 = OnnxInt4(128, _int4Tile128);
        yield return new($"W4A8 tile 32 {Shape}", int4, Ours("W4A8 tile 32", _int4Tile32), [onnx32, .. GgmlQ4(), TorchInt4()]);
        yield return new($"W4A8 tile 128 {Shape}", int4, Ours("W4A8 tile 128", _int4Tile128), onnx128);
        yield return new($"W4A8 per channel {Shape}", int4, Ours("W4A8 per channel", _int4), onnx128);
    }

    /// <summary>float32 activations at M = 1: against the best peers, most of which round the activations to int8.</summary>
    public IEnumerable<Figure> WeightOnlyRow(Goal best, Goal own)
    {
        var int8 = Ours("weight-only int8", _int8, weightOnly: true);
        yield return new($"weight-only int8 {Shape}", best, int8, OnnxInt8("ONNX Runtime int8", _int8), GgmlQ8(), TorchInt8());
        yield return new($"weight-only int4 tile 32 {Shape}", best, Ours("weight-only int4 tile 32", _int4Tile32, weightOnly: true), [OnnxInt4(32, _int4Tile32), .. GgmlQ4(), TorchInt4()]);
        yield return new($"weight-only nf4 tile 64 {Shape}", own, Ours("weight-only nf4 tile 64", _nf4, weightOnly: true), int8);
        yield return new($"weight-only fp8 {Shape}", own, Ours("weight-only fp8", _fp8, weightOnly: true), int8);
    }

    /// <summary>float32 activations and several rows, against products in float32.</summary>
    public IEnumerable<Figure> WeightOnlyRows(Goal goal)
    {
        Candidate[] peers = [OnnxFloat32(), TorchFloat32()];
        yield return new($"weight-only int8 {Shape}", goal, Ours("weight-only int8", _int8, weightOnly: true), peers);
        yield return new($"weight-only int4 tile 32 {Shape}", goal, Ours("weight-only int4 tile 32", _int4Tile32, weightOnly: true), peers);
        yield return new($"weight-only nf4 tile 64 {Shape}", goal, Ours("weight-only nf4 tile 64", _nf4, weightOnly: true), peers);
    }

    /// <summary>How fast a weight is read, against reading as many bytes from memory.</summary>
    public Figure Bandwidth(Goal goal) =>
        new($"weight-only int4 tile 32 {Shape}, read bandwidth", goal, Ours("weight-only int4 tile 32", _int4Tile32, weightOnly: true), MemoryReading.Of("reading the weight's bytes", (long)_n * _k / 2 + (long)_n * (_k / 32) * sizeof(float), _threads));

    private Candidate Ours(string name, Lazy<SampleWeight> sample, bool weightOnly = false) => new($"ours, {name}", () =>
    {
        var weight = sample.Value.Pack(_threads);
        var x = (float*)NativeMemory.AlignedAlloc((nuint)_x.Length * sizeof(float), 64);
        _x.CopyTo(new Span<float>(x, _x.Length));
        var y = (float*)NativeMemory.AlignedAlloc((nuint)(_m * _n * sizeof(float)), 64);
        var output = new ProductOutput((nint)y, _n);
        return new Prepared(
            weightOnly ? () => MatMul.WeightOnly(x, _k, _m, weight, output, _threads) : () => MatMul.Dynamic(x, _k, _m, weight, output, _threads),
            () => weightOnly ? _reference.IsFloatProduct(sample.Value, new(y, _m * _n)) : _reference.IsExact(sample.Value, new(y, _m * _n)),
            () =>
            {
                weight.Dispose();
                NativeMemory.AlignedFree(x);
                NativeMemory.AlignedFree(y);
            });
    });

    private Candidate OnnxFloat32() => new("ONNX Runtime float32", () => Onnx(OnnxProduct.Float32(_m, _k, _n, _x, _threads, Transposed(_int8.Value.Dequantize())), _int8));

    private Candidate OnnxInt8(string name, Lazy<SampleWeight> sample) => new(name, () =>
        Onnx(OnnxProduct.DynamicInt8(_m, _k, _n, _x, _threads, Transposed(MemoryMarshal.AsBytes(sample.Value.Codes.AsSpan()).ToArray()), sample.Value.Scales), sample));

    private Candidate OnnxInt4(int block, Lazy<SampleWeight> sample) => new($"ONNX Runtime int4, block {block}, int8 compute", () =>
    {
        var codes = new byte[sample.Value.Codes.Length / 2];
        for (var i = 0; i < codes.Length; i++)
            codes[i] = (byte)(sample.Value.Codes[2 * i] + 8 | sample.Value.Codes[2 * i + 1] + 8 << 4);
        return Onnx(OnnxProduct.Int4(_m, _k, _n, block, 4, _x, _threads, codes, sample.Value.Scales), sample);
    });

    private Prepared Onnx(OnnxProduct product, Lazy<SampleWeight> sample) =>
        new(product.Run, () => _reference.IsPeerProduct(sample.Value, product.Result), product.Dispose);

    private Candidate GgmlQ8() => GgmlBlocks("ggml q8_0", Ggml.Q8Block32, rearranged: false, _int8);

    private IEnumerable<Candidate> GgmlQ4()
    {
        yield return GgmlBlocks("ggml q4_0", Ggml.Q4Block32, rearranged: false, _int4Tile32);
        if (Ggml.RearrangingBufferType() != 0)
            yield return GgmlBlocks("ggml q4_0, rearranged", Ggml.Q4Block32, rearranged: true, _int4Tile32);
    }

    private Candidate GgmlBlocks(string name, int type, bool rearranged, Lazy<SampleWeight> sample) => new($"{name} ({Ggml.Variant} build)", () =>
    {
        var product = new GgmlProduct(type, rearranged, sample.Value.Dequantize(), _x, _m, _k, _n, _threads);
        return new Prepared(product.Run, () => _reference.IsPeerProduct(sample.Value, product.Result()), product.Dispose);
    });

    private Candidate TorchFloat32() => new("libtorch float32", () =>
        Torch(TorchProduct.Float32(tensor(_x, [_m, _k]), tensor(_int8.Value.Dequantize(), [_n, _k])), _int8));

    private Candidate TorchInt8() => new("libtorch int8 with bfloat16 activations", () => Torch(
        TorchProduct.Int8(tensor(_x, [_m, _k]).to(ScalarType.BFloat16), tensor(_int8.Value.Codes, [_n, _k]), tensor(_int8.Value.Scales).to(ScalarType.BFloat16)), _int8));

    private Candidate TorchInt4() => new("libtorch int4, block 32, with bfloat16 activations", () =>
    {
        using var scales = tensor(_int4Tile32.Value.Scales, [_n, _k / 32]).t();
        using var codes = tensor(_int4Tile32.Value.Codes, [_n, _k]);
        var scalesAndZeros = stack([scales, zeros_like(scales)], -1).contiguous().to(ScalarType.BFloat16);
        return Torch(TorchProduct.Int4(tensor(_x, [_m, _k]).to(ScalarType.BFloat16), codes.to(ScalarType.Int32) + 8, 32, scalesAndZeros), _int4Tile32);
    });

    private Prepared Torch(TorchProduct product, Lazy<SampleWeight> sample) =>
        new(product.Run, () => _reference.IsPeerProduct(sample.Value, product.Result()), product.Dispose);

    /// <summary>Its result is the sums of codes alone, so that it is compared with a multiple of the product.</summary>
    private Candidate TorchIntegers() => new("libtorch _int_mm, the sums alone", () =>
    {
        using var x = tensor(_x, [_m, _k]);
        var product = TorchProduct.Integers((x * 127).round().to(ScalarType.Int8), tensor(_int8.Value.Codes, [_n, _k]));
        return new Prepared(
            product.Run,
            () =>
            {
                var y = product.Result();
                for (var i = 0; i < y.Length; i++)
                    y[i] *= _int8.Value.Scales[i % _n] / 127;
                return _reference.IsPeerProduct(_int8.Value, y);
            },
            product.Dispose);
    });

    /// <summary>From [n, k] to [k, n].</summary>
    private T[] Transposed<T>(T[] values)
    {
        const int Block = 64;
        var result = new T[values.Length];
        for (var row = 0; row < _n; row += Block)
            for (var column = 0; column < _k; column++)
                for (var i = row; i < Math.Min(_n, row + Block); i++)
                    result[(long)column * _n + i] = values[(long)i * _k + column];
        return result;
    }
}
