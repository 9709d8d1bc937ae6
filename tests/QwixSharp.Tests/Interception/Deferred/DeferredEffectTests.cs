using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Deferred;

/// <summary>What a model does besides computing comes out the same where its ops are deferred: every way by which a tensor without a value could be noticed.</summary>
public class DeferredEffectTests
{
    private static readonly Dictionary<string, Func<LambdaModel, Tensor, Tensor>> Programs = new()
    {
        ["in place on an operand"] = (_, x) => { var y = x * 2; x.add_(1); return y + x; },
        ["in place on a view of an operand"] = (_, x) => { var y = x * 2; x.narrow(0, 0, 1).mul_(3); return y - x; },
        ["in place on a result"] = (_, x) => { var y = x * 2; y.add_(1); return y; },
        ["in place on a view of a result"] = (_, x) => { var y = x * 2; y.view(-1).add_(1); return y; },
        ["an index is set"] = (_, x) => { var y = x * 2; x[0] = 5; return y + x; },
        ["copied over"] = (_, x) => { var y = x + 1; x.copy_(y * 3); return x - y; },
        ["copied over a view"] = (_, x) => { x.narrow(0, 0, 1).copy_(x.narrow(0, 1, 1) * 3); return x * 2; },
        ["copied over what a waiting op reads"] = (_, x) => { Tensor y = x * 2, z = -x; x.copy_(z); return x + y; },
        ["copied over what a waiting op reads by another tensor"] = (_, x) => { var v = x.detach(); var y = v * 2; x.narrow(0, 0, 1).copy_(v.narrow(0, 1, 1) + 1); return y + v; },
        ["copied over what a waiting op reads through a view"] = (_, x) => { var y = x.view(4, 2) * 2; x.narrow(1, 1, 2).copy_(x.narrow(1, 0, 2) + 1); return y; },
        ["copied over under waiting views"] = (_, x) => { Tensor v = x.view(-1), w = x.transpose(0, 1).narrow(0, 0, 4); x.narrow(0, 1, 1).copy_(x.narrow(0, 0, 1) * 2); return v.view(4, 2) + w.reshape(4, 2); },
        ["copied over under a waiting copy"] = (_, x) => { Tensor f = x.transpose(0, 1).flatten(), y = x + 1; x.copy_(y); return f; },
        ["copied over a result"] = (_, x) => { Tensor y = x * 2, z = x + 1; y.copy_(z); return y * x; },
        ["copied over a view of a result"] = (_, x) => { Tensor y = x * 2, z = x + 1; y.narrow(0, 0, 1).copy_(z.narrow(0, 1, 1)); return y * x; },
        ["copied over itself"] = (_, x) => { x.narrow(1, 0, 3).copy_(x.narrow(1, 1, 3).clone()); x.narrow(1, 0, 2).copy_(x.narrow(1, 2, 2)); return x * 1; },
        ["copied over several times"] = (_, x) => { Tensor y = x * 2, z = x + 1; x.copy_(y); var s = x + y; x.copy_(z); x.narrow(0, 0, 1).copy_((s * 2).narrow(0, 1, 1)); return x - s; },
        ["what a copy returns"] = (_, x) => { Tensor y = x * 2, c = x.copy_(y); c.add_(1); var z = x.narrow(0, 0, 1).copy_((y + 1).narrow(0, 0, 1)); x.mul_(2); return c + z; },
        ["a view that was copied over is disposed"] = (_, x) => { Tensor y = x * 2; using (x.narrow(0, 0, 1).copy_((y + 1).narrow(0, 1, 1))) { } return x + y; },
        ["what was copied over is disposed"] = (_, x) => { Tensor z = x.exp(), y = x * 2, w = z * 2; z.copy_(y); z.Dispose(); return w + y; },
        ["copied over in a scope"] = (_, x) => { Tensor c; using (NewDisposeScope()) c = x.narrow(0, 0, 1).copy_((x * 2).narrow(0, 1, 1)).MoveToOuterDisposeScope(); return c - x; },
        ["copied over with other shapes"] = (_, x) => { x.copy_((x * 2).narrow(0, 1, 1)); return x * 1; },
        ["a copy that does not fit"] = (_, x) => { var y = x * 2; try { x.copy_((x + 1).view(4, 2)); } catch (Exception) { x.zero_(); } return y + x; },
        ["a copy over repeated elements"] = (_, x) => { var e = x.narrow(0, 0, 1).expand(2, 4); var y = x * 2; try { e.copy_(y); return e * 0; } catch (Exception) { return y + e; } },
        ["copied from another type"] = (_, x) => { var y = x * 2; x.copy_(y.to(float64)); return x + y; },
        ["copied over another type"] = (_, x) => { var d = x.to(float64); d.copy_(x * 2); return d.to(float32) + x; },
        ["relu in place on what a waiting op reads"] = (_, x) => { Tensor y = x * 2, v = x.view(-1), w = x.exp(); x.relu_(); return y + v.view(2, 4) - w; },
        ["added in place to what a waiting op reads through a view"] = (_, x) => { Tensor v = x.detach(), y = v.narrow(0, 0, 1) * 2; x.add_(x * 3); return y + x; },
        ["added in place to an operand, which is returned"] = (_, x) => { Tensor y = x * 2, z = x.add_(y); z.mul_(3); return x - y; },
        ["added in place with another shape"] = (_, x) => { var y = x * 2; try { x.narrow(0, 0, 1).add_(y); } catch (Exception) { y = y * 2; } return y + x; },
        ["added in place to repeated elements"] = (_, x) => { var e = x.narrow(0, 0, 1).expand(2, 4); var y = x * 2; try { e.add_(y); return e * 0; } catch (Exception) { return y + e; } },
        ["clamped"] = (_, x) => x.clamp(-0.5, 0.25) + x.clamp(0, null) * x.clamp(null, 1) - x.clip(-1, 1) / (x.clamp_min(0.1) + x.clamp_max(3)),
        ["clamped to bounds that cross, or are none"] = (_, x) => x.clamp(1, -1) + x.clamp(double.NegativeInfinity, 0.5) + x.clamp(double.NaN, 1),
        ["clamped in place"] = (_, x) => { Tensor y = x * 2, z = x * 3, a = y.clamp_(-0.5, 0.5); z.clamp_min_(0).clamp_max_(1); a.add_(1); return y * z; },
        ["clamped in place where it has a value"] = (_, x) => { var y = x * 2; nn.functional.hardtanh(x, -0.2, 0.3, true).add_(1); return y + x; },
        ["hard tanh, which TorchSharp leaves out unless it is in place"] = (_, x) => { Tensor y = x * 2, z = x * 3; y.hardtanh_(0, 1); var a = nn.functional.hardtanh(z, -0.1, 0.4, true); a.add_(1); return x.hardtanh(0, 0.1) + nn.functional.hardtanh(x, 0, 0.1) * y - z; },
        ["hard swish and hard sigmoid, in place too"] = (_, x) => { Tensor y = x * 9, z = y.hardswish() + y.hardsigmoid(); nn.functional.hardswish(y, true); z.hardsigmoid_(); return y * z; },
        ["relu in place"] = (_, x) => { var y = x * 2; nn.functional.relu(x, true); return y + x; },
        ["an operand is disposed"] = (_, x) => { var z = x.exp(); var y = z + 1; z.Dispose(); return y; },
        ["a result is disposed"] = (_, x) => { var z = x * 2; var y = z + 1; z.Dispose(); return y; },
        ["using"] = (_, x) => { using var z = x * 2; using var w = z.exp(); return w * z; },
        ["a scope ends"] = (_, x) => { using var scope = NewDisposeScope(); var z = x.exp(); return (z * 2).MoveToOuterDisposeScope(); },
        ["a scope disposes everything"] = (_, x) => { using var scope = NewDisposeScope(); var z = x.exp(); var y = (z * 2).DetachFromDisposeScope(); scope.DisposeEverything(); return (y + 1).MoveToOuterDisposeScope(); },
        ["moved by its scope"] = (_, x) => { using var scope = NewDisposeScope(); var z = scope.MoveToOuter(x * 2); return (z + 1).MoveToOuterDisposeScope(); },
        ["detached from its scope"] = (m, x) => { using (NewDisposeScope()) { var z = (x * 2).DetachFromDisposeScope(); x = (z + 1).MoveToOuterDisposeScope(); m.Kept = z; } return x * m.Kept; },
        ["moved to the scope of another"] = (_, x) => { var y = x * 2; using (NewDisposeScope()) y = (x + 1).MoveToOtherDisposeScope(y); return y * 2; },
        ["counted in its scope"] = (_, x) => { using var scope = NewDisposeScope(); var z = x * 2; return (z * scope.DisposablesCount).MoveToOuterDisposeScope(); },
        ["a chunk outlives the other"] = (_, x) => { var h = Second((x * 2).chunk(2, -1)); for (var i = 0; i < 9; i++) { using var t = x + i; x = x * 1.5 - 1; } return cat([h, h], -1) - x; },
        ["kept in a property"] = (m, x) => { m.Kept = x * 2; return x + m.Kept; },
        ["kept in an array"] = (m, x) => { m.KeptArray = [x * 2, x * 3]; var y = x + 1; x.zero_(); return y + m.KeptArray[1]; },
        ["stored into an array that is kept"] = (m, x) => { var a = new Tensor[2]; m.KeptArray = a; a[0] = x * 2; x.zero_(); return m.KeptArray[0] + 1; },
        ["kept in a list"] = (_, x) => { var list = new List<Tensor> { x * 2 }; list.Add(x * 3); x.zero_(); return list[0] + list[1]; },
        ["kept in a dictionary"] = (_, x) => { var d = new Dictionary<string, Tensor> { ["a"] = x * 2 }; x.zero_(); return d["a"] + 1; },
        ["in a tuple"] = (_, x) => { var (a, b) = Pair(x); x.zero_(); return a - b; },
        ["captured"] = (_, x) => { var y = x * 2; Func<Tensor> f = () => y + 1; x.zero_(); return f(); },
        ["in another thread"] = (_, x) => { var y = x * 2; return Task.Run(() => y + x).Result; },
        ["in a query"] = (_, x) => new[] { x * 2, x * 3 }.Select(t => t + 1).Aggregate((a, b) => a * b),
        ["behind a reference"] = (_, x) => { var y = x * 2; Double(ref y); return y; },
        ["exchanged"] = (_, x) => { Tensor y = x * 2, z = x * 3; var old = Interlocked.Exchange(ref y, z); return old - y; },
        ["compared"] = (_, x) => (x * 2).Equals(x + x) ? x + 1 : x - 1,
        ["printed"] = (_, x) => x * $"{x * 2}".Length,
        ["read"] = (_, x) => { var s = (x * 2).mean([-1], true); return s[0, 0].item<float>() > 0 ? x + 1 : x - 1; },
        ["written through"] = (_, x) => { var y = x * 2; x.data<float>()[0, 0] = 7; return y + x; },
        ["asked for its shape"] = (_, x) => { var y = x * 2; return y.view(y.shape[1], -1) * y.dim() + y.size(-1); },
        ["of chunks"] = (_, x) => { var h = x.chunk(2, -1); var z = cat([-h[1], h[0]], -1); return z * x; },
        ["of a list of chunks"] = (_, x) => { var h = (x * 2).chunk(2, -1); return cat(new List<Tensor> { h[1], h[0] }, 1) + x; },
        ["of repeated parts"] = (_, x) => { var r = (x * 2).repeat_interleave(3, dim: 1); x.zero_(); return r.narrow(1, 2, 4) + x; },
        ["an op fails"] = (_, x) => { var y = x * 2; try { return y + ones(3, 3); } catch (Exception) { return y - 1; } },
        ["an exception passes"] = (_, x) => { var y = x * 2; try { Fail(x + 1); } catch (InvalidOperationException) { x.zero_(); } return y; },
        ["random numbers"] = (_, x) => { using var g = new Generator(3); var y = x * rand(2, 4, generator: g); var z = rand(2, 4, generator: g) + y; return z; },
        ["a longer chain than is walked"] = (_, x) => { var y = x; for (var i = 0; i < 1000; i++) y = y * 1.001 + 0.1; return y; },
        ["many at once"] = (_, x) => { var all = new Tensor[600]; for (var i = 0; i < all.Length; i++) all[i] = x * i; return all[599] - all[3]; },
        ["in place on a result that was computed for another"] = (_, x) => { Tensor y = x * 2, n = -y, z = (y * 3).exp(); y.add_(1); return n * y + z; },
        ["in place on a viewed result that was computed for another"] = (_, x) => { Tensor y = x * 2, v = y.view(-1), z = (y * 3).exp(); y.add_(1); return v.view(2, 4) + z; },
        ["in place on a view of a result that was computed for another"] = (_, x) => { Tensor y = x * 2, z = (y * 3).exp(); y.view(-1).mul_(2); return y + z; },
        ["an operand changes after a result was computed for another"] = (_, x) => { Tensor y = x * 2, z = (y * 3).exp(); x.zero_(); return y + z; },
        ["a result is disposed that was computed for another"] = (_, x) => { Tensor y = x * 2, n = -y, z = (y * 3).exp(); y.Dispose(); return n + z; },
        ["a result that was computed for another is returned"] = (_, x) => { Tensor y = x * 2, z = (y * 3).exp(); return z[0, 0].item<float>() > 0 ? y : z; },
        ["gradient mode changes"] = (_, x) => { Tensor y; using (no_grad()) y = x * 2; using (enable_grad()) return y * 3; },
    };

