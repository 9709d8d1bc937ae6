using QwixSharp.Arrays;

namespace QwixSharp.Tests.Arrays;

public class CalibrationMethodTests
{
    [Theory]
    [InlineData("absmax", CalibrationKind.AbsMax, null, true, false)]
    [InlineData("absmax,0.8", CalibrationKind.AbsMax, 0.8, true, true)]
    [InlineData("absmax,1.5", CalibrationKind.AbsMax, 1.5, true, false)]
    [InlineData("minmax", CalibrationKind.MinMax, null, false, false)]
    [InlineData("minmax,0.5", CalibrationKind.MinMax, 0.5, false, true)]
    [InlineData("rms,3", CalibrationKind.Rms, 3.0, true, true)]
    [InlineData(" RMS , 7.5 ", CalibrationKind.Rms, 7.5, true, true)]
    [InlineData("absmax,1e-1", CalibrationKind.AbsMax, 0.1, true, true)]
    public void MethodsWithFactors(string text, CalibrationKind kind, double? factor, bool symmetric, bool clips)
    {
        var method = CalibrationMethod.Parse(text);
        Assert.Equal((kind, factor, symmetric, clips), (method.Kind, method.Factor, method.IsSymmetric, method.CanClip));
        Assert.Equal(method, CalibrationMethod.Parse(method.ToString()));
    }

    [Theory]
    [InlineData("fixed,-1,2", -1, 2, false)]
    [InlineData("fixed,-2,2", -2, 2, true)]
    [InlineData("fixed,2.5", -2.5, 2.5, true)]
    [InlineData("Fixed, 0, 6", 0, 6, false)]
    [InlineData("fixed,-6,0", -6, 0, false)]
    public void FixedRanges(string text, double min, double max, bool symmetric)
    {
        var method = CalibrationMethod.Parse(text);
        Assert.Equal((CalibrationKind.Fixed, min, max, symmetric, true), (method.Kind, method.Min, method.Max, method.IsSymmetric, method.CanClip));
        Assert.Equal(method, CalibrationMethod.Parse(method.ToString()));
    }

    [Theory]
    [InlineData("percentile")]
    [InlineData("")]
    [InlineData("absmax,")]
    [InlineData("absmax,x")]
    [InlineData("absmax,1,2")]
    [InlineData("minmax,1,2")]
    [InlineData("fixed")]
    [InlineData("fixed,1,2,3")]
    [InlineData("absmax;0.8")]
    public void UnknownTextIsToldWithWhatIsKnown(string text)
    {
        var error = Assert.Throws<ArgumentException>(() => CalibrationMethod.Parse(text));
        Assert.Contains($"\"{text}\"", error.Message);
        foreach (var known in new[] { "absmax", "minmax", "rms,factor", "fixed,min,max" })
            Assert.Contains(known, error.Message);
    }

    [Fact]
    public void RmsNeedsItsFactor() => Assert.Contains("rms,3", Assert.Throws<ArgumentException>(() => CalibrationMethod.Parse("rms")).Message);

    [Theory]
    [InlineData("absmax,0")]
    [InlineData("absmax,-1")]
    [InlineData("minmax,nan")]
    [InlineData("rms,infinity")]
    public void FactorsArePositiveAndFinite(string text) =>
        Assert.Contains("positive and finite", Assert.Throws<ArgumentException>(() => CalibrationMethod.Parse(text)).Message);

    [Theory]
    [InlineData("fixed,1,2")]
    [InlineData("fixed,-2,-1")]
    [InlineData("fixed,2,-2")]
    [InlineData("fixed,0,0")]
    [InlineData("fixed,-1")]
    [InlineData("fixed,nan,1")]
    [InlineData("fixed,-infinity,1")]
    public void FixedRangesContainZero(string text) =>
        Assert.Contains("must contain 0", Assert.Throws<ArgumentException>(() => CalibrationMethod.Parse(text)).Message);

    [Fact]
    public void FactoriesAndTextMeanTheSame()
    {
        CalibrationMethod text = "absmax,0.8";
        Assert.Equal(CalibrationMethod.AbsMax(0.8), text);
        Assert.Equal(CalibrationMethod.MinMax(), CalibrationMethod.Parse("minmax"));
        Assert.Equal(CalibrationMethod.Rms(3), CalibrationMethod.Parse("rms,3"));
        Assert.Equal(CalibrationMethod.Fixed(-3, 3), CalibrationMethod.Parse("fixed,3"));
        CalibrationMethod? none = (string?)null;
        Assert.Null(none);
        Assert.Throws<ArgumentNullException>(() => CalibrationMethod.Parse(null!));
    }
}
