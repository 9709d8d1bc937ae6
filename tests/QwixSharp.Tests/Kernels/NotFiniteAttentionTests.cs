using QwixSharp.Caches;
using QwixSharp.Kernels.Attention;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Kernels;

/// <summary>
/// One value that is not finite in a query, a key or a value: where attention of floats gives no number, none comes of it, and tokens
/// that do not see it stay finite. A mask of −∞ hides.
/// </summary>
[Collection(RandomState.Name)]
public unsafe class NotFiniteAttentionTests
{
    private const int Heads = 2;

    public enum Part
    {
        Query,
        Key,
        Value,
    }

    private static readonly float[] Bad = [float.NaN, float.PositiveInfinity, float.NegativeInfinity];

    public static TheoryData<Part, float> Cases => [.. from part in Enum.GetValues<Part>() from value in Bad select (part, value)];

    public static TheoryData<Part, float, string> CacheCases => [.. from part in Enum.GetValues<Part>() from value in Bad from qtype in (string[])["int8", "int4", "fp8", "float8_e5m2"] select (part, value, qtype)];

    /// <summary>Few and many rows; keys of one block, of a part of one, and of so many that threads share them.</summary>
    [Theory]
    [MemberData(nameof(Cases))]
    public void OverPlainKeys(Part part, float value)
    {
        using var scope = NewDisposeScope();
        foreach (var (queries, keys, size) in new[] { (1, 1, 16), (1, 33, 64), (4, 40, 32), (7, 7, 48), (70, 70, 32), (1, 1100, 64) })
            foreach (var isCausal in new[] { true, false })
                for (var trial = 0; trial < 4; trial++)
                {
                    var random = new Random(trial + 10 * keys);
                    var input = new Input(random, queries, keys, size, part, value);
                    var result = zeros(Heads, queries, size);
                    BlockAttention.Run(
                        new FloatTokens(At(input.Keys), At(input.Values), 1, Heads, size), [keys], new AttentionShape(Heads, Heads, queries, 0.3f, isCausal), At(input.Queries), At(result), 2);
                    Check(input, Hidden(queries, keys, isCausal), 0.3f, result, keepsHiddenApart: !isCausal);
                }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void WithMasks(Part part, float value)
    {
        Assert.SkipUnless(FloatAttention.IsSupported, "It needs AVX2 and FMA.");
        using var scope = NewDisposeScope();
        foreach (var (queries, keys, size) in new[] { (1, 1, 32), (5, 33, 32), (6, 64, 64), (33, 40, 32) })
            for (var trial = 0; trial < 4; trial++)
            {
                var random = new Random(trial + 10 * keys);
                var input = new Input(random, queries, keys, size, part, value);
                var result = zeros(Heads, queries, size);
                var hidden = Hidden(queries, keys, isCausal: trial % 2 == 0);
                var bias = zeros(queries, keys).masked_fill(hidden, float.NegativeInfinity);
                FloatAttention.Run(
                    new FloatAttentionShape(1, Heads, queries, keys, size, size), At(input.Queries), At(input.Keys), At(input.Values), new HeadTensor(Address(bias), 0, 0, keys), 0.3f, At(result), 2);
                // A mask is added to the scores: what it hides is multiplied with 0, as in arithmetic of floats.
                var expected = (input.Queries.matmul(input.Keys.transpose(1, 2)) * 0.3f + bias).softmax(-1).matmul(input.Values);
                AssertNothingIsLost(expected, result, input);
            }
    }

    [Theory]
    [MemberData(nameof(CacheCases))]
    public void OverAQuantizedCache(Part part, float value, string qtype)
    {
        using var scope = NewDisposeScope();
        foreach (var (queries, keys, size) in new[] { (1, 1, 16), (1, 33, 32), (4, 70, 64), (40, 45, 20) })
            for (var trial = 0; trial < 4; trial++)
            {
                var input = new Input(new Random(trial + 10 * keys), queries, keys, size, part, value);
                using var cache = new QuantizedKvCache(Heads, size, QType.Parse(qtype));
                cache.Append(input.Keys.unsqueeze(0), input.Values.unsqueeze(0));
                var result = cache.Attend(input.Queries.unsqueeze(0), 0.3).squeeze(0);
                Check(input, Hidden(queries, keys, isCausal: true), 0.3f, result, keepsHiddenApart: true);
            }
    }

    /// <summary>Tokens that are hidden are not there at all.</summary>
    private static void Check(Input input, Tensor hidden, float scale, Tensor result, bool keepsHiddenApart)
    {
        var scores = input.Queries.matmul(input.Keys.transpose(1, 2)) * scale;
        var weights = where(hidden, float.NegativeInfinity, scores).softmax(-1).unsqueeze(-1);
        var products = where(hidden.unsqueeze(-1), 0f, weights * input.Values.unsqueeze(1));
        AssertNothingIsLost(products.sum(2), result, input);
        Tensor touched = zeros_like(input.Queries, ScalarType.Bool);
        if (input.Part == Part.Query)
            touched[input.Head, input.Token] = true;
        else
            touched[input.Head] = hidden.select(1, input.Token).logical_not().unsqueeze(-1);
        // Within a block of plain values a hidden one is multiplied with 0, as in arithmetic of floats.
        if (keepsHiddenApart || input.Part != Part.Value)
            Assert.True(result.isfinite().logical_or(touched).all().item<bool>(), $"{input}: tokens that do not see it");
    }

    private static void AssertNothingIsLost(Tensor expected, Tensor result, Input input)
    {
        var lost = result.isfinite().logical_and(expected.isfinite().logical_not()).sum().item<long>();
        Assert.True(lost == 0, $"{input}: {lost} of {expected.isfinite().logical_not().sum().item<long>()} are finite");
    }

    private static Tensor Hidden(int queries, int keys, bool isCausal) =>
        isCausal ? ones(queries, keys, ScalarType.Bool).tril(keys - queries).logical_not() : zeros(queries, keys, ScalarType.Bool);

    private static HeadTensor At(Tensor x) => new(Address(x), 0, x.stride(0), x.stride(1));

    private static nint Address(Tensor x) => QwixSharp.Arrays.TensorMemory.Address(x);

    /// <summary>[heads, tokens, size] each, one value of which is not finite.</summary>
    private sealed class Input
    {
        private readonly string _text;

        internal Input(Random random, int queries, int keys, int size, Part part, float value)
        {
            (Queries, Keys, Values) = (Make(queries), Make(keys), Make(keys));
            Part = part;
            var bad = part switch { Part.Query => Queries, Part.Key => Keys, _ => Values };
            (Head, Token) = (random.Next(Heads), Place((int)bad.size(1)));
            int feature = Place(size);
            bad[Head, Token, feature] = value;
            _text = $"{value} at [{Head}, {Token}, {feature}] of a {part}, {queries} queries, {keys} keys of {size}";

            Tensor Make(int tokens) => tensor(Sample.Floats(random, Heads * tokens * size, 2)).reshape(Heads, tokens, size);
            int Place(int count) => random.Next(3) switch { 0 => 0, 1 => count - 1, _ => random.Next(count) };
        }

        internal Tensor Queries { get; }

        internal Tensor Keys { get; }

        internal Tensor Values { get; }

        internal Part Part { get; }

        internal int Head { get; }

        internal int Token { get; }

        public override string ToString() => _text;
    }
}
