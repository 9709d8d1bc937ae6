using static TorchSharp.torch;

namespace QwixSharp.Tests.Ops;

/// <summary>A convolution with two spatial axes, by its definition, one product after another in float64.</summary>
internal sealed record ConvReference(
    long[] Strides,
    (long Low, long High)[] Padding,
    long[] LhsDilation,
    long[] RhsDilation,
    int FeatureGroups = 1,
    int BatchGroups = 1)
{
    /// <summary>(N, C, H, W) and (O, I, H, W) give (N, O, H, W).</summary>
    public Tensor Compute(Tensor lhs, Tensor rhs)
    {
        long[] l = lhs.shape, r = rhs.shape;
        double[] x = [.. lhs.contiguous().data<double>()], w = [.. rhs.contiguous().data<double>()];
        long batch = l[0] / BatchGroups, rows = Length(0), columns = Length(1);
        var result = new double[batch * r[0] * rows * columns];
        long index = 0;
        for (long n = 0; n < batch; n++)
            for (long o = 0; o < r[0]; o++)
                for (long row = 0; row < rows; row++)
                    for (long column = 0; column < columns; column++, index++)
                    {
                        long image = (o / (r[0] / BatchGroups) * batch) + n;
                        long firstFeature = o / (r[0] / FeatureGroups) * r[1];
                        for (long i = 0; i < r[1]; i++)
                            for (long a = 0; a < r[2]; a++)
                                for (long b = 0; b < r[3]; b++)
                                {
                                    if (Source(0, row, a) is { } y && Source(1, column, b) is { } z)
                                        result[index] += x[(((((image * l[1]) + firstFeature + i) * l[2]) + y) * l[3]) + z] * w[(((((o * r[1]) + i) * r[2]) + a) * r[3]) + b];
                                }
                    }

        return tensor(result, [batch, r[0], rows, columns]);

        long Length(int axis)
        {
            long padded = ((l[axis + 2] - 1) * LhsDilation[axis]) + 1 + Padding[axis].Low + Padding[axis].High;
            long window = ((r[axis + 2] - 1) * RhsDilation[axis]) + 1;
            return padded < window ? 0 : ((padded - window) / Strides[axis]) + 1;
        }

        long? Source(int axis, long position, long offset)
        {
            long dilated = (position * Strides[axis]) + (offset * RhsDilation[axis]) - Padding[axis].Low;
            return dilated >= 0 && dilated % LhsDilation[axis] == 0 && dilated / LhsDilation[axis] < l[axis + 2] ? dilated / LhsDilation[axis] : null;
        }
    }
}
