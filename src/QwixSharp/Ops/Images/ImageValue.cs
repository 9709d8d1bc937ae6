using System.Runtime.CompilerServices;
using QwixSharp.Arrays;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Convolutions;
using static TorchSharp.torch;

namespace QwixSharp.Ops.Images;

/// <summary>A batch of images with their channels last, while a chain of ops is computed: as float32, as codes, or both.</summary>
/// <param name="count">How many images.</param>
/// <param name="channels">The channels of an image.</param>
/// <param name="height">The height of an image.</param>
/// <param name="width">The width of an image.</param>
internal sealed unsafe class ImageValue(int count, int channels, int height, int width) : IDisposable
{
    private AlignedMemory? _floats;
    private StoredCodes? _codes;

    internal int Count => count;

    internal int Channels => channels;

    internal int Height => height;

    internal int Width => width;

    internal int Pixels => height * width;

    internal long Size => (long)Pixels * channels;

    /// <summary>How many of the chain's ops will still read it.</summary>
    internal int Readers { get; set; }

    /// <summary>The images of a tensor, in float32.</summary>
    /// <param name="images">[images, channels, height, width].</param>
    internal static ImageValue Of(Tensor images)
    {
        var value = new ImageValue((int)images.size(0), (int)images.size(1), (int)images.size(2), (int)images.size(3));
        value.AddFloats();
        using var permuted = images.permute(0, 2, 3, 1);
        using var channelsLast = permuted.contiguous();
        int length = checked((int)channelsLast.numel());
        new ReadOnlySpan<float>((void*)TensorMemory.Address(channelsLast), length).CopyTo(new Span<float>(value.Floats(0), length));
        return value;
    }

    /// <summary>Memory for the values in float32.</summary>
    internal void AddFloats() => _floats ??= MemoryPool.Shared.Rent(count * Size * sizeof(float));

    /// <summary>Memory for codes.</summary>
    /// <param name="form">Which codes.</param>
    /// <param name="margin">Pixels of padding that lie around each image on each side.</param>
    /// <param name="stored">The form in which they lie in memory; <paramref name="form"/> if null.</param>
    internal void AddCodes(CodeForm form, int margin, CodeForm? stored = null)
    {
        if (HasCodes(form))
            return;
        _codes = new StoredCodes(form, stored ?? form, MemoryPool.Shared.Rent((count * CodesSize(margin)) + ConvolutionInput.ReadBehind), margin, _codes);
        for (int image = 0; image < count && margin > 0; image++)
            FillMargin(Codes(image, form), (byte)(Stored(form).ZeroPoint + 128), margin);
    }

    internal bool HasCodes(CodeForm form) => Find(form) is not null;

    /// <summary>An image in float32; null where there is none.</summary>
    internal float* Floats(int image) => _floats is null ? null : (float*)_floats.Pointer + image * Size;

    /// <summary>The form in which codes lie in memory: that which was asked for, or its <see cref="CodeForm.Narrow"/>.</summary>
    internal CodeForm Stored(CodeForm form) => Find(form)!.Stored;

    /// <summary>An image's codes + 128, of the form in which they lie: the first one inside the margin.</summary>
    internal byte* Codes(int image, CodeForm form)
    {
        var (_, _, memory, margin, _) = Find(form)!;
        return memory.Pointer + (image * CodesSize(margin)) + ((((long)margin * (width + (2 * margin))) + margin) * channels);
    }

    /// <summary>The pixels of padding around an image's codes.</summary>
    internal int Margin(CodeForm form) => Find(form)!.Margin;

    /// <summary>Makes codes of the values in float32.</summary>
    /// <returns>Whether all values were finite.</returns>
    internal bool Quantize(CodeForm form, int margin, int threads)
    {
        AddCodes(form, margin);
        var isFinite = true;
        for (int image = 0; image < count; image++)
        {
            var output = new ConvolutionOutput { Codes = (nint)Codes(image, form), CodesMargin = margin, ChannelsLast = true, CodeScale = form.Scale, CodeZeroPoint = form.ZeroPoint, CodeRange = form.Range };
            isFinite &= FloatFinish.Run(Floats(image), height, width, channels, output, threads);
        }

        return isFinite;
    }

    /// <summary>The largest value of each window.</summary>
    /// <param name="pool">The windows.</param>
    /// <param name="threads">How many threads take part.</param>
    /// <returns>Images in float32, the caller's.</returns>
    internal ImageValue MaxPool(ImagePool pool, int threads)
    {
        var shape = pool.Window.Over(height, width, channels);
        var pooled = new ImageValue(count, channels, shape.OutHeight, shape.OutWidth);
        pooled.AddFloats();
        for (int image = 0; image < count; image++)
            ImagePooling.Max(Floats(image), shape, pooled.Floats(image), threads);
        return pooled;
    }

    /// <summary>The mean of each image.</summary>
    /// <returns>Images of one pixel in float32, the caller's.</returns>
    internal ImageValue Mean()
    {
        var pooled = new ImageValue(count, channels, 1, 1);
        pooled.AddFloats();
        for (int image = 0; image < count; image++)
            ImagePooling.Mean(Floats(image), height, width, channels, pooled.Floats(image));
        return pooled;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_floats is not null)
            MemoryPool.Shared.Return(_floats);
        for (var codes = _codes; codes is not null; codes = codes.Next)
            MemoryPool.Shared.Return(codes.Memory);
        (_floats, _codes) = (null, null);
    }

    private StoredCodes? Find(CodeForm form)
    {
        var codes = _codes;
        while (codes is not null && codes.Form != form)
            codes = codes.Next;
        return codes;
    }

    /// <summary>The bytes of an image's codes, the margin included.</summary>
    private long CodesSize(int margin) => (long)(height + (2 * margin)) * (width + (2 * margin)) * channels;

    /// <summary>Rows above and below, and between the rows what is right of one and left of the next.</summary>
    private void FillMargin(byte* inside, byte value, int margin)
    {
        long pitch = (long)(width + (2 * margin)) * channels, edge = (margin * pitch) + ((long)margin * channels), between = 2L * margin * channels;
        Unsafe.InitBlockUnaligned(inside - edge, value, checked((uint)edge));
        byte* end = inside + ((height - 1) * pitch) + ((long)width * channels);
        for (byte* gap = inside + ((long)width * channels); gap < end; gap += pitch)
            Unsafe.InitBlockUnaligned(gap, value, (uint)between);
        Unsafe.InitBlockUnaligned(end, value, (uint)edge);
    }

    /// <summary>Codes of one form, and those of another: most images have one.</summary>
    private sealed record StoredCodes(CodeForm Form, CodeForm Stored, AlignedMemory Memory, int Margin, StoredCodes? Next);
}
