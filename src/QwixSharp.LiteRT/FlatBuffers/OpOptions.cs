namespace QwixSharp.LiteRT.FlatBuffers;

/// <summary>How an option's number is stored.</summary>
internal enum OptionKind { Byte, Int32, Single }

/// <summary>One option of an op.</summary>
/// <param name="Name">Its name in the schema.</param>
/// <param name="Kind">How it is stored.</param>
/// <param name="Default">The value of a file that does not have it.</param>
internal readonly record struct OptionField(string Name, OptionKind Kind, double Default = 0);

/// <summary>The options of an op: the table's number in the schema's union BuiltinOptions, and its fields in order.</summary>
internal sealed record OptionTable(byte Union, params OptionField[] Fields)
{
    private static readonly OptionField Activation = new("fused_activation_function", OptionKind.Byte);
    private static readonly OptionField Padding = new("padding", OptionKind.Byte);
    private static readonly OptionField StrideW = new("stride_w", OptionKind.Int32);
    private static readonly OptionField StrideH = new("stride_h", OptionKind.Int32);
    private static readonly OptionField DilationW = new("dilation_w_factor", OptionKind.Int32, 1);
    private static readonly OptionField DilationH = new("dilation_h_factor", OptionKind.Int32, 1);
    private static readonly OptionField BiasType = new("quantized_bias_type", OptionKind.Byte);
    private static readonly OptionField Asymmetric = new("asymmetric_quantize_inputs", OptionKind.Byte);
    private static readonly OptionField AlignCorners = new("align_corners", OptionKind.Byte);
    private static readonly OptionField HalfPixels = new("half_pixel_centers", OptionKind.Byte);
    private static readonly OptionField Axis = new("axis", OptionKind.Int32);
    private static readonly OptionField KeepDims = new("keep_dims", OptionKind.Byte);
    private static readonly OptionField OutputType = new("output_type", OptionKind.Byte);

    private static readonly OptionTable Pool = new(5, Padding, StrideW, StrideH, new("filter_width", OptionKind.Int32), new("filter_height", OptionKind.Int32), Activation);
    private static readonly OptionTable Reducer = new(27, KeepDims);
    private static readonly OptionTable Extremum = new(39);

