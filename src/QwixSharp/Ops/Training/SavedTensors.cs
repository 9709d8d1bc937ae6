using QwixSharp.Arrays;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>What a product keeps for its backward pass. Autograd holds the tensors, and sees when one was written to since.</summary>
internal sealed class SavedTensors
{
    /// <summary>The tensors, in the order in which they were added.</summary>
    internal List<Tensor> Tensors { get; } = [];

    internal SavedOperand Add(Operand operand)
    {
        int first = Tensors.Count;
        if (operand.QArray is not { } array)
        {
            Tensors.Add(operand.Tensor!);
            return new SavedOperand(first, null, [], false);
        }

        // The array may be disposed of before its tensors are saved.
        Tensors.AddRange([array.Codes.alias(), array.Scale.alias()]);
        if (array.ZeroPoint is not null)
            Tensors.Add(array.ZeroPoint.alias());
        return new SavedOperand(first, array.QType, array.Shape.ToArray(), array.ZeroPoint is not null);
    }

    internal SavedMask Add(GradientMask mask)
    {
        Tensors.Add(mask.Marks);
        return new SavedMask(Tensors.Count - 1);
    }
}

/// <summary>The place of an operand among saved tensors.</summary>
internal sealed record SavedOperand(int First, QType? QType, long[] Shape, bool HasZeroPoint)
{
    /// <summary>The operand again, in the saved tensors themselves.</summary>
    internal Operand Restore(IReadOnlyList<Tensor> saved) => QType is null
        ? saved[First]
        : new QArray(QType, Shape, saved[First], saved[First + 1], HasZeroPoint ? saved[First + 2] : null);
}

/// <summary>The place of a mask among saved tensors.</summary>
internal sealed record SavedMask(int Place)
{
    /// <summary>The mask again, in the saved tensor itself.</summary>
    internal GradientMask Restore(IReadOnlyList<Tensor> saved) => new(saved[Place]);
}
