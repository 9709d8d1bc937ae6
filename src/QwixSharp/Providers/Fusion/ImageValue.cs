using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Providers.Fusion;

/// <summary>How images become codes.</summary>
/// <param name="Scale">What a code stands for.</param>
/// <param name="ZeroPoint">The code of 0.</param>
/// <param name="Range">The range of codes.</param>
internal readonly record struct CodeForm(float Scale, int ZeroPoint, CodeRange Range);

/// <summary>A batch of images with their channels last, while a chain of ops is computed: as float32, as codes, or both.</summary>
/// <param name="count">How many images.</param>
/// <param name="channels">The channels of an image.</param>
/// <param name="height">The height of an image.</param>
/// <param name="width">The width of an image.</param>
internal sealed unsafe class ImageValue(int count, int channels, int height, int width) : IDisposable
{
    private readonly List<(CodeForm Form, AlignedMemory Memory)> _codes = [];
    private AlignedMemory? _floats;

    internal int Count => count;

    internal int Channels => channels;

    internal int Height => height;

    internal int Width => width;

    internal int Pixels => height * width;

    internal long Size => (long)Pixels * channels;

    internal bool HasFloats => _floats is not null;

    /// <summary>How many of the chain's ops will still read it.</summary>
    internal int Readers { get; set; }

    /// <summary>Memory for the values in float32.</summary>
    internal void AddFloats() => _floats ??= MemoryPool.Shared.Rent(count * Size * sizeof(float));

    /// <summary>Memory for codes.</summary>
    internal void AddCodes(CodeForm form)
    {
        if (!HasCodes(form))
            _codes.Add((form, MemoryPool.Shared.Rent(count * Size)));
    }

    internal bool HasCodes(CodeForm form) => _codes.Exists(c => c.Form == form);

    internal IEnumerable<CodeForm> Forms => _codes.Select(c => c.Form);

    /// <summary>An image in float32; null where there is none.</summary>
    internal float* Floats(int image) => _floats is null ? null : (float*)_floats.Pointer + image * Size;

    /// <summary>An image's codes + 128.</summary>
    internal byte* Codes(int image, CodeForm form) => _codes.Find(c => c.Form == form).Memory.Pointer + image * Size;

    /// <summary>Makes codes of the values in float32.</summary>
    /// <returns>Whether all values were finite.</returns>
    internal bool Quantize(CodeForm form, int threads)
    {
        AddCodes(form);
        var isFinite = true;
        for (int image = 0; image < count; image++)
        {
            var output = new ConvolutionOutput { Codes = (nint)Codes(image, form), ChannelsLast = true, CodeScale = form.Scale, CodeZeroPoint = form.ZeroPoint, CodeRange = form.Range };
            isFinite &= FloatFinish.Run(Floats(image), Pixels, channels, output, threads);
        }

        return isFinite;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_floats is not null)
            MemoryPool.Shared.Return(_floats);
        _codes.ForEach(c => MemoryPool.Shared.Return(c.Memory));
        _floats = null;
        _codes.Clear();
    }
}
