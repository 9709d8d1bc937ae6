namespace QwixSharp.LiteRT;

/// <summary>Checks that a model does not contradict itself: indices, sizes of constants, numbers of scales, order of ops.</summary>
internal static class ModelVerifier
{
    internal static void Verify(LiteRtModel model)
    {
        if (model.Subgraphs.Count == 0)
            throw new LiteRtException("The model has no graph.");
        for (int i = 0; i < model.Subgraphs.Count; i++)
            Verify(model.Subgraphs[i], $"graph {i} \"{model.Subgraphs[i].Name}\"");
        foreach (var signature in model.Signatures)
            Verify(signature, model);
    }

    private static void Verify(LiteRtSubgraph graph, string place)
    {
        for (int i = 0; i < graph.Tensors.Count; i++)
            Verify(graph.Tensors[i], graph, $"{place}, tensor {i} \"{graph.Tensors[i].Name}\"");
        CheckIndices(graph.Inputs, graph, place + ", inputs", allowMissing: false);
        CheckIndices(graph.Outputs, graph, place + ", outputs", allowMissing: false);

        var known = new bool[graph.Tensors.Count];
        for (int i = 0; i < known.Length; i++)
            known[i] = graph.Tensors[i].IsConstant || graph.Tensors[i].Shape.Contains(0);
        foreach (int input in graph.Inputs)
            known[input] = true;
        var produced = new bool[graph.Tensors.Count];
        for (int i = 0; i < graph.Operators.Count; i++)
        {
            var op = graph.Operators[i];
            var where = $"{place}, op {i} {op.Name}";
            CheckIndices(op.Inputs, graph, where, allowMissing: true);
            CheckIndices(op.Outputs, graph, where, allowMissing: false);
            foreach (int output in op.Outputs)
            {
                if (produced[output] || graph.Inputs.Contains(output))
                    throw new LiteRtException($"{where} computes tensor {output}, which has a value already.");
                produced[output] = known[output] = true;
            }
        }

        foreach (int output in graph.Outputs)
        {
            if (!known[output])
                throw new LiteRtException($"{place}: no op computes the output, tensor {output} \"{graph.Tensors[output].Name}\".");
        }
    }

    private static void Verify(LiteRtTensor tensor, LiteRtSubgraph graph, string place)
    {
        if (!Enum.IsDefined(tensor.Type))
            throw new LiteRtException($"{place} has the unknown element type {(int)tensor.Type}.");
        long elements = 1;
        foreach (int size in tensor.Shape)
        {
            if (size < 0)
                throw new LiteRtException($"{place} has the shape [{string.Join(',', tensor.Shape)}].");
            if (size > 0 && (elements *= size) > int.MaxValue)
                throw new LiteRtException($"{place}, of shape [{string.Join(',', tensor.Shape)}], is too large.");
        }

        if (tensor.Shape.Contains(0))
            elements = 0;
        if (tensor.IsConstant && tensor.Type.Bits() is > 0 and var bits && tensor.Data.Length != ((elements * bits) + 7) / 8)
            throw new LiteRtException($"{place} of type {tensor.Type} and shape [{string.Join(',', tensor.Shape)}] needs {((elements * bits) + 7) / 8} bytes, and has {tensor.Data.Length}.");
        if (tensor.Quantization is { } quantization)
            Verify(quantization, tensor, graph, place);
    }

    private static void Verify(LiteRtQuantization quantization, LiteRtTensor tensor, LiteRtSubgraph graph, string place)
    {
        if (quantization.BlockSize != 0 || quantization.ScaleTensor >= 0)
        {
            if (quantization.BlockSize < 0 || quantization.ScaleTensor < 0 || quantization.ScaleTensor >= graph.Tensors.Count)
                throw new LiteRtException($"{place} has blocks of {quantization.BlockSize} with scales in tensor {quantization.ScaleTensor}.");
            return;
        }

        int count = quantization.Scales.Count;
        if (count > 1 && (quantization.Dimension < 0 || quantization.Dimension >= tensor.Shape.Count || tensor.Shape[quantization.Dimension] != count))
            throw new LiteRtException($"{place} of shape [{string.Join(',', tensor.Shape)}] has {count} scales along axis {quantization.Dimension}.");
        if (quantization.ZeroPoints.Count > 1 && quantization.ZeroPoints.Count != count)
            throw new LiteRtException($"{place} has {count} scales and {quantization.ZeroPoints.Count} zero points.");
        if (quantization.Scales.Any(s => !float.IsFinite(s) || s < 0))
            throw new LiteRtException($"{place} has a scale that is negative or not finite.");
    }

    private static void Verify(LiteRtSignature signature, LiteRtModel model)
    {
        if (signature.Subgraph < 0 || signature.Subgraph >= model.Subgraphs.Count)
            throw new LiteRtException($"The signature \"{signature.Key}\" names graph {signature.Subgraph} of {model.Subgraphs.Count}.");
        var graph = model.Subgraphs[signature.Subgraph];
        CheckIndices([.. signature.Inputs.Values], graph, $"signature \"{signature.Key}\", inputs", allowMissing: false);
        CheckIndices([.. signature.Outputs.Values], graph, $"signature \"{signature.Key}\", outputs", allowMissing: false);
    }

    private static void CheckIndices(IReadOnlyList<int> indices, LiteRtSubgraph graph, string place, bool allowMissing)
    {
        foreach (int index in indices)
        {
            if ((index < 0 && !(allowMissing && index == -1)) || index >= graph.Tensors.Count)
                throw new LiteRtException($"{place}: tensor {index} of {graph.Tensors.Count}.");
        }
    }
}
