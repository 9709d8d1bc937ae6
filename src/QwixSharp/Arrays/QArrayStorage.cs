using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>A form of an array that a kernel reads.</summary>
internal interface IKernelForm : IDisposable
{
    /// <summary>Whether codes and scales can be made of the form again.</summary>
    bool CanRestore { get; }

    /// <summary>The codes as the array stores them; a new tensor that belongs to no dispose scope.</summary>
    Tensor RestoreCodes();

    /// <summary>The scales; a new tensor that belongs to no dispose scope.</summary>
    Tensor RestoreScale();
}

/// <summary>
/// The codes and scales of one array, and the form in which a kernel has them. To save memory, a kernel's form can stand
/// for all. Safe for several threads.
/// </summary>
internal sealed class QArrayStorage(Tensor codes, Tensor scale) : IDisposable
{
    private readonly Lock _gate = new();
    private volatile Tensor? _codes = codes;
    private volatile Tensor? _scale = scale;
    private volatile IKernelForm? _form;

    internal Tensor Codes
    {
        get
        {
            if (_codes is { } known)
                return known;
            lock (_gate)
                return _codes ??= _form!.RestoreCodes();
        }
    }

    internal Tensor Scale
    {
        get
        {
            if (_scale is { } known)
                return known;
            lock (_gate)
                return _scale ??= _form!.RestoreScale();
        }
    }

    internal T KernelForm<T>(Func<T> make) where T : class, IKernelForm
    {
        if (_form is T known)
            return known;
        lock (_gate)
            return (T)(_form ??= make());
    }

    internal void DropKernelForm()
    {
        lock (_gate)
        {
            // Codes that only the form has are brought back before it goes.
            _ = Codes;
            _ = Scale;
            _form?.Dispose();
            _form = null;
        }
    }

    internal void Compact()
    {
        lock (_gate)
        {
            if (_form is not { CanRestore: true })
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
            _form?.Dispose();
            _codes?.Dispose();
            _scale?.Dispose();
        }
    }
}
