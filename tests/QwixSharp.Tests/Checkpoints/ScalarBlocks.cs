using static System.Buffers.Binary.BinaryPrimitives;

namespace QwixSharp.Tests.Checkpoints;

/// <summary>The block formats of GGUF as their definitions read, one value at a time.</summary>
internal static class ScalarBlocks
{
    public static byte[] Encode(string type, float[] x)
    {
        float min = x.Aggregate(MathF.Min), max = x.Aggregate(MathF.Max), extreme = x.First(v => MathF.Abs(v) == x.Max(MathF.Abs));
        return type switch
        {
            "Q8_0" => [.. Half(MathF.Abs(extreme) / 127), .. x.Select(v => (byte)(sbyte)MathF.Round(v * Inverse(MathF.Abs(extreme) / 127), MidpointRounding.AwayFromZero))],
            "Q4_0" => [.. Half(extreme / -8), .. Nibbles(i => Math.Min(15, (int)(float)(((double)x[i] * Inverse(extreme / -8)) + 8.5)))],
            _ => [.. Half((max - min) / 15), .. Half(min), .. Nibbles(i => Math.Min(15, (int)(((x[i] - min) * Inverse((max - min) / 15)) + 0.5f)))],
        };
    }

    public static float[] Decode(string type, byte[] b) => type switch
    {
        "Q8_0" => [.. Range(32).Select(i => Half(b, 0) * (sbyte)b[2 + i])],
        "Q4_0" => [.. Range(32).Select(i => Half(b, 0) * (Nibble(b, 2, i) - 8))],
        "Q4_1" => [.. Range(32).Select(i => (Half(b, 0) * Nibble(b, 4, i)) + Half(b, 2))],
        "Q5_0" => [.. Range(32).Select(i => Half(b, 0) * ((Nibble(b, 6, i) | (Bit(b, 2, i) << 4)) - 16))],
        "Q5_1" => [.. Range(32).Select(i => (Half(b, 0) * (Nibble(b, 8, i) | (Bit(b, 4, i) << 4))) + Half(b, 2))],
        "Q6_K" => [.. Range(256).Select(i => Half(b, 208) * (sbyte)b[192 + (i / 16)] * (SixBits(b, i) - 32))],
        _ => [.. Range(256).Select(i => KValue(b, i, hasFifthBits: type == "Q5_K"))],
    };

    /// <summary>A block with these scales, which random bytes would give no finite value.</summary>
    public static byte[] WithScales(string type, byte[] block, float scale, float second)
    {
        byte[] result = [.. block];
        Half(scale).CopyTo(result, type == "Q6_K" ? 208 : 0);
        if (type is "Q4_1" or "Q5_1" or "Q4_K" or "Q5_K")
            Half(second).CopyTo(result, 2);
        return result;
    }

    private static float KValue(byte[] b, int i, bool hasFifthBits)
    {
        int run = i / 32, codes = hasFifthBits ? 48 : 16, within = i % 32;
        int code = (b[codes + (i / 64 * 32) + within] >> (run % 2 * 4)) & 15;
        if (hasFifthBits)
            code |= ((b[16 + within] >> run) & 1) << 4;
        // Twelve bytes: six bits of scale and minimum for runs 0 to 3, then four bits of each for 4 to 7, whose upper two lie in those.
        int scale = run < 4 ? b[4 + run] & 63 : (b[8 + run] & 15) | (b[run] >> 6 << 4);
        int min = run < 4 ? b[8 + run] & 63 : (b[8 + run] >> 4) | (b[4 + run] >> 6 << 4);
        return (Half(b, 0) * scale * code) - (Half(b, 2) * min);
    }

    /// <summary>Values come in halves of 128: four runs of 32 whose upper two bits share a byte.</summary>
    private static int SixBits(byte[] b, int i)
    {
        int half = i / 128, run = i % 128 / 32, within = i % 32;
        int low = (b[(half * 64) + (run % 2 * 32) + within] >> (run / 2 * 4)) & 15;
        return low | (((b[128 + (half * 32) + within] >> (run * 2)) & 3) << 4);
    }

    private static IEnumerable<int> Range(int count) => Enumerable.Range(0, count);

    private static float Inverse(float d) => float.IsFinite(1 / d) ? 1 / d : 0;

    private static float Half(byte[] b, int offset) => (float)ReadHalfLittleEndian(b.AsSpan(offset));

    private static byte[] Half(float value)
    {
        var bytes = new byte[2];
        WriteHalfLittleEndian(bytes, (Half)value);
        return bytes;
    }

    private static IEnumerable<byte> Nibbles(Func<int, int> code) => Range(16).Select(i => (byte)(code(i) | (code(i + 16) << 4)));

    private static int Nibble(byte[] b, int offset, int i) => (b[offset + (i % 16)] >> (i / 16 * 4)) & 15;

    private static int Bit(byte[] b, int offset, int i) => (b[offset + (i / 8)] >> (i % 8)) & 1;
}
