using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.ArmPaths;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Avx2Paths;
using QwixSharp.Kernels.Convolutions;
using QwixSharp.Kernels.Portable;
using QwixSharp.Kernels.Weights;

namespace QwixSharp.Kernels;

/// <summary>
/// The one place that decides which kernel serves which weight. Tests pin a kernel by making a selector of it alone.
/// </summary>
/// <remarks>With the environment variable <c>QWIXSHARP_TRACE=1</c> each new decision is written to standard error.</remarks>
internal sealed class KernelSelector
{
    private static readonly bool Trace = Environment.GetEnvironmentVariable("QWIXSHARP_TRACE") == "1";

    private readonly IntegerKernel[] _integer;
    private readonly FloatKernel[] _float;
    private readonly WindowKernel[] _windows;
    private readonly HashSet<string> _told = [];

    /// <summary>A selector among these kernels, the best first; those the machine cannot run are left out.</summary>
    /// <param name="integer">Kernels for quantized activations.</param>
    /// <param name="floating">Kernels for float32 activations.</param>
    /// <param name="windows">Kernels for convolutions; without any, windows are the rows of products.</param>
    public KernelSelector(IEnumerable<IntegerKernel> integer, IEnumerable<FloatKernel> floating, IEnumerable<WindowKernel>? windows = null)
    {
        _windows = [.. (windows ?? []).Where(k => k.IsSupported)];
        _integer = [.. integer.Where(k => k.IsSupported)];
        _float = [.. floating.Where(k => k.IsSupported)];
    }

    /// <summary>The selector of the process: the best that the machine has.</summary>
    public static KernelSelector Default { get; } = new(AllIntegerKernels(), AllFloatKernels(), AllWindowKernels());

    /// <summary>Every integer kernel, the fastest first, whether or not this machine runs it.</summary>
    public static IEnumerable<IntegerKernel> AllIntegerKernels() => [new AssembledIntegerKernel(useVnni: true), new DotKernel<AvxVnniDot>(), new AssembledIntegerKernel(useVnni: false), new ClippedAvx2IntegerKernel(), new HalfByteAvx2IntegerKernel(), new AssembledAvx2IntegerKernel(), new Avx2IntegerKernel(), new ArmDotKernel<ArmDot>(), new ArmDotKernel<AdvSimdDot>(), new PortableIntegerKernel()];

    /// <summary>Every weight-only kernel, the fastest first, whether or not this machine runs it.</summary>
    public static IEnumerable<FloatKernel> AllFloatKernels() => [new AssembledFloatKernel(), new Avx2FloatKernel(isAssembled: true), new Avx2FloatKernel(isAssembled: false), new PortableFloatKernel()];

    /// <summary>Every kernel for convolutions, the fastest first, whether or not this machine runs it.</summary>
    public static IEnumerable<WindowKernel> AllWindowKernels() => [new AssembledWindowKernel(useVnni: true), new DotWindowKernel<AvxVnniDot>(), new AssembledWindowKernel(useVnni: false), new ClippedAvx2WindowKernel(forNarrow: true), new ClippedAvx2WindowKernel(forNarrow: false), new AssembledAvx2WindowKernel(), new DotWindowKernel<WidenedDot>()];

    /// <summary>The kernel for quantized activations and this weight.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    /// <exception cref="ArgumentException">The weight's codes are not integers.</exception>
    public IntegerKernel Integer(PackedWeight weight, int rows) => Integer([new ProductPart(weight, default)], rows);

    /// <summary>The kernel for quantized activations and all weights of a group.</summary>
    /// <param name="parts">The group.</param>
    /// <param name="rows">M.</param>
    /// <exception cref="ArgumentException">A weight's codes are not integers.</exception>
    public IntegerKernel Integer(ReadOnlySpan<ProductPart> parts, int rows)
    {
        foreach (ref readonly var part in parts)
            if (!part.Weight.IsInteger)
                throw new ArgumentException($"Codes of the format {part.Weight.Format} are no integers: use the weight-only product.", nameof(parts));
        foreach (var kernel in _integer)
        {
            if (!ServesAll(kernel, parts, rows))
                continue;
            if (Trace)
                foreach (ref readonly var part in parts)
                    Tell(kernel.Name, "quantized activations", part.Weight, rows);
            return kernel;
        }
        throw new InvalidOperationException($"No kernel of this selector serves a weight of the format {parts[0].Weight.Format}.");
    }

