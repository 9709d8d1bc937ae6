using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

/// <summary>Units that threads take from shares of their own, and then from those of others.</summary>
public class WorkSharesTests
{
    [Theory]
    [InlineData(0, 2, 1)]
    [InlineData(1, 4, 3)]
    [InlineData(100, 1, 7)]
    [InlineData(101, 3, 4)]
    public void OneThreadAloneFindsEveryUnitOnce(int units, int workers, int chunk)
    {
        var shares = new WorkShares();
        for (int worker = 0; worker < workers; worker++)
        {
            shares.Begin(units, workers, chunk);
            var done = new int[units];
            while (shares.Take(worker, out int from, out int to))
            {
                Assert.InRange(to - from, 1, chunk);
                for (int unit = from; unit < to; unit++)
                    done[unit]++;
            }

            Assert.All(done, times => Assert.Equal(1, times));
            Assert.False(shares.Take(worker, out _, out _));
        }
    }

    [Fact]
    public void AThreadBeginsWithItsOwnShare()
    {
        var shares = new WorkShares();
        shares.Begin(30, 3, 4);
        Assert.True(shares.Take(1, out int from, out int to));
        Assert.Equal((10, 14), (from, to));
        Assert.True(shares.Take(2, out from, out _));
        Assert.Equal(20, from);
        // A thread that was not counted takes what others have.
        Assert.True(shares.Take(7, out from, out _));
        Assert.Equal(14, from);
    }

    [Fact]
    public void ThreadsTogetherDoEveryUnitOnce()
    {
        const int Units = 10_000;
        var shares = new WorkShares();
        for (int round = 0; round < 20; round++)
        {
            shares.Begin(Units, 3, 3);
            var done = new int[Units];
            var threads = Enumerable.Range(0, 4).Select(worker => new Thread(() =>
            {
                while (shares.Take(worker, out int from, out int to))
                {
                    for (int unit = from; unit < to; unit++)
                        Interlocked.Increment(ref done[unit]);
                }
            })).ToList();
            threads.ForEach(t => t.Start());
            threads.ForEach(t => t.Join());
            Assert.All(done, times => Assert.Equal(1, times));
        }
    }
}
