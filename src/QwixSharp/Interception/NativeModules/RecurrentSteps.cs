using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>The kinds of recurrent cells.</summary>
internal enum RecurrentKind
{
    Lstm,
    Gru,
    Tanh,
    Relu,
}

/// <summary>One step of a recurrent cell, from the projections of its input and of its hidden state.</summary>
/// <remarks>The formulas are those in PyTorch's documentation of LSTM, GRU and RNN.</remarks>
internal static class RecurrentSteps
{
    /// <summary>The next hidden state of a GRU or an Elman cell.</summary>
    internal static Tensor Next(RecurrentKind kind, Tensor fromInput, Tensor fromHidden, Tensor hidden)
    {
        if (kind == RecurrentKind.Gru) return Gru(fromInput, fromHidden, hidden);
        using var sum = fromInput + fromHidden;
        return kind == RecurrentKind.Relu ? nn.functional.relu(sum) : tanh(sum);
    }

    /// <summary>The next hidden and cell state of an LSTM; the gates come in the order i, f, g, o.</summary>
    internal static (Tensor Hidden, Tensor Cell) Lstm(Tensor fromInput, Tensor fromHidden, Tensor cell)
    {
        using var scope = NewDisposeScope();
        var gates = (fromInput + fromHidden).chunk(4, -1);
        var next = (sigmoid(gates[1]) * cell) + (sigmoid(gates[0]) * tanh(gates[2]));
        var hidden = sigmoid(gates[3]) * tanh(next);
        return (hidden.MoveToOuterDisposeScope(), next.MoveToOuterDisposeScope());
    }

    /// <summary>The gates come in the order r, z, n; the reset gate acts on the projected hidden state.</summary>
    private static Tensor Gru(Tensor fromInput, Tensor fromHidden, Tensor hidden)
    {
        using var scope = NewDisposeScope();
        var x = fromInput.chunk(3, -1);
        var h = fromHidden.chunk(3, -1);
        var reset = sigmoid(x[0] + h[0]);
        var update = sigmoid(x[1] + h[1]);
        var candidate = tanh(x[2] + (reset * h[2]));
        return (candidate + (update * (hidden - candidate))).MoveToOuterDisposeScope();
    }
}
