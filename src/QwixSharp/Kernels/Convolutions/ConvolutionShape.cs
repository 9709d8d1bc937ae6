namespace QwixSharp.Kernels.Convolutions;

/// <summary>The sizes of a two-dimensional convolution of one image.</summary>
internal readonly record struct ConvolutionShape
{
    /// <summary>The image's height.</summary>
    public required int Height { get; init; }

    /// <summary>The image's width.</summary>
    public required int Width { get; init; }

    /// <summary>The image's channels, all groups together.</summary>
    public required int Channels { get; init; }

    /// <summary>Output channels, all groups together.</summary>
    public required int OutChannels { get; init; }

    /// <summary>The kernel's height.</summary>
    public required int KernelHeight { get; init; }

    /// <summary>The kernel's width.</summary>
    public required int KernelWidth { get; init; }

    /// <summary>Rows from one window to the next.</summary>
    public int StrideY { get; init; } = 1;

    /// <summary>Columns from one window to the next.</summary>
    public int StrideX { get; init; } = 1;

    /// <summary>Rows of padding above.</summary>
    public int PadTop { get; init; }

    /// <summary>Rows of padding below.</summary>
    public int PadBottom { get; init; }

    /// <summary>Columns of padding on the left.</summary>
    public int PadLeft { get; init; }

    /// <summary>Columns of padding on the right.</summary>
    public int PadRight { get; init; }

    /// <summary>Rows between the kernel's rows.</summary>
    public int DilationY { get; init; } = 1;

    /// <summary>Columns between the kernel's columns.</summary>
    public int DilationX { get; init; } = 1;

    /// <summary>Groups of channels; as many as channels for a depthwise convolution.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>The sizes, to be filled by an initializer.</summary>
    public ConvolutionShape()
    {
    }

    /// <summary>The result's height.</summary>
    public int OutHeight => (Height + PadTop + PadBottom - DilationY * (KernelHeight - 1) - 1) / StrideY + 1;

    /// <summary>The result's width.</summary>
    public int OutWidth => (Width + PadLeft + PadRight - DilationX * (KernelWidth - 1) - 1) / StrideX + 1;

    /// <summary>Input channels of a group.</summary>
    public int GroupChannels => Channels / Groups;

    /// <summary>Output channels of a group.</summary>
    public int GroupOutChannels => OutChannels / Groups;

    /// <summary>Whether every channel has a kernel of its own.</summary>
    public bool IsDepthwise => Groups == Channels && OutChannels == Channels;

    /// <summary>The most padding on any side.</summary>
    public int WidestPadding => Math.Max(Math.Max(PadTop, PadBottom), Math.Max(PadLeft, PadRight));

    /// <summary>Values that a window holds.</summary>
    public int WindowSize => KernelHeight * KernelWidth * GroupChannels;

    /// <summary>Checks that the sizes fit each other.</summary>
    /// <exception cref="ArgumentException">They do not.</exception>
    public void Check()
    {
        if (Groups < 1 || Channels % Groups != 0 || OutChannels % Groups != 0)
            throw new ArgumentException($"{Channels} input and {OutChannels} output channels do not divide into {Groups} groups.");
        if (StrideX < 1 || StrideY < 1 || DilationX < 1 || DilationY < 1)
            throw new ArgumentException($"Strides {StrideY}x{StrideX} and dilations {DilationY}x{DilationX} must be at least 1.");
        var room = (Height + PadTop + PadBottom, Width + PadLeft + PadRight);
        var needed = (DilationY * (KernelHeight - 1) + 1, DilationX * (KernelWidth - 1) + 1);
        if (KernelHeight < 1 || KernelWidth < 1 || room.Item1 < needed.Item1 || room.Item2 < needed.Item2)
            throw new ArgumentException($"A kernel that spans {needed.Item1}x{needed.Item2} does not fit the padded image of {room.Item1}x{room.Item2}.");
    }
}
