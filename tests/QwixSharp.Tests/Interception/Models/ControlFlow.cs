using System.Runtime.CompilerServices;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception.Models;

public class ExceptionFilter : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        var k = 3;
        try
        {
            x = x + x;
            throw new InvalidOperationException("boom");
        }
        catch (InvalidOperationException e) when (e.Message == "boom" && k == 3)
        {
            return x * x;
        }
        finally
        {
            k = 4;
        }
    }
}

public class NestedTryFinally : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x)
    {
        for (var i = 0; i < 3; i++)
        {
            try
            {
                if (i == 1) continue;
                x = x + 1f;
            }
            catch (ArgumentException)
            {
                throw;
            }
            finally
            {
                if (i == 2) x = x * 2f;
            }
        }

        return x;
    }
}

public class StringSwitch : ConstructModel
{
    public string Mode { get; set; } = "gelu_long_name";

    public override int Ops => 1;

    public override Tensor forward(Tensor x) => Mode switch
    {
        "relu" => functional.relu(x),
        "a" or "b" => x,
        "c" => x + x,
        "d" => x,
        "e" => x * x,
        "gg" => x,
        "gelu_long_name" => functional.gelu(x),
        _ => throw new InvalidOperationException($"bad {Mode} {x.ndim}"),
    };
}

public class IntSwitch : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x)
    {
        for (var i = 0; i < 8; i++)
        {
            switch (i)
            {
                case 0: x = x + 1f; break;
                case 1: x = x * 2f; break;
                case 2: case 3: break;
                case 4: x = x - 1f; break;
                default: continue;
            }
        }

        return x;
    }
}

public class LockAndUsing : ConstructModel
{
    private readonly object _gate = new();

    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        lock (_gate)
        {
            using (no_grad())
            using (var g = x.detach())
            {
                return g + 0f;
            }
        }
    }
}

public class MutualRecursion : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => Down(x, 3);

    private static Tensor Down(Tensor x, int n) => n == 0 ? x : Again(x + x, n - 1);

    private static Tensor Again(Tensor x, int n) => Down(x, n);
}

public class CallerInfo : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => OfCaller(x);

    private static Tensor OfCaller(Tensor x, [CallerMemberName] string name = "") => name == "forward" ? x + x : x * x * x;
}

public class NullConditional : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        Tensor? y = null;
        y ??= x + x;
        var z = y?.mul(y);
        return z!;
    }
}

public class PatternMatch : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => x switch
    {
        { ndim: 1 } => x + x,
        { ndim: 2 } d when d.shape is [2, var n] && n > 1 => d * d,
        _ => x,
    };
}

public class InterpolatedStrings : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x)
    {
        var name = $"{x.ndim}-{x.shape[0],4:D2}";
        return name.Length > 3 ? x + x : x;
    }
}
