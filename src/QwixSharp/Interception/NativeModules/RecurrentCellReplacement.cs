using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>LSTMCell, GRUCell and RNNCell: one step, with the projections of input and hidden state.</summary>
internal static class RecurrentCellReplacement
{
    internal static (Tensor, Tensor) Forward(LSTMCell module, Tensor input, (Tensor, Tensor)? h0_c0)
    {
        using var scope = NewDisposeScope();
        var hidden = h0_c0 is null ? Zeros(module, input) : h0_c0.Value.Item1;
        var cell = h0_c0 is null ? Zeros(module, input) : h0_c0.Value.Item2;
        var (nextHidden, nextCell) = RecurrentSteps.Lstm(FromInput(module, input), FromHidden(module, hidden), cell);
        return (nextHidden.MoveToOuterDisposeScope(), nextCell.MoveToOuterDisposeScope());
    }

    internal static Tensor Forward(GRUCell module, Tensor input, Tensor? h0) =>
        Forward(module, RecurrentKind.Gru, input, h0);

    internal static Tensor Forward(RNNCell module, Tensor input, Tensor? h0) =>
        Forward(module, NonLinearity.Of(module), input, h0);

    private static Tensor Forward(nn.Module module, RecurrentKind kind, Tensor input, Tensor? h0)
    {
        using var scope = NewDisposeScope();
        var hidden = h0 is null ? Zeros(module, input) : h0;
        return RecurrentSteps.Next(kind, FromInput(module, input), FromHidden(module, hidden), hidden).MoveToOuterDisposeScope();
    }

    private static Tensor FromInput(nn.Module module, Tensor input) =>
        nn.functional.linear(input, ModuleParameters.Required(module, "weight_ih"), ModuleParameters.Optional(module, "bias_ih"));

    private static Tensor FromHidden(nn.Module module, Tensor hidden) =>
        nn.functional.linear(hidden, ModuleParameters.Required(module, "weight_hh"), ModuleParameters.Optional(module, "bias_hh"));

    private static Tensor Zeros(nn.Module module, Tensor input)
    {
        var shape = input.shape;
        shape[^1] = ModuleParameters.Required(module, "weight_hh").shape[1];
        return zeros(shape, dtype: input.dtype, device: input.device);
    }
}
