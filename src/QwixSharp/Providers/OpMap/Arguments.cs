using QwixSharp.Interception;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.OpMap;

/// <summary>Reads the arguments of a call by position or by the parameter's name.</summary>
internal static class Arguments
{
    internal static Tensor Tensor(in OpCall call, int index) => (Tensor)call.Arguments[index]!;

    /// <summary>The argument for the first of some parameter names that the method has; null where it has none.</summary>
    internal static object? Named(in OpCall call, params ReadOnlySpan<string> names)
    {
        var parameters = call.Op.Method.GetParameters();
        int offset = call.Op.Method.IsStatic ? 0 : 1;
        foreach (var name in names)
        {
            for (int i = 0; i < parameters.Length; i++)
            {
                if (parameters[i].Name == name)
                    return call.Arguments[i + offset];
            }
        }

        return null;
    }

    /// <summary>One number an axis, from an argument that is a number, an array or null.</summary>
    internal static long[] PerAxis(object? argument, int axes, long otherwise) => argument switch
    {
        null => [.. Enumerable.Repeat(otherwise, axes)],
        long number => [.. Enumerable.Repeat(number, axes)],
        long[] { Length: 1 } one => [.. Enumerable.Repeat(one[0], axes)],
        long[] numbers when numbers.Length == axes => numbers,
        _ => throw new QwixException($"Cannot read {argument} as numbers for {axes} axes."),
    };

    /// <summary>A product with a bias added to its last axis or along an axis of features; in place where no gradient forbids it.</summary>
    /// <param name="product">The product, which nobody else has.</param>
    /// <param name="bias">The bias, if there is one.</param>
    /// <param name="mayWrite">Whether the backward pass can do without the product's value.</param>
    /// <param name="featureAxis">The axis of the features.</param>
    internal static Tensor AddBias(Tensor product, Tensor? bias, bool mayWrite, int featureAxis = -1)
    {
        if (bias is null)
            return product;
        long[] shape = [.. Enumerable.Repeat(1L, (int)product.dim())];
        shape[featureAxis < 0 ? ^1 : featureAxis] = -1;
        using var broadcast = bias.reshape(shape);
        if (bias.dtype == product.dtype && (mayWrite || !(is_grad_enabled() && (product.requires_grad || bias.requires_grad))))
        {
            product.add_(broadcast, LastingNumber.Of(1));
            return product;
        }

        using (product)
            return product.add(broadcast, LastingNumber.Of(1));
    }
}
