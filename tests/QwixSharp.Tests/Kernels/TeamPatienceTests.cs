using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>When a team rests.</summary>
public class TeamPatienceTests
{
    [Fact]
    public void OneLongWaitNowAndThenIsForgiven()
    {
        var patience = new TeamPatience(waits: 3);
        for (int i = 0; i < 5; i++)
        {
            patience.Judge(isLong: true);
            for (int run = 0; run < 100; run++)
                patience.Judge(isLong: false);
        }

        Assert.False(patience.Rests);
    }

    [Fact]
    public void LongWaitsCloseToEachOtherAreARestThatEnds()
    {
        var patience = new TeamPatience(waits: 3);
        var rested = false;
        // Each rest is longer than the one before: one of them is seen even where this thread has to wait.
        for (int i = 0; i < 20 && !rested; i++)
        {
            patience.Judge(isLong: true);
            rested = patience.Rests;
        }

        Assert.True(rested);
        Assert.True(SpinWait.SpinUntil(() => !patience.Rests, 30_000));
    }

    [Theory]
    [InlineData(5, 1, true)]
    [InlineData(3, 1, false)]
    [InlineData(50, 90, true)]
    [InlineData(50, 110, false)]
    public void AWaitIsLongIfNeitherItsChunkNorTheWorkExplainsIt(long waited, long worked, bool isLong) =>
        Assert.Equal(isLong, TeamPatience.IsLong(waited, worked, least: 4));
}
