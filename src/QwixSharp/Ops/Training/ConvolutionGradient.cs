using System.Collections.Concurrent;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Training;

/// <summary>
/// The gradients of a convolution in PyTorch's layout, of one to three spatial axes, plain or transposed. Each list has
/// an entry a spatial axis.
/// </summary>
/// <param name="Strides">The strides.</param>
/// <param name="Padding">The padding in front and behind.</param>
/// <param name="Dilation">The spacing of the kernel's elements.</param>
/// <param name="Groups">The number of feature groups.</param>
/// <param name="Transposed">Whether it is a transposed convolution.</param>
/// <param name="OutputPadding">What a transposed convolution adds to its output's length.</param>
internal sealed record ConvolutionGradient(
    IReadOnlyList<long> Strides,
    IReadOnlyList<(long Low, long High)> Padding,
    IReadOnlyList<long> Dilation,
    long Groups,
    bool Transposed,
    IReadOnlyList<long> OutputPadding)
{
    private static readonly ConcurrentDictionary<string, jit.CompilationUnit> Scripts = new();

    private bool HasEvenPadding => Padding.All(p => p.Low == p.High);

    /// <summary>The gradient of the input.</summary>
    /// <param name="gradient">That of the result.</param>
    /// <param name="inputShape">(N, C, spatial).</param>
    /// <param name="kernel">The kernel.</param>
    internal Tensor OfInput(Tensor gradient, long[] inputShape, Tensor kernel)
    {
        using var scope = NewDisposeScope();
        var padded = empty(PaddedShape(inputShape), dtype: gradient.dtype, device: gradient.device);
        var result = Call("input", gradient, padded, kernel);
        for (int i = 0; i < Padding.Count && !HasEvenPadding; i++)
            result = result.narrow(i + 2, Padding[i].Low, inputShape[i + 2]);
        return result.MoveToOuterDisposeScope();
    }

    /// <summary>The gradient of the kernel.</summary>
    /// <param name="gradient">That of the result.</param>
    /// <param name="input">The input.</param>
    /// <param name="kernelShape">The shape of the kernel.</param>
    internal Tensor OfKernel(Tensor gradient, Tensor input, long[] kernelShape)
    {
        using var scope = NewDisposeScope();
        var padded = HasEvenPadding ? input : nn.functional.pad(input, [.. Enumerable.Reverse(Padding).SelectMany(p => new[] { p.Low, p.High })]);
        return Call("kernel", gradient, padded, empty(kernelShape, dtype: gradient.dtype, device: gradient.device)).MoveToOuterDisposeScope();
    }

    private long[] PaddedShape(long[] shape) =>
        HasEvenPadding ? shape : [.. shape[..2], .. shape[2..].Select((length, i) => length + Padding[i].Low + Padding[i].High)];

    /// <summary>libtorch's convolution_backward, which TorchSharp has no method for.</summary>
    private Tensor Call(string which, Tensor gradient, Tensor input, Tensor kernel)
    {
        var script = Scripts.GetOrAdd(Arguments(), arguments => jit.compile($"""
            def input(g, x, w):
              a, b, c = torch.convolution_backward(g, x, w, None, {arguments}, [True, False, False])
              return a
            def kernel(g, x, w):
              a, b, c = torch.convolution_backward(g, x, w, None, {arguments}, [False, True, False])
              return b

            """));
        return (Tensor)script.invoke(which, gradient, input, kernel);
    }

    private string Arguments()
    {
        static string List(IEnumerable<long> numbers) => $"[{string.Join(", ", numbers)}]";
        var padding = Padding.Select(p => HasEvenPadding ? p.Low : 0);
        return $"{List(Strides)}, {List(padding)}, {List(Dilation)}, {(Transposed ? "True" : "False")}, {List(OutputPadding)}, {Groups}";
    }
}
