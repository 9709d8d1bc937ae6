using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;

namespace QwixSharp.Tests.Kernels;

/// <summary>One value that is not finite, anywhere in the activations of a product: no finite result depends on it, and no other is lost.</summary>
public unsafe class NotFiniteProductTests
{
    private const string Default = "default";

    private static readonly string[] WeightFormats = ["int2", "int3", "int4", "int5", "int6", "int7", "int8", "nf4", "e4m3", "e5m2"];

    private static readonly float[] Values = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];

    private static readonly FusedActivation[] Activations = Enum.GetValues<FusedActivation>();

    public static TheoryData<string, string> FloatKernels =>
        [.. from kernel in KernelSelector.AllFloatKernels().Where(k => k.IsSupported).Select(k => k.Name).Append(Default) from format in WeightFormats select (kernel, format)];

    public static TheoryData<string, bool> IntegerKernels =>
        [.. from kernel in IntegerProductTests.Kernels from isStatic in (bool[])[false, true] select (kernel.Name, isStatic)];

    /// <summary>Where arithmetic of floats gives a number, as ReLU does of −∞, it may be that number.</summary>
    [Theory]
    [MemberData(nameof(FloatKernels))]
    public void OfAWeightOnlyProduct(string kernel, string format)
    {
        var random = new Random(Array.IndexOf(WeightFormats, format));
        var selector = kernel == Default ? KernelSelector.Default : new([], [KernelSelector.AllFloatKernels().Single(k => k.Name == kernel), .. KernelSelector.AllFloatKernels()]);
        for (var trial = 0; trial < 60; trial++)
        {
            var sample = new Case(random, trial);
            using var weight = Weight(random, format, sample);
            var y = sample.Run((x, output) => MatMul.WeightOnly(x, weight.Packed, output, 1, selector));
            for (var n = 0; n < sample.N; n++)
            {
                var product = weight.Number(n, sample.Column) * sample.Value;
                var isNumber = sample.Activation == FusedActivation.Relu && float.IsNegativeInfinity(product);
                Assert.True(isNumber || !float.IsFinite(y[sample.Row * sample.N + n]), $"{sample} at {n}: {y[sample.Row * sample.N + n]}");
            }
            sample.AssertOthersAreFinite(y);
        }
    }

    /// <summary>Their codes have no signs of infinities: what depends on one must stay NaN, whatever comes after.</summary>
    [Theory]
    [MemberData(nameof(IntegerKernels))]
    public void OfAProductOfCodes(string kernel, bool isStatic)
    {
        var random = new Random(11);
        var selector = Sample.Pinned(IntegerProductTests.Kernels.Single(k => k.Name == kernel));
        for (var trial = 0; trial < 120; trial++)
        {
            var sample = new Case(random, trial);
            using var weight = Weight(random, WeightFormats[trial % 7], sample);
            var y = sample.Run((x, output) => MatMul.Quantized(
                new QuantizedInput
                {
                    Source = isStatic ? QuantizedSource.Static : QuantizedSource.Dynamic,
                    Values = x.Values,
                    RowStride = x.RowStride,
                    Rows = x.Rows,
                    Format = x.Format,
                    Range = CodeRange.OfBits(trial % 3 == 0 ? 4 : 8),
                    ScalePerTile = !isStatic && trial % 2 == 0,
                    StaticScale = 1e-5f,
                    StaticZeroPoint = trial % 4 - 1,
                },
                weight.Packed,
                output,
                1,
                selector));
            for (var n = 0; n < sample.N; n++)
                Assert.True(float.IsNaN(y[sample.Row * sample.N + n]), $"{sample} at {n}: {y[sample.Row * sample.N + n]}");
            sample.AssertOthersAreFinite(y);
        }
    }

    private static Sample Weight(Random random, string format, Case sample) => format switch
    {
        "nf4" => Sample.Codebook(random, sample.N, sample.K, sample.Tile, Sample.Nf4),
        "e4m3" => Sample.Bytes(random, sample.N, sample.K, sample.Tile, Sample.E4M3),
        "e5m2" => Sample.Bytes(random, sample.N, sample.K, sample.Tile, [.. Sample.E5M2.Select(x => float.IsFinite(x) ? x : 1)]),
        _ => Sample.Integers(random, sample.N, sample.K, sample.Tile, format[3] - '0'),
    };

    /// <summary>Activations of random sizes, in rows that lie apart and begin anywhere, one of which is not finite.</summary>
    private sealed class Case
    {
        private readonly FloatFormat _input;
        private readonly FloatFormat _output;
        private readonly float[] _x;
        private readonly int _stride;
        private readonly int _shift;

        internal Case(Random random, int trial)
        {
            (Rows, N) = (random.Next(3) switch { 0 => 1, 1 => random.Next(2, 9), _ => random.Next(9, 70) }, random.Next(1, 40));
            Tile = random.Next(2) == 0 ? 32 : random.Next(1, 130);
            K = random.Next(2) == 0 ? Tile : Tile * random.Next(1, 4);
            Row = Place(Rows);
            Column = Place(K);
            Value = Values[trial % Values.Length];
            Activation = Activations[random.Next(Activations.Length)];
            (_input, _output) = ((FloatFormat)random.Next(3), (FloatFormat)random.Next(3));
            (_stride, _shift) = (K + random.Next(4), random.Next(4));
            _x = Sample.Floats(random, Rows * _stride, 1e-3f);
            _x[Row * _stride + Column] = Value;

            int Place(int count) => random.Next(4) switch { 0 => 0, 1 => count - 1, _ => random.Next(count) };
        }

        internal int Rows { get; }

        internal int N { get; }

        internal int K { get; }

        internal int Tile { get; }

        internal int Row { get; }

        internal int Column { get; }

        internal float Value { get; }

        internal FusedActivation Activation { get; }

        internal float[] Run(Action<FloatInput, ProductOutput> multiply)
        {
            byte[] x = Stored(_x, _input), y = new byte[Rows * N * Size(_output)];
            fixed (byte* px = x, py = y)
                multiply(new FloatInput((nint)px + _shift * Size(_input), _stride, Rows, _input), new ProductOutput((nint)py, N, Activation: Activation, Format: _output));
            return [.. Enumerable.Range(0, Rows * N).Select(i => Read(y, i, _output))];
        }

        internal void AssertOthersAreFinite(float[] y)
        {
            for (var i = 0; i < y.Length; i++)
                Assert.True(i / N == Row || float.IsFinite(y[i]), $"{this} spoils [{i / N}, {i % N}]");
        }

        public override string ToString() => $"{Value} at [{Row}, {Column}] of {_input} [{Rows}, {K}], stride {_stride}, tile {Tile}, N={N}, {Activation}, to {_output}";

        private byte[] Stored(float[] values, FloatFormat format)
        {
            var stored = new byte[(values.Length + _shift) * Size(format)];
            for (var i = 0; i < values.Length; i++)
            {
                var to = stored.AsSpan((i + _shift) * Size(format));
                if (format == FloatFormat.Float32)
                    BitConverter.TryWriteBytes(to, values[i]);
                else if (format == FloatFormat.Float16)
                    BitConverter.TryWriteBytes(to, (Half)values[i]);
                else
                    BitConverter.TryWriteBytes(to, (ushort)(BitConverter.SingleToUInt32Bits(values[i]) >> 16));
            }
            return stored;
        }

        private static int Size(FloatFormat format) => format == FloatFormat.Float32 ? 4 : 2;

        private static float Read(byte[] y, int index, FloatFormat format) => format switch
        {
            FloatFormat.Float32 => BitConverter.ToSingle(y, 4 * index),
            FloatFormat.Float16 => (float)BitConverter.ToHalf(y, 2 * index),
            _ => BitConverter.UInt32BitsToSingle((uint)BitConverter.ToUInt16(y, 2 * index) << 16),
        };
    }
}
