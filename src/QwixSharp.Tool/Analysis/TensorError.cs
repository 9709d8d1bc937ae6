using System.Text.Json.Serialization;

namespace QwixSharp.Tool.Analysis;

/// <summary>How far the values of one tensor are from those of another.</summary>
/// <param name="Name">The tensor.</param>
/// <param name="Values">How many values were compared.</param>
/// <param name="SquareOfA">Σ a².</param>
/// <param name="SquareOfB">Σ b².</param>
/// <param name="Product">Σ a·b.</param>
/// <param name="SquareOfDifference">Σ (b − a)².</param>
/// <param name="LargestError">max |b − a|; not a number where either is in a single place.</param>
internal sealed record TensorError(
    string Name,
    long Values,
    [property: JsonIgnore] double SquareOfA,
    [property: JsonIgnore] double SquareOfB,
    [property: JsonIgnore] double Product,
    [property: JsonIgnore] double SquareOfDifference,
    double LargestError)
{
    /// <summary>The signal-to-noise ratio, 10·log10(Σ a² ÷ Σ (b − a)²), in decibels; infinite where the two are equal.</summary>
    public double SnrDb => SquareOfDifference == 0 ? double.PositiveInfinity : 10 * Math.Log10(SquareOfA / SquareOfDifference);

    /// <summary>The cosine of the angle between the two; 1 where both are all zeros.</summary>
    public double Cosine => SquareOfA == 0 && SquareOfB == 0 ? 1 : Product / Math.Sqrt(SquareOfA * SquareOfB);

    /// <summary>√(mean (b − a)²).</summary>
    public double RootMeanSquareError => Values == 0 ? 0 : Math.Sqrt(SquareOfDifference / Values);

    /// <summary>Adds what was measured of another part, or of another tensor.</summary>
    internal TensorError Plus(TensorError other) => this with
    {
        Values = Values + other.Values,
        SquareOfA = SquareOfA + other.SquareOfA,
        SquareOfB = SquareOfB + other.SquareOfB,
        Product = Product + other.Product,
        SquareOfDifference = SquareOfDifference + other.SquareOfDifference,
        LargestError = Math.Max(LargestError, other.LargestError),
    };

    /// <summary>No values yet.</summary>
    internal static TensorError None(string name) => new(name, 0, 0, 0, 0, 0, 0);

    /// <summary>Measures values.</summary>
    internal static TensorError Between(string name, ReadOnlySpan<float> a, ReadOnlySpan<float> b)
    {
        double squareOfA = 0, squareOfB = 0, product = 0, squareOfDifference = 0, largest = 0;
        for (int i = 0; i < a.Length; i++)
        {
            double x = a[i], y = b[i], d = y - x;
            squareOfA += x * x;
            squareOfB += y * y;
            product += x * y;
            squareOfDifference += d * d;
            largest = Math.Max(largest, Math.Abs(d));
        }

        return new(name, a.Length, squareOfA, squareOfB, product, squareOfDifference, largest);
    }
}
