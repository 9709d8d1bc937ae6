using System.Collections.Concurrent;
using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>The static scale and zero point of one activation. Owns its tensors.</summary>
internal sealed record StaticScale(QType QType, Tensor Scale, Tensor? ZeroPoint) : IDisposable
{
    private (float Scale, int ZeroPoint)? _numbers;

    /// <summary>The scale and zero point where there is one for all of an activation on the CPU; else null.</summary>
    internal (float Scale, int ZeroPoint)? Numbers => _numbers ??= Scale.numel() == 1 && Scale.device_type == DeviceType.CPU && Scale.dtype == ScalarType.Float32
        ? (Scale.item<float>(), ZeroPoint is null ? 0 : (int)ZeroPoint.to(ScalarType.Int32).item<int>())
        : null;

    public void Dispose()
    {
        Scale.Dispose();
        ZeroPoint?.Dispose();
    }
}

/// <summary>
/// The static scales of a model, by place. One that is not there yet is made of the statistics that training gathered, or
/// else of the first activation that comes; loading those that <see cref="ParamsQuantizer"/> makes of statistics replaces it.
/// </summary>
internal sealed class StaticScales : IDisposable
{
    private readonly ConcurrentDictionary<string, StaticScale> _scales = new(StringComparer.Ordinal);

    internal event Action? Added;

    internal IEnumerable<KeyValuePair<string, StaticScale>> All => _scales.OrderBy(s => s.Key, StringComparer.Ordinal);

    internal StaticScale Get(string place, Tensor activation, HowToQuantize how, IReadOnlyCollection<int> batchAxes, QuantStats statistics)
    {
        if (_scales.TryGetValue(place, out var known))
            return known;
        lock (_scales)
        {
            if (_scales.TryGetValue(place, out known))
                return known;
            known = activation.device_type == DeviceType.META ? Abstract(activation, how, batchAxes) : Make(place, activation, how, batchAxes, statistics);
            _scales[place] = known;
        }

        Added?.Invoke();
        return known;
    }

    /// <summary>The scale of a place, or null where there is none yet.</summary>
    internal StaticScale? Find(string place) => _scales.GetValueOrDefault(place);

    /// <summary>Takes over the scales of another model, in tensors of its own.</summary>
    internal void CopyFrom(StaticScales other)
    {
        foreach (var (place, scale) in other._scales)
            _scales[place] = scale with { Scale = scale.Scale.alias().DetachFromDisposeScope(), ZeroPoint = scale.ZeroPoint?.alias().DetachFromDisposeScope() };
    }

    private static StaticScale Make(string place, Tensor activation, HowToQuantize how, IReadOnlyCollection<int> batchAxes, QuantStats statistics)
    {
        using var own = Calibrator.Calibrate(activation, how);
        using var mean = MeanOverBatch(own, batchAxes);
        using var range = statistics.WasSeen(place) ? statistics.GetRange(place, mean) : null;
        var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range ?? mean, how.QType);
        return new StaticScale(how.QType, scale.DetachFromDisposeScope(), zeroPoint?.DetachFromDisposeScope());
    }

    /// <summary>A scale that has a shape and no number yet.</summary>
    private static StaticScale Abstract(Tensor activation, HowToQuantize how, IReadOnlyCollection<int> batchAxes)
    {
        using var array = Quantizer.Abstract(activation, how);
        var shape = array.ScaleShape.ToArray();
        foreach (int axis in batchAxes)
        {
            if ((axis < 0 ? axis + shape.Length : axis) is var normal && normal >= 0 && normal < shape.Length)
                shape[normal] = 1;
        }

        Tensor Empty(ScalarType dtype) => empty(shape, dtype, META).DetachFromDisposeScope();
        return new StaticScale(how.QType, Empty(activation.dtype), array.ZeroPoint is null ? null : Empty(Codec.CodeDtype(how.QType)));
    }

    /// <summary>The range of an activation with the mean taken over its batch axes.</summary>
    internal static CalibrationRange MeanOverBatch(CalibrationRange range, IReadOnlyCollection<int> batchAxes)
    {
        using var noGrad = no_grad();
        return range.Select(t =>
        {
            long[] axes = [.. batchAxes.Select(a => a < 0 ? a + t.dim() : a).Where(a => a < t.dim())];
            return axes.Length == 0 ? t.clone() : t.mean(axes, keepdim: true);
        });
    }

    internal void Move(Device? device)
    {
        if (device is null)
            return;
        foreach (var (place, old) in _scales.ToList())
        {
            _scales[place] = old with
            {
                Scale = old.Scale.to(device, copy: true).DetachFromDisposeScope(),
                ZeroPoint = old.ZeroPoint?.to(device, copy: true).DetachFromDisposeScope(),
            };
            old.Dispose();
        }
    }

    public void Dispose()
    {
        foreach (var scale in _scales.Values)
            scale.Dispose();
        _scales.Clear();
    }
}
