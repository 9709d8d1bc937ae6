namespace QwixSharp.Interception.Deferred;

/// <summary>What a call of a deferrable op means. It stays on the stack.</summary>
internal ref struct DeferredCall
{
    /// <summary>The tensors that it reads.</summary>
    internal Operands Operands;

    /// <summary>The shape of the result.</summary>
    internal long[]? Shape;

    /// <summary>The number of an op of a tensor and a number; NaN where both operands are tensors; the lower bound of a clamp.</summary>
    internal double Number;

    /// <summary>The upper bound of a clamp.</summary>
    internal double UpperBound;

    /// <summary>The axis of a part, a concatenation or a mean, or the first of a transpose; 1 where a number is divided by a tensor.</summary>
    internal int Axis;

    /// <summary>Where a part begins, or the second axis of a transpose.</summary>
    internal long Start;

    /// <summary>Whether the result, computed as the model wrote it, is known to lie without gaps in row-major order.</summary>
    internal bool IsContiguous;

    /// <summary>What the evaluator has found out about the op when it agreed to defer it.</summary>
    internal object? Payload;

    /// <summary>Whether the result is written over the first operand.</summary>
    internal bool Overwrites;

    /// <summary>Whether the call returns an alias of the operand that it wrote over, instead of the operand itself.</summary>
    internal bool IsAliased;
}
