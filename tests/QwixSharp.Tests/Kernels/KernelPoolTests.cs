using System.Collections.Concurrent;
using QwixSharp.Kernels.Threading;

namespace QwixSharp.Tests.Kernels;

public class KernelPoolTests
{
    [Fact]
    public void EveryChunkIsDoneOnceHotAndAfterParking()
    {
        var pool = new KernelPool();
        for (var run = 0; run < 300; run++)
        {
            var job = new CountingJob(100);
            pool.Run(job, 3);
            Assert.All(job.Done, count => Assert.Equal(1, count));
            Assert.True(job.Workers.Distinct().Count() == job.Workers.Count, "Two threads had the same number.");
            Assert.All(job.Workers, worker => Assert.InRange(worker, 0, 2));
            if (run % 100 == 50)
                Thread.Sleep(20);
        }
    }

    [Fact]
    public void SeveralThreadsReallyTakePart()
    {
        var pool = new KernelPool();
        using var meeting = new Barrier(3);
        pool.Run(new MeetingJob(meeting), 3);
        Assert.Equal(1, meeting.CurrentPhaseNumber);
    }

    [Fact]
    public void AnErrorOfAWorkerReachesTheCallerAndThePoolLivesOn()
    {
        var pool = new KernelPool();
        using var started = new ManualResetEventSlim();
        Assert.Throws<InvalidDataException>(() => pool.Run(new FailingJob(started), 2));
        var job = new CountingJob(10);
        pool.Run(job, 2);
        Assert.All(job.Done, count => Assert.Equal(1, count));
    }

    [Fact]
    public void ConcurrentAndNestedCallersDoTheirOwnWork()
    {
        var pool = new KernelPool();
        Parallel.For(0, 6, _ =>
        {
            for (var i = 0; i < 50; i++)
            {
                var job = new CountingJob(30, () => pool.Run(new CountingJob(3), 2));
                pool.Run(job, 2);
                Assert.All(job.Done, count => Assert.Equal(1, count));
            }
        });
    }

    [Fact]
    public void APoolWhoseWorkersComeLateRestsForAWhile()
    {
        var pool = new KernelPool();
        var rested = false;
        // Each rest is longer than the one before: one of them is seen even where this thread has to wait.
        for (var i = 0; i < 60 && !rested; i++)
        {
            using var started = new ManualResetEventSlim();
            pool.Run(new LateJob(started), 2);
            rested = pool.Rests;
        }

        Assert.True(rested);
        var job = new CountingJob(10);
        pool.Run(job, 2);
        Assert.All(job.Done, count => Assert.Equal(1, count));
        Assert.True(SpinWait.SpinUntil(() => !pool.Rests, 30_000));
    }

    private sealed class CountingJob(int chunks, Action? each = null) : KernelJob
    {
        private int _next;

        public int[] Done { get; } = new int[chunks];

        public ConcurrentBag<int> Workers { get; } = [];

        public override void Run(int worker)
        {
            Workers.Add(worker);
            while (true)
            {
                var chunk = Interlocked.Increment(ref _next) - 1;
                if (chunk >= Done.Length)
                    return;
                Interlocked.Increment(ref Done[chunk]);
                each?.Invoke();
            }
        }
    }

    private sealed class MeetingJob(Barrier meeting) : KernelJob
    {
        public override void Run(int worker) => Assert.True(meeting.SignalAndWait(TimeSpan.FromSeconds(60)));
    }

    /// <summary>Its worker is not done for long after the caller is.</summary>
    private sealed class LateJob(ManualResetEventSlim started) : KernelJob
    {
        public override void Run(int worker)
        {
            if (worker == 0)
            {
                Assert.True(started.Wait(TimeSpan.FromSeconds(60)));
                return;
            }
            started.Set();
            Thread.Sleep(20);
        }
    }

    private sealed class FailingJob(ManualResetEventSlim started) : KernelJob
    {
        public override void Run(int worker)
        {
            if (worker == 0)
            {
                Assert.True(started.Wait(TimeSpan.FromSeconds(60)));
                return;
            }
            started.Set();
            throw new InvalidDataException("from a worker");
        }
    }
}
