using System.Diagnostics;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>When a team rests.</summary>
public class TeamPatienceTests
{
    [Fact]
    public void OneLongWaitNowAndThenIsForgiven()
    {
        var patience = new TeamPatience();
        for (int i = 0; i < 5; i++)
        {
            patience.Judge(waited: Stopwatch.Frequency, worked: 1);
            for (int run = 0; run < 100; run++)
                patience.Judge(waited: 1, worked: 1);
        }

        Assert.False(patience.Rests);
    }

    [Fact]
    public void LongWaitsCloseToEachOtherAreARestThatEnds()
    {
        var patience = new TeamPatience();
        var rested = false;
        // Each rest is longer than the one before: one of them is seen even where this thread has to wait.
        for (int i = 0; i < 20 && !rested; i++)
        {
            patience.Judge(waited: Stopwatch.Frequency, worked: 1);
            rested = patience.Rests;
        }

        Assert.True(rested);
        Assert.True(SpinWait.SpinUntil(() => !patience.Rests, 30_000));
    }

    [Fact]
    public void AWaitThatTheWorkExplainsIsNone()
    {
        var patience = new TeamPatience();
        for (int i = 0; i < 10; i++)
        {
            patience.Judge(waited: Stopwatch.Frequency / 1000, worked: 1);
            patience.Judge(waited: Stopwatch.Frequency, worked: 3 * Stopwatch.Frequency);
        }

        Assert.False(patience.Rests);
    }
}
