using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>A form of an array that a kernel reads.</summary>
internal interface IKernelForm : IDisposable
{
    /// <summary>Whether codes and scales can be made of the form again.</summary>
    bool CanRestore { get; }

    /// <summary>The bytes of a scale.</summary>
    long ScaleSize { get; }

    /// <summary>The codes as the array stores them; a new tensor that belongs to no dispose scope.</summary>
    Tensor RestoreCodes();

    /// <summary>The scales; a new tensor that belongs to no dispose scope.</summary>
    Tensor RestoreScale();
}

/// <summary>
/// The codes and scales of one array, and the form in which a kernel has them. To save memory, a kernel's form can stand
/// for all. Safe for several threads.
/// </summary>
internal sealed class QArrayStorage(Tensor? codes, Tensor scale, params IKernelForm[] forms) : IDisposable
{
    private readonly Lock _gate = new();
    private volatile Tensor? _codes = codes;
    private volatile Tensor? _scale = scale;
    private volatile DoubleQuantizedScale? _doubleQuantized;
    private volatile IKernelForm[] _forms = forms;

    internal Tensor Codes
    {
        get
        {
            if (_codes is { } known)
                return known;
            lock (_gate)
                return _codes ??= Restoring.RestoreCodes();
        }
    }

    internal Tensor Scale
    {
        get
        {
            if (_scale is { } known)
                return known;
            lock (_gate)
                return _scale ??= RestoreScale();
        }
    }

    /// <summary>The tensors that are there now; those restored later belong to no dispose scope.</summary>
    internal IEnumerable<Tensor> Tensors => new[] { _codes, _scale }.OfType<Tensor>();

    /// <summary>The scales in quantized form; null where they are only plain.</summary>
    internal DoubleQuantizedScale? DoubleQuantized => _doubleQuantized;

    /// <summary>The bytes of a scale in a kernel's form that can stand for all; null where there is none.</summary>
    internal long? KernelScaleSize => _forms.FirstOrDefault(f => f.CanRestore)?.ScaleSize;

    internal Tensor LendCodes()
    {
        lock (_gate)
            return _codes?.alias() ?? Restoring.RestoreCodes();
    }

    internal Tensor LendScale()
    {
        lock (_gate)
            return _scale?.alias() ?? RestoreScale();
    }

    /// <summary>Quantizes the scales, and frees the plain ones until they are asked for.</summary>
    internal void QuantizeScale()
    {
        lock (_gate)
        {
            var plain = _scale!;
            _doubleQuantized = new DoubleQuantizedScale(plain);
            _scale = null;
            plain.Dispose();
        }
    }

    private Tensor RestoreScale() => _doubleQuantized?.Restore() ?? Restoring.RestoreScale();

    private IKernelForm Restoring => _forms.First(f => f.CanRestore);

    /// <summary>The list of forms, which is never changed: another takes its place.</summary>
    internal object KernelForms => _forms;

    /// <summary>A form that was made already, or null.</summary>
    internal T? FindKernelForm<T>() where T : class, IKernelForm
    {
        foreach (var form in _forms)
        {
            if (form is T known)
                return known;
        }

        return null;
    }

    internal T KernelForm<T>(Func<T> make) where T : class, IKernelForm
    {
        if (FindKernelForm<T>() is { } known)
            return known;
        lock (_gate)
        {
            if (_forms.OfType<T>().FirstOrDefault() is not { } made)
                _forms = [.. _forms, made = make()];
            return made;
        }
    }

    internal void DropKernelForms()
    {
        lock (_gate)
        {
            // The plain scales are what was written to.
            if (_scale is not null)
            {
                _doubleQuantized?.Dispose();
                _doubleQuantized = null;
            }

            if (_forms.Length == 0)
                return;
            // Codes that only a form has are brought back before it goes.
            _ = Codes;
            _ = Scale;
            Array.ForEach(_forms, f => f.Dispose());
            _forms = [];
        }
    }

    internal void Compact()
    {
        lock (_gate)
        {
            if (_doubleQuantized is not null)
            {
                _scale?.Dispose();
                _scale = null;
            }

            if (!_forms.Any(f => f.CanRestore))
                return;
            _codes?.Dispose();
            _scale?.Dispose();
            (_codes, _scale) = (null, null);
        }
    }

    public void Dispose()
    {
        lock (_gate)
        {
            Array.ForEach(_forms, f => f.Dispose());
            _forms = [];
            _codes?.Dispose();
            _scale?.Dispose();
            _doubleQuantized?.Dispose();
        }
    }
}
