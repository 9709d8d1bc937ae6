using static TorchSharp.torch;

namespace QwixSharp.Tests.Interception.Models;

public class ParamsSpan : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => Sum(x, x, x).view([-1]);

    private static Tensor Sum(params ReadOnlySpan<Tensor> parts)
    {
        var sum = parts[0];
        foreach (var part in parts[1..]) sum = sum + part;
        return sum;
    }
}

public class StackAllocation : ConstructModel
{
    public override int Ops => 2;

    public override unsafe Tensor forward(Tensor x)
    {
        Span<long> shape = stackalloc long[2];
        shape[0] = x.shape[0];
        ReadOnlySpan<int> constants = [1, 2, 3];
        ref var first = ref shape[0];
        first += 0;
        fixed (long* p = shape) p[1] = -1;
        return x.view(shape.ToArray()) + (float)constants[2];
    }
}

public class RefAndOut : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        var t = x;
        Apply(ref t, out var result, 3);
        return result;
    }

    protected virtual void Apply(ref Tensor a, out Tensor b, in int k)
    {
        a = a + a;
        b = a * a;
    }
}

public class RefReturn : ConstructModel
{
    private Tensor? _cache;

    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        Cache(x) = x + x;
        var result = _cache!;
        _cache = null;
        return result;
    }

    private ref Tensor? Cache(Tensor x)
    {
        if (x.IsInvalid) throw new InvalidOperationException();
        return ref _cache;
    }
}

public class TupleResult : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        var (values, _) = x.max(1);
        return values;
    }
}

public class RangeIndexers : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => cat([x, x], dim: -1)[.., ..3];
}

public class IndexAssignment : ConstructModel
{
    public override int Ops => 4;

    public override Tensor forward(Tensor x)
    {
        var y = x.clone();
        y[0, 1] = tensor(5f);
        return y.add_(1f);
    }
}

public class MultiDimensionalArray : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        var grid = new Tensor[1, 2];
        grid[0, 1] = x;
        return grid[0, 1] + x;
    }
}