    /// <summary>The kernel for float32 activations and this weight.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public FloatKernel Float(PackedWeight weight, int rows)
    {
        foreach (var kernel in _float)
        {
            if (!kernel.Serves(weight))
                continue;
            if (Trace)
                Tell(kernel.Name, "float32 activations", weight, rows);
            return kernel;
        }
        throw new InvalidOperationException($"No kernel of this selector serves a weight of the format {weight.Format}.");
    }

    /// <summary>
    /// The integer kernel that serves float32 activations split into <see cref="DigitPlanes"/>, or null when the
    /// weight-only kernel is better.
    /// </summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public IntegerKernel? Planes(PackedWeight weight, int rows)
    {
        if (!weight.IsInteger)
            return null;
        foreach (var kernel in _integer)
        {
            // What one that serves some weights alone does not take is left to the best that serves all.
            if (!kernel.Serves(weight, rows * DigitPlanes.Count) || !kernel.PrefersPlanes(weight.Format, rows))
            {
                if (kernel.IsGeneral)
                    break;
                continue;
            }
            if (Trace)
                Tell($"{kernel.Name}, three bytes a value", "float32 activations", weight, rows);
            return kernel;
        }
        return null;
    }

    /// <summary>
    /// Whether there is a kernel for a convolution. Where not, windows become the rows of a product: without such a kernel, for windows so long
    /// that sums need parts, and for codes of up to four bits, which stay packed two in a byte.
    /// </summary>
    /// <param name="shape">The sizes.</param>
    /// <param name="bits">The bits of the weight's codes.</param>
    public bool ServesWindows(in ConvolutionShape shape, int bits) =>
        Array.Exists(_windows, k => k.IsGeneral) && bits > 4 && shape.WindowSize <= DirectConvolution.LongestWindow;

    /// <summary>The kernel for a convolution that <see cref="ServesWindows"/>.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="shape">The sizes.</param>
    /// <param name="isNarrow">Whether images are <see cref="ConvolutionInput.IsNarrow"/>.</param>
    public WindowKernel Windows(SegmentedWeight weight, in ConvolutionShape shape, bool isNarrow)
    {
        var kernel = Array.Find(_windows, k => k.Serves(weight, isNarrow))!;
        if (Trace)
            Tell($"QwixSharp kernel: convolution {shape.KernelHeight}x{shape.KernelWidth}, {shape.Channels} -> {shape.OutChannels} channels -> {kernel.Name}");
        return kernel;
    }

    /// <summary>
    /// The kernel for a depthwise convolution, or null without such a kernel, for columns that lie apart, and for more of them than fit
    /// into registers.
    /// </summary>
    /// <param name="shape">The sizes.</param>
    public WindowKernel? Depthwise(in ConvolutionShape shape)
    {
        if (_windows.Length == 0 || shape.DilationX > 1 || shape.KernelWidth > DirectConvolution.MostDepthwiseColumns || _windows[0].Depthwise is not { } kernel)
            return null;
        if (Trace)
            Tell($"QwixSharp kernel: depthwise convolution {shape.KernelHeight}x{shape.KernelWidth}, {shape.Channels} channels -> {kernel.Name}");
        return kernel;
    }

    /// <summary>Says which kernels serve a weight.</summary>
    /// <param name="weight">The weight.</param>
    /// <param name="rows">M.</param>
    public string Describe(PackedWeight weight, int rows)
    {
        var shape = $"{weight.Format} [{weight.Rows}, {weight.Depth}] tile {weight.TileSize}, M={rows}: float32 activations -> {Planes(weight, rows)?.Name ?? Float(weight, rows).Name}";
        return weight.IsInteger ? $"{shape}, quantized activations -> {Integer(weight, rows).Name}" : shape;
    }

    private static bool ServesAll(IntegerKernel kernel, ReadOnlySpan<ProductPart> parts, int rows)
    {
        foreach (ref readonly var part in parts)
            if (!kernel.Serves(part.Weight, rows))
                return false;
        return true;
    }

    private void Tell(string kernel, string activations, PackedWeight weight, int rows) =>
        Tell($"QwixSharp kernel: {activations} x {weight.Format} [{weight.Rows}, {weight.Depth}] tile {weight.TileSize}, M={rows} -> {kernel}");

    private void Tell(string line)
    {
        lock (_told)
        {
            if (_told.Add(line))
                Console.Error.WriteLine(line);
        }
    }
}
