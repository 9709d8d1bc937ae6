using System.Reflection;
using QwixSharp.LiteRT.Graphs;
using static TorchSharp.torch;

namespace QwixSharp.LiteRT.Capture;

/// <summary>A tensor of a captured model: its shape and dtype, and its values where these do not depend on the inputs.</summary>
internal sealed class CapturedTensor(IReadOnlyList<long> shape, ScalarType dtype, string name, Tensor? constant = null, FakeQuant? fakeQuant = null)
{
    internal IReadOnlyList<long> Shape { get; } = shape;

    internal ScalarType Dtype { get; } = dtype;

    /// <summary>The path of the parameter or buffer that it is or comes from, the name of an input, or empty.</summary>
    internal string Name { get; } = name;

    /// <summary>The values of a parameter, a buffer, or what is computed from these alone; null for an activation.</summary>
    internal Tensor? Constant { get; } = constant;

    /// <summary>The integers of a fake-quantized tensor; null for others.</summary>
    internal FakeQuant? FakeQuant { get; } = fakeQuant;
}

/// <summary>One call of a TorchSharp op whose result depends on the inputs.</summary>
/// <param name="Op">Its short name, such as <c>conv2d</c>.</param>
/// <param name="Method">The TorchSharp method.</param>
/// <param name="Arguments">The arguments, with captured tensors in the place of tensors.</param>
/// <param name="Results">The tensors that it gives.</param>
/// <param name="ModulePath">The path of the module that calls it.</param>
internal sealed record CapturedNode(string Op, MethodInfo Method, object?[] Arguments, CapturedTensor[] Results, string ModulePath)
{
    /// <summary>The name of a fake-quant among the ops.</summary>
    internal const string FakeQuant = "fake_quant";

    /// <summary>The op and its place, for messages.</summary>
    internal string Place => $"{Op} in module \"{ModulePath}\"";
}

/// <summary>What a model computes: its ops in the order of the calls.</summary>
internal sealed record CapturedGraph(IReadOnlyList<CapturedTensor> Inputs, IReadOnlyList<CapturedNode> Nodes, IReadOnlyList<(string Name, CapturedTensor Tensor)> Outputs);
