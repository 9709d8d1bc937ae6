using QwixSharp.Interception;
using QwixSharp.Tests.Interception.Models;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception;

/// <summary>Several threads may run several models, or one, each under its own interceptor.</summary>
public class ThreadTests
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void EightThreads(bool oneModel)
    {
        using var scope = NewDisposeScope();
        using var shared = new Decoder(new DecoderSize(20, 8, 2, 2));
        shared.eval();
        var ids = randint(0, 20, [1, 5]);
        var first = new RecordingInterceptor();
        Intercepted.Run(shared, ids, first);
        var errors = new List<Exception>();
        var threads = Enumerable.Range(0, 8).Select(_ => new Thread(() =>
        {
            try
            {
                using var inner = NewDisposeScope();
                using var own = oneModel ? null : new Decoder(new DecoderSize(20, 8, 2, 2));
                var model = own ?? shared;
                model.eval();
                var plain = model.call(ids);
                for (var i = 0; i < 10; i++)
                {
                    var seen = new RecordingInterceptor();
                    Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, ids, seen)));
                    Assert.Equal(first.Calls, seen.Calls);
                }
            }
            catch (Exception error)
            {
                lock (errors) errors.Add(error);
            }
        })).ToList();

        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());

        Assert.Empty(errors);
    }

    [Fact]
    public void ManyThreadsMayRewriteAModelForTheFirstTime()
    {
        using var scope = NewDisposeScope();
        using var model = new Decoder(new DecoderSize(20, 8, 2, 2));
        model.eval();
        var ids = randint(0, 20, [1, 5]);
        var plain = model.call(ids);
        var rewriter = new MethodRewriter(_ => null);
        var counts = new int[8];
        using var barrier = new Barrier(8);

        var threads = Enumerable.Range(0, 8).Select(i => new Thread(() =>
        {
            using var inner = NewDisposeScope();
            barrier.SignalAndWait();
            var call = Interceptor.RewriteWith<Func<object, Tensor, Tensor>>(rewriter, typeof(nn.Module<Tensor, Tensor>).GetMethod("call")!);
            var seen = new RecordingInterceptor();
            using var _ = Interceptor.Enter(model, seen);
            if (Intercepted.BitEqual(plain, call(model, ids))) counts[i] = seen.Calls.Count;
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());

        Assert.All(counts, count => Assert.Equal(counts[0], count));
        Assert.True(counts[0] > 40);
    }

    [Fact]
    public async Task TheInterceptorFollowsAnAwaitAndStaysOutOfOtherTasks()
    {
        using var model = nn.ReLU();
        using var x = ones(2);
        var seen = new RecordingInterceptor();
        var started = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var other = Task.Run(async () =>
        {
            await started.Task;
            Intercepted.Call(model, x).Dispose();
        }, TestContext.Current.CancellationToken);

        using (Interceptor.Enter(model, seen))
        {
            started.SetResult();
            await other;
            await Task.Yield();
            Intercepted.Call(model, x).Dispose();
        }

        Assert.Single(seen.Calls);
    }
}
