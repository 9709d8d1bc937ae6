namespace QwixSharp.Interception;

/// <summary>Why interception cannot see a piece of a model.</summary>
public enum CoverageGapKind
{
    /// <summary>An async method or async iterator: its code runs in a state machine that the runtime calls.</summary>
    AsyncMethod,

    /// <summary>A call through a function pointer, or the making of one.</summary>
    FunctionPointer,

    /// <summary>A <c>dynamic</c> expression: the op is chosen and called by the run-time binder.</summary>
    DynamicCallSite,

    /// <summary>An expression tree that is compiled, or a delegate that came of one: it has no IL to copy.</summary>
    CompiledExpression,

    /// <summary>A <see cref="System.Reflection.Emit.DynamicMethod"/>: it has no IL to copy.</summary>
    DynamicMethod,

    /// <summary>A <see cref="Lazy{T}"/> of tensors that was made before the run and has no value yet: it holds a delegate that cannot be replaced.</summary>
    HiddenDelegate,

    /// <summary>A method called through reflection.</summary>
    Reflection,

    /// <summary>A custom autograd function: TorchSharp calls its forward pass.</summary>
    AutogradFunction,

    /// <summary>
    /// A module with parameters whose forward pass is native: it is seen as one op, its inner products are not. Or
    /// TorchScript or an exported program, of which nothing is seen.
    /// </summary>
    NativeModule,

    /// <summary>An op with by-reference parameters, which cannot be handed to an interceptor.</summary>
    UnseenOp,

    /// <summary>A method whose IL could not be copied; the original runs in its place.</summary>
    NotCopied,
}
