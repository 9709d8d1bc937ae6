using QwixSharp.Ops;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Lora;

/// <summary>
/// An Einstein sum with a weight on the right: A has the weight's axes that the other operand has too, then the rank; B
/// has the rank, then the weight's other axes.
/// </summary>
internal sealed class EinsumForm : LoraForm
{
    private readonly string _equation;
    private readonly string _weightEquation;
    private readonly long[] _shared;
    private readonly long[] _own;
    private readonly bool _isMatrix;

    internal EinsumForm(string equation, int inputRank, long[] weightShape)
    {
        var parsed = EinsumEquation.Parse(equation, inputRank, weightShape.Length);
        string lhs = parsed.Inputs[0], rhs = parsed.Inputs[1];
        char rank = RankLetter(lhs + rhs);
        string shared = string.Concat(rhs.Where(lhs.Contains)), own = string.Concat(rhs.Where(letter => !lhs.Contains(letter)));
        _shared = [.. shared.Select(Length)];
        _own = [.. own.Select(Length)];
        _equation = $"{lhs},{shared}{rank},{rank}{own}->{parsed.Output}";
        _weightEquation = $"{shared}{rank},{rank}{own}->{rhs}";
        _isMatrix = shared.Length == 1 && own.Length == 1 && !parsed.Output.Contains(shared[0]);

        long Length(char letter) => weightShape[rhs.IndexOf(letter)];
    }

    internal override long LargestRank => Math.Min(Product(_shared), Product(_own));

    internal override LoraLayout Layout => _isMatrix ? LoraLayout.Matrix : LoraLayout.Other;

    internal override long[] ShapeA(long rank) => [.. _shared, rank];

    internal override long[] ShapeB(long rank) => [rank, .. _own];

    internal override Tensor Delta(Tensor x, Tensor a, Tensor b) => EinsumOp.Compute(_equation, null, [x, a, b]);

    internal override Tensor WeightDelta(Tensor a, Tensor b) => EinsumOp.Compute(_weightEquation, null, [a, b]);

    private static char RankLetter(string used) => used.Contains('r')
        ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".First(letter => !used.Contains(letter))
        : 'r';
}
