using QwixSharp.Kernels.Threading;
using TorchSharp;

namespace QwixSharp.Tests.Kernels;

/// <summary>Jobs on libtorch's own threads, where there are such.</summary>
public class OpenMpTeamTests
{
    public OpenMpTeamTests()
    {
        torch.ones(1).Dispose(); // loads libtorch
        Assert.SkipUnless(SpinWait.SpinUntil(() => OpenMpTeam.IsAvailable, 2000), "libtorch is not built with libgomp here, or QWIXSHARP_OPENMP=0.");
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    public void EveryChunkIsDoneOnceAndWorkersHaveDistinctNumbers(int threads)
    {
        for (int round = 0; round < 50; round++)
        {
            var job = new CountingJob(1000);
            OpenMpTeam.Run(job, threads);
            Assert.All(job.Done, times => Assert.Equal(1, times));
            Assert.All(job.Workers, worker => Assert.InRange(worker, 0, threads - 1));
        }
    }

    [Fact]
    public void AnErrorReachesTheCallerAndTheNextJobRuns()
    {
        Assert.Equal("chunk 3", Assert.Throws<InvalidOperationException>(() => OpenMpTeam.Run(new CountingJob(10, failAt: 3), 2)).Message);
        var job = new CountingJob(10);
        OpenMpTeam.Run(job, 2);
        Assert.All(job.Done, times => Assert.Equal(1, times));
    }

    [Fact]
    public void SeveralThreadsHaveTeamsOfTheirOwn()
    {
        var failures = 0;
        var threads = Enumerable.Range(0, 4).Select(_ => new Thread(() =>
        {
            for (int round = 0; round < 20; round++)
            {
                var job = new CountingJob(200);
                OpenMpTeam.Run(job, 2);
                if (job.Done.Any(times => times != 1))
                    Interlocked.Increment(ref failures);
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
        Assert.Equal(0, failures);
    }

    private sealed class CountingJob(int chunks, int failAt = -1) : KernelJob
    {
        private int _next;

        public int[] Done { get; } = new int[chunks];

        public System.Collections.Concurrent.ConcurrentBag<int> Workers { get; } = [];

        public override void Run(int worker)
        {
            Workers.Add(worker);
            while (Interlocked.Increment(ref _next) - 1 is var chunk && chunk < Done.Length)
            {
                if (chunk == failAt)
                    throw new InvalidOperationException($"chunk {chunk}");
                Interlocked.Increment(ref Done[chunk]);
            }
        }
    }
}
