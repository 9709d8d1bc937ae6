using System.Runtime.Intrinsics.X86;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

public class ReadAheadTests
{
    private const int Bytes = 4096;

    private readonly ReadBlock[] _blocks = [.. Enumerable.Range(1, 3).Select(i => new ReadBlock(i * 0x100000, Bytes))];

    [Fact]
    public void WhatWasReadAfterAJobIsFetchedAfterIt()
    {
        var ahead = new ReadAhead();
        Read(ahead, 0, 1);
        Assert.Equal(0, ahead.Next);
        Read(ahead, 2);
        Read(ahead, 0, 1);

        Assert.Equal(_blocks[2].Address, ahead.Next);
    }

    [Fact]
    public void WhatWasFetchedForLaterJobsIsNotFetchedAgain()
    {
        Assert.SkipUnless(Sse.IsSupported, "nothing is fetched ahead on other processors");
        var ahead = new ReadAhead();
        for (var round = 0; round < 2; round++)
            for (var job = 0; job < 3; job++)
                Read(ahead, job);
        while (ahead.Next != _blocks[1].Address + Bytes / 2 && ahead.Step()) { }

        Read(ahead, 0);

        Assert.Equal(_blocks[1].Address + Bytes / 2, ahead.Next);
    }

    [Fact]
    public void AnotherOrderIsFollowed()
    {
        var ahead = new ReadAhead();
        Read(ahead, 0, 1, 0, 2);
        ahead.Step();
        Read(ahead, 0);

        Assert.Equal(_blocks[2].Address, ahead.Next);
    }

    [Fact]
    public void FetchingStopsBeforeItFillsTheCaches()
    {
        Assert.SkipUnless(Sse.IsSupported, "nothing is fetched ahead on other processors");
        var ahead = new ReadAhead();
        Read(ahead, 0, 1, 2, 0);
        var steps = 0;
        while (ahead.Step())
            Assert.True(++steps < 100_000);

        Assert.Equal(0, ahead.Next);
        Read(ahead, 1);
        Assert.NotEqual(0, ahead.Next);
    }

    private void Read(ReadAhead ahead, params ReadOnlySpan<int> blocks)
    {
        foreach (var block in blocks)
            ahead.Note(_blocks[block]);
        ahead.Settle();
    }
}
