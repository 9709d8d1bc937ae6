using static TorchSharp.torch;

namespace QwixSharp.Ops;

/// <summary>A product in canonical form: lhs [batch, M, K] and rhs [batch, N, K] give [batch, M, N].</summary>
/// <param name="Lhs">The left side.</param>
/// <param name="Rhs">The right side.</param>
/// <param name="ResultDtype">The dtype of the result.</param>
/// <param name="OnCodes">
/// Whether the rules say to multiply codes and scale the result; else quantized sides are dequantized first. Both sides
/// are quantized where it is true.
/// </param>
internal sealed record CanonicalProduct(ProductOperand Lhs, ProductOperand Rhs, ScalarType ResultDtype, bool OnCodes);

/// <summary>Decides how a product in canonical form is computed: by a kernel, on codes, or on numbers. All but convolutions come through here.</summary>
internal static class ProductDispatch
{
    /// <summary>Computes a product.</summary>
    /// <returns>[batch, M, N] of the result dtype, the caller's.</returns>
    internal static Tensor Compute(CanonicalProduct product)
    {
        using var scope = NewDisposeScope();
        var result = KernelProduct.TryCompute(product) ?? (product.OnCodes ? CodeProduct.Compute(product) : OnValues(product));
        return result.to(product.ResultDtype).MoveToOuterDisposeScope();
    }

    private static Tensor OnValues(CanonicalProduct product)
    {
        var dtype = ResultTypes.ForCompute(ResultTypes.Promote(product.Lhs.Dtype, product.Rhs.Dtype), product.ResultDtype);
        return Multiply(product.Lhs.Values(dtype), product.Rhs.Values(dtype));
    }

    /// <summary>[batch, M, K] times [batch, N, K] transposed; one batch goes to the plain matrix product.</summary>
    internal static Tensor Multiply(Tensor lhs, Tensor rhs) => lhs.shape[0] == 1
        ? lhs.squeeze(0).matmul(rhs.squeeze(0).t()).unsqueeze(0)
        : lhs.matmul(rhs.transpose(1, 2));
}
