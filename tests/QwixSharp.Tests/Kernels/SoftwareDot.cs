using System.Runtime.Intrinsics;
using QwixSharp.Kernels.Avx2Paths;

namespace QwixSharp.Tests.Kernels;

/// <summary>The stand-in that runs the AVX-VNNI kernel on machines without the instruction.</summary>
internal readonly struct SoftwareDot : IDot
{
    public static string Name => "software dot";

    public static bool IsSupported => true;

    public static Vector256<int> Add(Vector256<int> sums, Vector256<byte> unsigned, Vector256<sbyte> signed)
    {
        Span<int> lanes = stackalloc int[8];
        for (var lane = 0; lane < 8; lane++)
        {
            lanes[lane] = sums.GetElement(lane);
            for (var j = 0; j < 4; j++)
                lanes[lane] += unsigned.GetElement(4 * lane + j) * signed.GetElement(4 * lane + j);
        }
        return Vector256.Create<int>(lanes);
    }
}