    /// <summary>The tables of the ops whose options this library reads or writes.</summary>
    internal static IReadOnlyDictionary<BuiltinOp, OptionTable> All { get; } = new Dictionary<BuiltinOp, OptionTable>
    {
        [BuiltinOp.Conv2D] = new(1, Padding, StrideW, StrideH, Activation, DilationW, DilationH, BiasType),
        [BuiltinOp.DepthwiseConv2D] = new(2, Padding, StrideW, StrideH, new("depth_multiplier", OptionKind.Int32), Activation, DilationW, DilationH),
        [BuiltinOp.AveragePool2D] = Pool,
        [BuiltinOp.MaxPool2D] = Pool,
        [BuiltinOp.FullyConnected] = new(8, Activation, new("weights_format", OptionKind.Byte), new("keep_num_dims", OptionKind.Byte), Asymmetric, BiasType),
        [BuiltinOp.Softmax] = new(9, new OptionField("beta", OptionKind.Single)),
        [BuiltinOp.Concatenation] = new(10, Axis, Activation),
        [BuiltinOp.Add] = new(11, Activation, new("pot_scale_int16", OptionKind.Byte, 1)),
        [BuiltinOp.L2Normalization] = new(12, Activation),
        [BuiltinOp.ResizeBilinear] = new(15, new("new_height", OptionKind.Int32), new("new_width", OptionKind.Int32), AlignCorners, HalfPixels),
        [BuiltinOp.Reshape] = new(17),
        [BuiltinOp.Mul] = new(21, Activation),
        [BuiltinOp.Pad] = new(22),
        [BuiltinOp.Gather] = new(23, Axis, new("batch_dims", OptionKind.Int32)),
        [BuiltinOp.Transpose] = new(26),
        [BuiltinOp.Mean] = Reducer,
        [BuiltinOp.Sum] = Reducer,
        [BuiltinOp.ReduceMax] = Reducer,
        [BuiltinOp.ReduceMin] = Reducer,
        [BuiltinOp.ReduceProd] = Reducer,
        [BuiltinOp.ReduceAny] = Reducer,
        [BuiltinOp.ReduceAll] = Reducer,
        [BuiltinOp.Sub] = new(28, Activation, new("pot_scale_int16", OptionKind.Byte, 1)),
        [BuiltinOp.Div] = new(29, Activation),
        [BuiltinOp.StridedSlice] = new(32, new("begin_mask", OptionKind.Int32), new("end_mask", OptionKind.Int32), new("ellipsis_mask", OptionKind.Int32), new("new_axis_mask", OptionKind.Int32), new("shrink_axis_mask", OptionKind.Int32), new("offset", OptionKind.Byte)),
        [BuiltinOp.Exp] = new(33),
        [BuiltinOp.Split] = new(35, new OptionField("num_splits", OptionKind.Int32)),
        [BuiltinOp.LogSoftmax] = new(36),
        [BuiltinOp.Cast] = new(37, new("in_data_type", OptionKind.Byte), new("out_data_type", OptionKind.Byte)),
        [BuiltinOp.Dequantize] = new(38),
        [BuiltinOp.Maximum] = Extremum,
        [BuiltinOp.Minimum] = Extremum,
        [BuiltinOp.ArgMax] = new(40, OutputType),
        [BuiltinOp.Less] = new(41),
        [BuiltinOp.Neg] = new(42),
        [BuiltinOp.Padv2] = new(43),
        [BuiltinOp.Greater] = new(44),
        [BuiltinOp.GreaterEqual] = new(45),
        [BuiltinOp.LessEqual] = new(46),
        [BuiltinOp.Slice] = new(48),
        [BuiltinOp.TransposeConv] = new(49, Padding, StrideW, StrideH, Activation, BiasType),
        [BuiltinOp.Tile] = new(51),
        [BuiltinOp.Equal] = new(53),
        [BuiltinOp.NotEqual] = new(54),
        [BuiltinOp.Pow] = new(56),
        [BuiltinOp.ArgMin] = new(57, OutputType),
        [BuiltinOp.LogicalOr] = new(60),
        [BuiltinOp.OneHot] = new(61, Axis),
        [BuiltinOp.LogicalAnd] = new(62),
        [BuiltinOp.LogicalNot] = new(63),
        [BuiltinOp.FloorDiv] = new(65),
        [BuiltinOp.Square] = new(66),
        [BuiltinOp.FloorMod] = new(72),
        [BuiltinOp.ResizeNearestNeighbor] = new(74, AlignCorners, HalfPixels),
        [BuiltinOp.LeakyRelu] = new(75, new OptionField("alpha", OptionKind.Single)),
        [BuiltinOp.SquaredDifference] = new(76),
        [BuiltinOp.MirrorPad] = new(77, new OptionField("mode", OptionKind.Byte)),
        [BuiltinOp.Abs] = new(78),
        [BuiltinOp.SplitV] = new(79, new OptionField("num_splits", OptionKind.Int32)),
        [BuiltinOp.ReverseV2] = new(81),
        [BuiltinOp.Cos] = new(84),
        [BuiltinOp.Quantize] = new(89),
        [BuiltinOp.HardSwish] = new(91),
        [BuiltinOp.DepthToSpace] = new(94, new OptionField("block_size", OptionKind.Int32)),
        [BuiltinOp.SelectV2] = new(98),
        [BuiltinOp.BatchMatmul] = new(101, new("adj_x", OptionKind.Byte), new("adj_y", OptionKind.Byte), Asymmetric),
        [BuiltinOp.Cumsum] = new(102, new("exclusive", OptionKind.Byte), new("reverse", OptionKind.Byte)),
        [BuiltinOp.BroadcastTo] = new(104),
        [BuiltinOp.Gelu] = new(116, new OptionField("approximate", OptionKind.Byte)),
        [BuiltinOp.Sign] = new(123),
    };
}
