using TorchSharp.Modules;
using static TorchSharp.torch;

namespace QwixSharp.Interception.NativeModules;

/// <summary>LSTM, GRU and RNN: one product for the input of a whole sequence, one a step for the hidden state.</summary>
internal static class RecurrentReplacement
{
    internal static (Tensor, Tensor, Tensor) Forward(LSTM module, Tensor input, (Tensor, Tensor)? h0_c0)
    {
        var options = RecurrentOptions.Of(module);
        using var scope = NewDisposeScope();
        var hidden = h0_c0 is null ? Zeros(options, input) : h0_c0.Value.Item1;
        var cell = h0_c0 is null ? Zeros(options, input) : h0_c0.Value.Item2;
        var (output, lastHidden, lastCell) = Run(module, options, input, hidden, cell);
        return (output.MoveToOuterDisposeScope(), lastHidden.MoveToOuterDisposeScope(), lastCell!.MoveToOuterDisposeScope());
    }

    internal static (Tensor, Tensor) Forward(GRU module, Tensor input, Tensor? h0) =>
        Forward(module, RecurrentOptions.Of(module), input, h0);

    internal static (Tensor, Tensor) Forward(RNN module, Tensor input, Tensor? h0) =>
        Forward(module, RecurrentOptions.Of(module), input, h0);

    private static (Tensor, Tensor) Forward(nn.Module module, RecurrentOptions options, Tensor input, Tensor? h0)
    {
        using var scope = NewDisposeScope();
        var (output, lastHidden, _) = Run(module, options, input, h0 is null ? Zeros(options, input) : h0, null);
        return (output.MoveToOuterDisposeScope(), lastHidden.MoveToOuterDisposeScope());
    }

    private static Tensor Zeros(RecurrentOptions options, Tensor input)
    {
        var shape = input.shape;
        if (shape.Length != 3) throw NotASequence(input);
        return zeros([options.Layers * options.Directions, shape[options.BatchFirst ? 0 : 1], options.HiddenSize], dtype: input.dtype, device: input.device);
    }

    private static ArgumentException NotASequence(Tensor input) =>
        new($"input must have 3 dimensions (sequence, batch and features), got {input.dim()}.", nameof(input));

    private static (Tensor Output, Tensor Hidden, Tensor? Cell) Run(nn.Module module, RecurrentOptions options, Tensor input, Tensor hidden, Tensor? cell)
    {
        if (input.dim() != 3) throw NotASequence(input);
        var dropout = module.training && options.Layers > 1 ? options.Dropout : 0;
        var sequence = options.BatchFirst ? input.transpose(0, 1) : input;
        var lastHidden = new Tensor[options.Layers * options.Directions];
        var lastCell = new Tensor[lastHidden.Length];
        for (var layer = 0; layer < options.Layers; layer++)
        {
            if (layer > 0 && dropout > 0) sequence = nn.functional.dropout(sequence, dropout, true);
            var outputs = new Tensor[options.Directions];
            for (var direction = 0; direction < outputs.Length; direction++)
            {
                var at = (layer * outputs.Length) + direction;
                var startCell = cell is null ? null : cell.select(0, at);
                outputs[direction] = Scan(module, options.Kind, options.Names[at], direction == 1, sequence, hidden.select(0, at), startCell, out lastHidden[at], out var endCell);
                if (endCell is not null) lastCell[at] = endCell;
            }

            sequence = outputs.Length == 1 ? outputs[0] : cat(outputs, -1);
        }

        var output = options.BatchFirst ? sequence.transpose(0, 1) : sequence;
        return (output, stack(lastHidden, 0), cell is null ? null : stack(lastCell, 0));
    }

    private static Tensor Scan(nn.Module module, RecurrentKind kind, RecurrentNames names, bool reverse, Tensor sequence, Tensor hidden, Tensor? cell, out Tensor lastHidden, out Tensor? lastCell)
    {
        var recurrentWeight = ModuleParameters.Required(module, names.WeightHidden);
        var recurrentBias = ModuleParameters.Optional(module, names.BiasHidden);
        var fromInput = nn.functional.linear(sequence, ModuleParameters.Required(module, names.WeightInput), ModuleParameters.Optional(module, names.BiasInput));
        var steps = new Tensor[sequence.shape[0]];
        for (var step = 0; step < steps.Length; step++)
        {
            var at = reverse ? steps.Length - 1 - step : step;
            using var now = fromInput.select(0, at);
            using var fromHidden = nn.functional.linear(hidden, recurrentWeight, recurrentBias);
            if (cell is null) hidden = RecurrentSteps.Next(kind, now, fromHidden, hidden);
            else (hidden, cell) = RecurrentSteps.Lstm(now, fromHidden, cell);
            steps[at] = hidden;
        }

        lastHidden = hidden;
        lastCell = cell;
        return stack(steps, 0);
    }
}
