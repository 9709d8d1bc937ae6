using System.Diagnostics;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>When jobs are a stream.</summary>
public class JobStreamTests
{
    private static readonly long Millisecond = Stopwatch.Frequency / 1000;

    [Theory]
    [InlineData(1000, 47, false)]
    [InlineData(1000, 48, true)]
    [InlineData(100, 99, false)]
    [InlineData(100, 100, true)]
    [InlineData(3000, 200, false)]
    public void ManyJobsWithoutAPauseForTenMillisecondsAreAStream(int pauseMicroseconds, int jobs, bool isStream)
    {
        var stream = new JobStream();
        var now = Run(stream, jobs, pauseMicroseconds, 1000 * Millisecond);

        Assert.Equal(isStream, stream.Begin(now));
    }

    [Fact]
    public void APauseEndsAStream()
    {
        var stream = new JobStream();
        var now = Run(stream, 100, 1000, 1000 * Millisecond);
        Assert.True(stream.Begin(now));
        stream.End(now);
        now += 3 * Millisecond;
        Assert.False(stream.Begin(now));
        stream.End(now);
        Assert.False(stream.Begin(now + Millisecond));
    }

    [Fact]
    public void TheJobsOfOneLongProductAreNone()
    {
        var stream = new JobStream();
        for (var job = 0; job < 10; job++)
        {
            Assert.False(stream.Begin(20 * job * Millisecond));
            stream.End((20 * job + 19) * Millisecond);
        }
    }

    private static long Run(JobStream stream, int jobs, int pauseMicroseconds, long now)
    {
        for (var job = 0; job < jobs; job++)
        {
            stream.Begin(now);
            stream.End(now);
            now += pauseMicroseconds * Stopwatch.Frequency / 1_000_000;
        }
        return now;
    }
}
