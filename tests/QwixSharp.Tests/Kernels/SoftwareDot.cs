using System.Runtime.Intrinsics;
using QwixSharp.Kernels.ArmPaths;
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

/// <summary>The stand-in that runs the Arm kernel on machines without its instruction.</summary>
internal readonly struct SoftwareSignedDot : ISignedDot
{
    public static string Name => "software signed dot";

    public static bool IsSupported => true;

    public static Vector128<int> Add(Vector128<int> sums, Vector128<sbyte> left, Vector128<sbyte> right)
    {
        Span<int> lanes = stackalloc int[4];
        for (var lane = 0; lane < 4; lane++)
        {
            lanes[lane] = sums.GetElement(lane);
            for (var j = 0; j < 4; j++)
                lanes[lane] += left.GetElement(4 * lane + j) * right.GetElement(4 * lane + j);
        }
        return Vector128.Create<int>(lanes);
    }
}
