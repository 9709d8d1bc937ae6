using System.Runtime.CompilerServices;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace QwixSharp.Tests.Interception.Models;

public class GenericModule<T> : ConstructModel where T : Module<Tensor, Tensor>
{
    private readonly T _inner;

    public GenericModule(T inner)
    {
        _inner = inner;
        RegisterComponents();
    }

    public override int Ops => 3;

    public override Tensor forward(Tensor x) => Doubled(_inner.call(x)) + x;

    private static U Doubled<U>(U value) => value is Tensor t ? (U)(object)(t + t) : value;
}

public interface IOperation
{
    Tensor Apply(Tensor x);

    Tensor Default(Tensor x) => x + x;

    static abstract Tensor Shared(Tensor x);

    T Typed<T>(T x, Tensor y) where T : class;
}

public struct StructOperation : IOperation
{
    public Tensor Apply(Tensor x) => x * x;

    public static Tensor Shared(Tensor x) => x * x;

    public readonly T Typed<T>(T x, Tensor y) where T : class => (T)(object)(y * y);
}

public class ClassOperation : IOperation
{
    public static Tensor Shared(Tensor x) => x * x;

    Tensor IOperation.Apply(Tensor x) => x * x;

    public T Typed<T>(T x, Tensor y) where T : class => (T)(object)(y * y);
}

public class InterfaceOnClass : ConstructModel
{
    private readonly IOperation _operation = new ClassOperation();

    public override int Ops => 2;

    public override Tensor forward(Tensor x) => _operation.Default(_operation.Apply(x));
}

public class ConstrainedStruct : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => Apply(new StructOperation(), x);

    private static Tensor Apply<T>(T operation, Tensor x) where T : IOperation => operation.Typed<Tensor>(x, operation.Apply(x));
}

public class ConstrainedClass : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => Apply(new ClassOperation(), x);

    private static Tensor Apply<T>(T operation, Tensor x) where T : IOperation => operation.Apply(x);
}

public class BoxedStruct : ConstructModel
{
    private readonly IOperation _operation = new StructOperation();

    public override int Ops => 2;

    public override Tensor forward(Tensor x) => _operation.Default(_operation.Apply(x));
}

public class StaticAbstract : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => Apply<StructOperation>(Apply<ClassOperation>(x));

    private static Tensor Apply<T>(Tensor x) where T : IOperation => T.Shared(x);
}

public class ConstrainedOp : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => Square(x);

    private static Tensor Square<T>(T x) where T : Tensor => x.mul(x);
}

public class NewSlot : ConstructModel
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x)
    {
        First a = new Third();
        Second b = new Third();
        return b.Apply(a.Apply(x));
    }

    private class First
    {
        public virtual Tensor Apply(Tensor x) => x + x;
    }

    private class Second : First
    {
        public new virtual Tensor Apply(Tensor x) => x;
    }

    private class Third : Second
    {
        public override Tensor Apply(Tensor x) => x * x * x;
    }
}

public class GenericVirtual : ConstructModel
{
    private readonly Plain _plain = new Doubling();

    public override int Ops => 1;

    public override Tensor forward(Tensor x) => _plain.Apply(x);

    private class Plain
    {
        public virtual T Apply<T>(T x) => x;
    }

    private class Doubling : Plain
    {
        public override T Apply<T>(T x) => x is Tensor t ? (T)(object)(t + t) : x;
    }
}

public abstract class BaseForward : ConstructModel
{
    public override Tensor forward(Tensor x) => Post(x + 1f);

    protected virtual Tensor Post(Tensor x) => x * 2f;
}

public class CallsBase : BaseForward
{
    public override int Ops => 3;

    public override Tensor forward(Tensor x) => base.forward(x);

    protected override Tensor Post(Tensor x) => base.Post(x) + 1f;
}

public class WorkInConstructors : ConstructModel
{
    public override int Ops => 4;

    public override Tensor forward(Tensor x) => new Holder(new Pair(x).Sum).Value;

    private class HolderBase(Tensor x)
    {
        public Tensor Value { get; protected set; } = x + x;
    }

    private sealed class Holder : HolderBase
    {
        public Holder(Tensor x) : base(x) => Value = Value * Value;
    }

    private readonly struct Pair
    {
        public readonly Tensor Sum;

        public Pair(Tensor x)
        {
            var twice = x + x;
            Sum = twice + x;
        }
    }
}

public class Records : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x)
    {
        var (a, b) = new Parts(x + x, x) with { Second = x };
        return a * b;
    }

    private sealed record Parts(Tensor First, Tensor Second);
}

public class StaticConstructor : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => Scaled.By(x);

    private static class Scaled
    {
        private static readonly float Factor;

        static Scaled() => Factor = 2f;

        public static Tensor By(Tensor x) => x * Factor;
    }
}

public class PropertyWithOps : ConstructModel
{
    private Tensor? _x;

    public override int Ops => 2;

    private Tensor Twice => _x! + _x!;

    public override Tensor forward(Tensor x)
    {
        _x = x;
        var y = Twice * 2f;
        _x = null;
        return y;
    }
}

public class PrivateAccessor : ConstructModel
{
    public override int Ops => 1;

    public override Tensor forward(Tensor x) => Twice(new Vault(), x);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "Twice")]
    private static extern Tensor Twice(Vault vault, Tensor x);

    private sealed class Vault
    {
        private readonly float _factor = 2f;

        public bool IsOpen => _factor > 2f;

        private Tensor Twice(Tensor x) => IsOpen ? x : x * _factor;
    }
}

public class UserOperators : ConstructModel
{
    public override int Ops => 2;

    public override Tensor forward(Tensor x) => (new Boxed(x) + new Boxed(x)).Value.Squared();

    private readonly record struct Boxed(Tensor Value)
    {
        public static Boxed operator +(Boxed a, Boxed b) => new(a.Value + b.Value);
    }
}

internal static class TensorExtensions
{
    internal static Tensor Squared(this Tensor x) => x * x;
}
