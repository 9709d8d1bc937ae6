using System.Diagnostics;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>When jobs are a stream.</summary>
public class JobStreamTests
{
    private static readonly long Millisecond = Stopwatch.Frequency / 1000;

    [Theory]
    [InlineData(1, 9, false)]
    [InlineData(1, 12, true)]
    [InlineData(3, 12, false)]
    public void JobsAreAStreamOnceTheyHaveComeWithoutAPauseForTenMilliseconds(int pause, int jobs, bool isStream)
    {
        var stream = new JobStream();
        var now = 1000 * Millisecond;
        for (var job = 0; job < jobs; job++)
        {
            stream.Begin(now);
            stream.End(now);
            now += pause * Millisecond;
        }

        Assert.Equal(isStream, stream.Begin(now));
    }

    [Fact]
    public void ALongJobIsNoPause()
    {
        var stream = new JobStream();
        Assert.False(stream.Begin(0));
        stream.End(20 * Millisecond);
        Assert.True(stream.Begin(21 * Millisecond));
    }
}
