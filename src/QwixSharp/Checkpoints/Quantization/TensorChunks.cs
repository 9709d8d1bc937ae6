using QwixSharp.Arrays;
using static TorchSharp.torch;

namespace QwixSharp.Checkpoints.Quantization;

/// <summary>Takes the bytes of the tensors that result.</summary>
internal delegate void ChunkSink(string name, ReadOnlySpan<byte> bytes, long offset);

/// <summary>A range of rows of a tensor, of whole tiles. Its result does not depend on the other rows.</summary>
internal readonly record struct TensorChunk(PlannedTensor Planned, long FirstRow, long Rows);

/// <summary>
/// Cuts tensors into chunks of a megabyte and does one at a time, so that memory depends on the chunks alone: scales never
/// reach over rows, save for a fixed range, which is the same for all of them.
/// </summary>
internal sealed class TensorChunks(Checkpoint source, ScalarType? computeDtype, ChunkSink sink)
{
    /// <summary>Small, since the C library keeps some of what each thread has freed, and threads of the pool come and go.</summary>
    private const long ChunkBytes = 1 << 20;

    internal static IEnumerable<TensorChunk> Cut(PlannedTensor planned)
    {
        if (planned.BytesBefore == 0)
            yield break;
        var shape = planned.Tensor.Shape;
        long rows = shape.Count == 0 ? 1 : shape[0], rowBytes = planned.BytesBefore / rows, step = 1;
        if (planned.Quantization is { } q && q.ScaleShape[0] > 1)
            step = rows / q.ScaleShape[0];
        long count = Math.Max(ChunkBytes / Math.Max(rowBytes, 1) / step, 1) * step;
        for (long first = 0; first < rows; first += count)
            yield return new TensorChunk(planned, first, Math.Min(count, rows - first));
    }

    /// <summary>Reads a chunk, quantizes it or leaves it as it is, and hands its bytes on.</summary>
    /// <returns>The bytes that were read.</returns>
    /// <exception cref="CheckpointException">It cannot be read, or has values that are not finite.</exception>
    internal unsafe long Process(TensorChunk chunk)
    {
        using var noGrad = no_grad();
        using var scope = NewDisposeScope();
        var planned = chunk.Planned;
        long rows = planned.Tensor.Shape.Count == 0 ? 1 : planned.Tensor.Shape[0], rowBytes = planned.BytesBefore / rows;
        long length = chunk.Rows * rowBytes, start = chunk.FirstRow * rowBytes;
        var values = planned.Quantization is null
            ? empty([length], ScalarType.Byte)
            : empty([chunk.Rows, .. planned.Tensor.Shape.Skip(1)], planned.Tensor.Dtype);
        for (long done = 0; done < length; done += int.MaxValue)
        {
            var part = new Span<byte>((byte*)TensorMemory.Address(values) + done, (int)Math.Min(int.MaxValue, length - done));
            source.ReadBytes(planned.Tensor.Stored[0].Name, part, start + done);
        }

        if (planned.Quantization is null)
            Put(planned.Outputs[0].Name, values, start);
        else
            Put(chunk, Quantize(chunk, values));
        return length;
    }

    private QArray Quantize(TensorChunk chunk, Tensor values)
    {
        var how = TensorPlanner.How(chunk.Planned);
        if (computeDtype is { } dtype)
            values = values.to(dtype);
        // Chunks are done by several threads: each takes one core.
        var array = Quantize(chunk, values, how);
        var telling = how.Calibration.Kind == CalibrationKind.Fixed ? values : array.Scale;
        if (!telling.isfinite().all().item<bool>())
            throw new CheckpointException($"Tensor {chunk.Planned.Tensor} of {CheckpointException.Quote(source.Path)} has NaN or infinite values. Leave it out by a rule without weight_qtype, or mend it.");
        return array;
    }

    private QArray Quantize(TensorChunk chunk, Tensor values, HowToQuantize how)
    {
        try
        {
            return Quantizer.Quantize(values, how, threads: 1);
        }
        catch (ArgumentException error)
        {
            throw new CheckpointException($"Tensor {chunk.Planned.Tensor} of {CheckpointException.Quote(source.Path)} cannot be quantized: {error.Message} Rule: {chunk.Planned.Rule}", error);
        }
    }

    private void Put(TensorChunk chunk, QArray array)
    {
        var (planned, outputs) = (chunk.Planned, chunk.Planned.Outputs);
        long rows = planned.Tensor.Shape[0], scaleRows = planned.Quantization!.ScaleShape[0];
        Put(outputs[0].Name, array.Codes, chunk.FirstRow * (outputs[0].ByteLength / rows));
        bool isShared = scaleRows == 1;
        if (isShared && chunk.FirstRow > 0)
            return;
        long scaleRow = chunk.FirstRow / (rows / scaleRows);
        Put(outputs[1].Name, array.Scale.to(outputs[1].Dtype.Carrier()), scaleRow * (outputs[1].ByteLength / scaleRows));
        if (array.ZeroPoint is { } zeroPoint)
            Put(outputs[2].Name, zeroPoint, scaleRow * (outputs[2].ByteLength / scaleRows));
    }

    private unsafe void Put(string name, Tensor tensor, long offset)
    {
        var memory = tensor.contiguous();
        long length = memory.NumberOfElements * memory.ElementSize;
        for (long done = 0; done < length; done += int.MaxValue)
            sink(name, new ReadOnlySpan<byte>((byte*)TensorMemory.Address(memory) + done, (int)Math.Min(int.MaxValue, length - done)), offset + done);
    }
}