    public static TheoryData<string> Names => [.. Programs.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void TheResultIsTheSame(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        random.manual_seed(7);
        var x = randn(2, 4);
        var plain = new LambdaModel(Programs[name]).call(x.clone());
        using var model = new LambdaModel(Programs[name]);

        for (var run = 0; run < 2; run++)
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), new DeferringInterceptor())), name);
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void TheResultIsTheSameWhereValuesAreKeptInOtherMemory(string name)
    {
        using var scope = NewDisposeScope();
        using var noGrad = no_grad();
        random.manual_seed(7);
        var x = randn(2, 4);
        var plain = new LambdaModel(Programs[name]).call(x.clone());
        using var model = new LambdaModel(Programs[name]);

        for (var run = 0; run < 2; run++)
        {
            var keeping = new KeepingInterceptor();
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), keeping)), name);
            Assert.Equal(0, keeping.Left);
        }
    }

    [Theory]
    [MemberData(nameof(Names))]
    public void NoTensorIsLeft(string name)
    {
        using var noGrad = no_grad();
        using var x = randn(2, 4);
        using var model = new LambdaModel(Programs[name]);
        long Left(Func<Tensor, Tensor> run)
        {
            var before = DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount;
            using (NewDisposeScope())
                run(x.clone());
            model.Kept?.Dispose();
            return DisposeScopeManager.Statistics.TensorStatistics.ThreadTotalLiveCount - before;
        }

        Left(t => Intercepted.Run(model, t, new DeferringInterceptor()));

        Assert.InRange(Left(t => Intercepted.Run(model, t, new DeferringInterceptor())), long.MinValue, Left(model.call));
    }

    [Fact]
    public void WhatIsCopiedNeedNotBecomeATensor()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var seen = new KeepingInterceptor();
        var cache = zeros(3, 4);
        using var model = new LambdaModel((_, x) => { cache.narrow(0, 1, 2).copy_(x * 2); return cache.narrow(0, 0, 2) + 1; });

        var y = Intercepted.Run(model, ones(2, 4), seen);

        Assert.Equal(1, seen.Copies);
        Assert.Equal(1, y[0, 0].item<float>());
        Assert.Equal(3, y[1, 0].item<float>());
        Assert.Equal(2, cache[2, 3].item<float>());
    }

    [Fact]
    public void OpsWaitUntilTheyAreNeeded()
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var seen = new DeferringInterceptor();
        using var model = new LambdaModel((_, x) => { var never = x * 5; return (x * 2).relu(); });

        Intercepted.Run(model, randn(2, 4), seen);

        Assert.Equal([QwixSharp.Interception.Deferred.OpKind.Clamp, QwixSharp.Interception.Deferred.OpKind.Multiply], seen.Computed);
    }

    [Fact]
    public void NothingWaitsWhereGradientsAreRecorded()
    {
        using var scope = NewDisposeScope();
        var seen = new DeferringInterceptor();
        using var model = new LambdaModel((_, x) => (x * 2).relu().sum());
        var x = randn(2, 4).requires_grad_();

        Intercepted.Run(model, x, seen).backward();

        Assert.Empty(seen.Computed);
        Assert.Equal([2, 4], x.grad!.shape);
    }

    [Fact]
    public void ThreadsHaveGraphsOfTheirOwn()
    {
        using var model = new LambdaModel((_, x) => { var y = x * 2; x.add_(1); return (y + x).relu(); });
        Parallel.For(0, 64, i =>
        {
            using var noGrad = no_grad();
            using var scope = NewDisposeScope();
            var x = full([2, 4], i);
            Assert.True(Intercepted.BitEqual(full([2, 4], i) * 3 + 1, Intercepted.Run(model, x, new DeferringInterceptor())));
        });
    }

    /// <summary>Programs of four variables, taken from a list of numbers: ops, reads, writes in place, disposals, scopes.</summary>
    [Fact]
    public void ChanceProgramsGiveTheSame()
    {
        using var noGrad = no_grad();
        var chance = new Random(11);
        var kept = 0;
        for (var round = 0; round < 200; round++)
        {
            using var scope = NewDisposeScope();
            int[] program = [.. Enumerable.Range(0, 30).Select(_ => chance.Next(16))];
            using var model = new LambdaModel((_, t) => Execute(program, t));
            var x = randn(2, 4);
            var plain = model.call(x.clone());
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), new DeferringInterceptor())), string.Join(",", program));
            var keeping = new KeepingInterceptor();
            Assert.True(Intercepted.BitEqual(plain, Intercepted.Run(model, x.clone(), keeping)), string.Join(",", program));
            Assert.Equal(0, keeping.Left);
            kept += keeping.Kept;
        }

        Assert.True(kept > 0);
    }

    private static Tensor Execute(int[] program, Tensor a)
    {
        Tensor b = a + 1, c = a.chunk(2, -1)[0], d = b * 2;
        Tensor[] stored = [a];
        foreach (var step in program)
        {
            switch (step)
            {
                case 0: a = b + d; break;
                case 1: b = a * d; break;
                case 2: d = (a - b) * 0.5; break;
                case 3: c = cat([c.narrow(1, 0, 1), d.narrow(1, 1, 1)], 1); break;
                case 4: a.add_(1); break;
                case 5: d.mul_(0.5); break;
                case 6: b = a.transpose(0, 1).contiguous().view(2, 4); break;
                case 7: stored[0] = b; break;
                case 8: a = stored[0].sigmoid(); break;
                case 9: d = b.mean([-1], true) + a; break;
                case 10: if (a[0, 0].item<float>() > 1) b = -b; break;
                case 11: (a, b) = (b, a); break;
                case 12: { using var s = NewDisposeScope(); var t = a.sin(); d = (t + d * 0).MoveToOuterDisposeScope(); break; }
                case 13: { var t = d.cos(); d = t * 2; t.Dispose(); break; }
                case 14: c[0, 0] = 3; break;
                default: b = nn.functional.silu(b) + c.mean([-1], true); break;
            }
        }

        return a + b + d + c.mean([-1], true) + stored[0];
    }

    private static (Tensor, Tensor) Pair(Tensor x) => (x * 2, x + 1);

    private static Tensor Second(Tensor[] chunks) => chunks[1] + 1;

    private static void Double(ref Tensor x) => x = x * 2;

    private static void Fail(Tensor x) => throw new InvalidOperationException(x.shape.Length.ToString());
}
