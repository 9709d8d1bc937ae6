using QwixSharp.Checkpoints.Gguf.Blocks;

namespace QwixSharp.Checkpoints.Gguf;

/// <summary>Turns blocks into numbers.</summary>
internal delegate void BlockDecoder(ReadOnlySpan<byte> blocks, Span<float> values);

/// <summary>Turns numbers into blocks.</summary>
internal delegate void BlockEncoder(ReadOnlySpan<float> values, Span<byte> blocks);

/// <summary>
/// How a tensor of a GGUF file is stored. The instances are the static properties; the types of the format that have none
/// are listed by name and not read.
/// </summary>
/// <remarks>Ids and sizes: the GGUF specification and <c>ggml_type</c> of ggml.</remarks>
public sealed class GgufTensorType
{
    private static readonly Dictionary<uint, GgufTensorType> ById = [];

    static GgufTensorType()
    {
        // Known by size, so that files with such tensors can be listed and their other tensors read.
        ReadOnlySpan<(uint Id, string Name, int Length, int Size)> others =
        [
            (9, "Q8_1", 32, 36), (10, "Q2_K", 256, 84), (11, "Q3_K", 256, 110), (15, "Q8_K", 256, 292),
            (16, "IQ2_XXS", 256, 66), (17, "IQ2_XS", 256, 74), (18, "IQ3_XXS", 256, 98), (19, "IQ1_S", 256, 50),
            (20, "IQ4_NL", 32, 18), (21, "IQ3_S", 256, 110), (22, "IQ2_S", 256, 82), (23, "IQ4_XS", 256, 136),
            (24, "I8", 1, 1), (25, "I16", 1, 2), (26, "I32", 1, 4), (27, "I64", 1, 8), (28, "F64", 1, 8),
            (29, "IQ1_M", 256, 56), (34, "TQ1_0", 256, 54), (35, "TQ2_0", 256, 66), (39, "MXFP4", 32, 17),
        ];
        foreach (var (id, name, length, size) in others)
            _ = new GgufTensorType(id, name, length, size);
    }

    private GgufTensorType(uint id, string name, int blockLength, int blockSize)
    {
        Id = id;
        Name = name;
        BlockLength = blockLength;
        BlockSize = blockSize;
        ById.Add(id, this);
    }

    /// <summary>32-bit floats. Read and written.</summary>
    public static GgufTensorType F32 { get; } = new(0, "F32", 1, 4);

    /// <summary>16-bit floats. Read and written.</summary>
    public static GgufTensorType F16 { get; } = new(1, "F16", 1, 2);

    /// <summary>4 bits and a float16 scale a block of 32. Read and written.</summary>
    public static GgufTensorType Q4_0 { get; } = new(2, "Q4_0", BlockMath.Length, Q4Blocks.SymmetricSize) { Decode = Q4Blocks.DecodeSymmetric, Encode = Q4Blocks.EncodeSymmetric };

    /// <summary>4 bits, a float16 scale and a float16 minimum a block of 32. Read and written.</summary>
    public static GgufTensorType Q4_1 { get; } = new(3, "Q4_1", BlockMath.Length, Q4Blocks.AffineSize) { Decode = Q4Blocks.DecodeAffine, Encode = Q4Blocks.EncodeAffine };

    /// <summary>5 bits and a float16 scale a block of 32. Read.</summary>
    public static GgufTensorType Q5_0 { get; } = new(6, "Q5_0", BlockMath.Length, Q5Blocks.SymmetricSize) { Decode = Q5Blocks.DecodeSymmetric };

    /// <summary>5 bits, a float16 scale and a float16 minimum a block of 32. Read.</summary>
    public static GgufTensorType Q5_1 { get; } = new(7, "Q5_1", BlockMath.Length, Q5Blocks.AffineSize) { Decode = Q5Blocks.DecodeAffine };

    /// <summary>8 bits and a float16 scale a block of 32. Read and written.</summary>
    public static GgufTensorType Q8_0 { get; } = new(8, "Q8_0", BlockMath.Length, Q8Blocks.Size) { Decode = Q8Blocks.Decode, Encode = Q8Blocks.Encode };

    /// <summary>4 bits, with quantized scales and minima a block of 256. Read.</summary>
    public static GgufTensorType Q4_K { get; } = new(12, "Q4_K", KBlocks.SuperLength, KBlocks.FourSize) { Decode = KBlocks.DecodeFour };

    /// <summary>5 bits, with quantized scales and minima a block of 256. Read.</summary>
    public static GgufTensorType Q5_K { get; } = new(13, "Q5_K", KBlocks.SuperLength, KBlocks.FiveSize) { Decode = KBlocks.DecodeFive };

    /// <summary>6 bits, with quantized scales a block of 256. Read.</summary>
    public static GgufTensorType Q6_K { get; } = new(14, "Q6_K", KBlocks.SuperLength, KBlocks.SixSize) { Decode = KBlocks.DecodeSix };

    /// <summary>bfloat16. Read and written.</summary>
    public static GgufTensorType BF16 { get; } = new(30, "BF16", 1, 2);

    /// <summary>The number that stands for the type in a file.</summary>
    public uint Id { get; }

    /// <summary>The name that ggml gives it.</summary>
    public string Name { get; }

    /// <summary>The values in a block; the last axis of a tensor is a multiple of it.</summary>
    public int BlockLength { get; }

    /// <summary>The bytes of a block.</summary>
    public int BlockSize { get; }

    /// <summary>Whether tensors of the type can be written.</summary>
    public bool CanWrite => Encode is not null || this == F32 || this == F16 || this == BF16;

    internal BlockDecoder? Decode { get; private init; }

    internal BlockEncoder? Encode { get; private init; }

    /// <summary>The type of an id, or null where the format knows none.</summary>
    internal static GgufTensorType? Find(uint id) => ById.GetValueOrDefault(id);

    /// <summary>The name of the type.</summary>
    /// <returns><see cref="Name"/>.</returns>
    public override string ToString() => Name;
}
