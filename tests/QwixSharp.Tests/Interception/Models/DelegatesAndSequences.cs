using System.Collections;
using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Models;

public class MethodGroups : ConstructModel
{
    public override int Ops => 4;

    public override Tensor forward(Tensor x)
    {
        Func<Tensor, Tensor> a = Overridable, b = Fixed, c = sigmoid, d = x.add;
        return d(c(b(a(x))));
    }

    protected virtual Tensor Overridable(Tensor x) => x + x;

    private static Tensor Fixed(Tensor x) => x * x;
}

public class DelegatesInFields : ConstructModel
{
    private static readonly Func<Tensor, Tensor> Square = t => t * t;
    private readonly Func<Tensor, Tensor> _twice;
    private readonly Func<Tensor, Tensor> _op = tanh;

    public DelegatesInFields() => _twice = t => t + t;

    public override int Ops => 4;

    public override Tensor forward(Tensor x) => new[] { _op(Square(x)) }.Select(_twice).Select(t => t + 1f).First();
}

public class Multicast : ConstructModel
{
    private readonly Func<Tensor, Tensor> _both;

    public Multicast()
    {
        _both = t => t + t;
        _both += t => t * t;
    }

    public override int Ops => 4;

    public override Tensor forward(Tensor x)
    {
        Func<Tensor, Tensor> f = t => t + t;
        f += t => t * t;
        return _both(f(x));
    }
}

public class CapturingLambda : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x)
    {
        var count = 0;
        Tensor Step(Tensor t)
        {
            count++;
            return t + x;
        }

        Func<Tensor, Tensor> step = t => Step(t) * count;
        return step(x).add(count);
    }
}

public class StructMethodDelegate : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        Func<Tensor, Tensor> f = new Scale(3f).Apply;
        return f(x);
    }

    private readonly struct Scale(float factor)
    {
        public Tensor Apply(Tensor x) => x * factor;
    }
}

public class CachedStaticLambda : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => Enumerable.Range(0, 1).Select(static i => i + 1).Select(i => x * i).Aggregate(x, static (a, b) => a + b);
}

public class IteratorInForeach : ConstructModel
{
    public override int Ops => 5;

    public override Tensor forward(Tensor x)
    {
        Tensor? sum = null;
        foreach (var part in Parts(x)) sum = sum is null ? part : sum + part;
        return sum!;
    }

    private static IEnumerable<Tensor> Parts(Tensor x)
    {
        for (var i = 0; i < 3; i++) yield return x * i;
    }
}

public class IteratorInLinq : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => Parts(x).Aggregate((a, b) => a * b);

    private static IEnumerable<Tensor> Parts(Tensor x)
    {
        for (var i = 0; i < 2; i++) yield return x + x;
    }
}

public class IteratorInOp : ConstructModel
{
    public override int Ops => 6;

    public override Tensor forward(Tensor x) => stack(Parts(x)).add(stack(new[] { x, x, x }.Select(t => t)));

    private static IEnumerable<Tensor> Parts(Tensor x)
    {
        yield return x + x;
        yield return x * x;
        yield return x - 1f;
    }
}

public class LazySelectInOp : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => stack(new[] { 1, 2 }.Select(i => x * i));
}

public class IteratorInList : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => cat(new List<Tensor>(Parts(x)));

    private static IEnumerable<Tensor> Parts(Tensor x)
    {
        yield return x + x;
        yield return x * x;
    }
}

public class OwnCollection : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x)
    {
        foreach (var part in new Bag(x)) x = x + part;
        return x;
    }

    private sealed class Bag(Tensor x) : IEnumerable<Tensor>
    {
        public IEnumerator<Tensor> GetEnumerator() => new Cursor(x);

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }

    private sealed class Cursor(Tensor x) : IEnumerator<Tensor>
    {
        private int _index;

        public Tensor Current => _index == 1 ? x * 2f : x;

        object IEnumerator.Current => Current;

        public bool MoveNext() => ++_index < 3;

        public void Reset() => _index = 0;

        public void Dispose() { }
    }
}

public class LazyValue : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => new Lazy<Tensor>(() => x + x).Value;
}

public class ParallelLoop : ConstructModel
{
    public override int Ops => 5;

    public override Tensor forward(Tensor x)
    {
        var parts = new Tensor[4];
        Parallel.For(0, 4, i => parts[i] = (x + i).DetachFromDisposeScope());
        return cat(parts);
    }
}

public class TaskRun : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        var task = Task.Run(() => (x + x).DetachFromDisposeScope());
        return task.GetAwaiter().GetResult() * x;
    }
}

public class OwnThread : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        Tensor? y = null;
        var thread = new Thread(() => y = (x + x).DetachFromDisposeScope());
        thread.Start();
        thread.Join();
        return y!;
    }
}

public class WrappedScope : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => WrappedTensorDisposeScope(() => (x + x) * x);
}
