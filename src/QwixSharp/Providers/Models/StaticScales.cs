using System.Collections.Concurrent;
using QwixSharp.Arrays;
using QwixSharp.Calibration;
using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Providers.Models;

/// <summary>The static scale and zero point of one activation. Owns its tensors.</summary>
internal sealed record StaticScale(QType QType, Tensor Scale, Tensor? ZeroPoint) : IDisposable
{
    public void Dispose()
    {
        Scale.Dispose();
        ZeroPoint?.Dispose();
    }
}

/// <summary>
/// The static scales of a model, by place. One that is not there yet is made of the statistics where they have it, else
/// of the first activation that comes.
/// </summary>
internal sealed class StaticScales(QuantStats? stats) : IDisposable
{
    private readonly ConcurrentDictionary<string, StaticScale> _scales = new(StringComparer.Ordinal);

    internal event Action? Added;

    internal IEnumerable<KeyValuePair<string, StaticScale>> All => _scales.OrderBy(s => s.Key, StringComparer.Ordinal);

    internal StaticScale Get(string place, Tensor activation, HowToQuantize how, IReadOnlyCollection<int> batchAxes)
    {
        if (_scales.TryGetValue(place, out var known))
            return known;
        lock (_scales)
        {
            if (_scales.TryGetValue(place, out known))
                return known;
            using var range = stats?.Contains(place) == true ? stats.GetRange(place) : MeanOverBatch(activation, how, batchAxes);
            var (scale, zeroPoint) = Calibrator.ComputeScaleZeroPoint(range, how.QType);
            known = new StaticScale(how.QType, scale.DetachFromDisposeScope(), zeroPoint?.DetachFromDisposeScope());
            _scales[place] = known;
        }

        Added?.Invoke();
        return known;
    }

    /// <summary>The range of an activation with the mean taken over its batch axes.</summary>
    internal static CalibrationRange MeanOverBatch(Tensor activation, HowToQuantize how, IReadOnlyCollection<int> batchAxes)
    {
        using var noGrad = no_grad();
        using var range = Calibrator.Calibrate(activation, how);
        long[] axes = [.. batchAxes.Select(a => (long)(a < 0 ? a + activation.dim() : a)).Where(a => a < activation.dim())];
        return range.Select(t => axes.Length == 0 ? t.clone() : t.mean(axes, keepdim: true));
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
