using QwixSharp.Numerics;
using static TorchSharp.torch;

namespace QwixSharp.Arrays;

/// <summary>
/// A quantized array: codes, scales and, where it is asymmetric, zero points, with
/// <c>value ≈ (code − zero point) · scale</c>. Each axis of the scale has the array's length (per channel), a divisor of
/// it (one scale a tile), or 1.
/// </summary>
/// <remarks>
/// Codes of 4 bits and fewer are packed along the last axis. A QArray owns its tensors: dispose it, or leave that to the
/// dispose scope in which it was made, as with any tensor. It is immutable; the view operations give new ones.
/// </remarks>
public sealed partial class QArray : IDisposable
{
    private readonly long[] _shape;
    private readonly long[] _scaleShape;
    private readonly QArrayStorage _storage;

    /// <summary>Makes a QArray of parts, which it then owns.</summary>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="shape">The shape of the array.</param>
    /// <param name="codes">
    /// The codes as they are stored: int8 or int16 for integers, uint8 bit patterns for floats; types of 4 bits and fewer
    /// are packed along the last axis into uint8, the first code in the lowest bits, rows padded to whole bytes.
    /// </param>
    /// <param name="scale">The scales, a floating-point tensor of the array's rank; its dtype is the array's.</param>
    /// <param name="zeroPoint">The zero points as int8 (int4, int8) or int16, of the scale's rank; null where symmetric.</param>
    /// <exception cref="ArgumentException">The parts do not fit each other; the message says which and why.</exception>
    public QArray(QType qtype, ReadOnlySpan<long> shape, Tensor codes, Tensor scale, Tensor? zeroPoint = null)
    {
        ArgumentNullException.ThrowIfNull(qtype);
        ArgumentNullException.ThrowIfNull(codes);
        ArgumentNullException.ThrowIfNull(scale);
        QType = qtype;
        _shape = shape.ToArray();
        _scaleShape = scale.shape;
        _storage = new QArrayStorage(codes, scale);
        Dtype = scale.dtype;
        Device = codes.device;
        ZeroPoint = zeroPoint;
        QArrayValidation.Check(this);
    }

    /// <summary>Makes a QArray that a kernel has in its form already.</summary>
    /// <param name="qtype">The type of the codes.</param>
    /// <param name="shape">The shape of the array.</param>
    /// <param name="codes">The codes; where null, they are restored from the form if somebody asks for them.</param>
    /// <param name="scale">The scales, on the CPU.</param>
    /// <param name="form">The kernel's form, which can restore codes. Dispose the array to free it.</param>
    internal QArray(QType qtype, ReadOnlySpan<long> shape, Tensor? codes, Tensor scale, IKernelForm form)
    {
        QType = qtype;
        _shape = shape.ToArray();
        _scaleShape = scale.shape;
        _storage = new QArrayStorage(codes, scale, form);
        Dtype = scale.dtype;
        Device = scale.device;
    }

    /// <summary>The type of the codes.</summary>
    public QType QType { get; }

    /// <summary>The shape of the array.</summary>
    public ReadOnlySpan<long> Shape => _shape;

    /// <summary>The number of axes.</summary>
    public int Rank => _shape.Length;

    /// <summary>The floating-point dtype of the array when dequantized, which is the scale's.</summary>
    public ScalarType Dtype { get; }

    /// <summary>The device of the tensors.</summary>
    public Device Device { get; private set; }

    /// <summary>The codes as they are stored; see the constructor. Owned by this object.</summary>
    public Tensor Codes => _storage.Codes;

    /// <summary>The scales. Owned by this object.</summary>
    public Tensor Scale => _storage.Scale;

    /// <summary>The shape of the scales.</summary>
    public ReadOnlySpan<long> ScaleShape => _scaleShape;

    /// <summary>The zero points, or null where the array is symmetric. Owned by this object.</summary>
    public Tensor? ZeroPoint { get; }

    /// <summary>The bytes that codes, scales and zero points take; scales count two bytes where the kernels have them in 16 bits.</summary>
    public long ByteSize =>
        (Product(CodePacking.PackedShape(_shape, QType)) * (QType.Bits > 8 ? 2 : 1))
        + (_storage.DoubleQuantized?.ByteSize ?? Product(_scaleShape) * Math.Min(_storage.KernelScaleSize ?? sizeof(double), ElementSize(Dtype)))
        + (ZeroPoint is null ? 0 : ZeroPoint.NumberOfElements * ZeroPoint.ElementSize);

    /// <summary>The tile size of each axis that is cut into more than one tile and is not per channel.</summary>
    /// <returns>From axis to tile size.</returns>
    public IReadOnlyDictionary<int, long> TiledAxes()
    {
        var tiles = new SortedDictionary<int, long>();
        for (int axis = 0; axis < _shape.Length; axis++)
        {
            if (_scaleShape[axis] != _shape[axis] && _scaleShape[axis] != 1)
                tiles[axis] = _shape[axis] / _scaleShape[axis];
        }

        return tiles;
    }

    /// <summary>The codes, one to an element: int8 or int16 for integers, uint8 for floats (bit patterns) and nf4 (indices).</summary>
    /// <returns>A tensor of <see cref="Shape"/> that the caller owns. It may share memory with <see cref="Codes"/>: do not write to it.</returns>
    public Tensor GetQValue() => CodePacking.Unpack(Codes, QType, _shape.Length == 0 ? 1 : _shape[^1]);

    /// <summary>The numbers that this array stands for.</summary>
    /// <returns>A tensor of <see cref="Shape"/> and <see cref="Dtype"/> that the caller owns.</returns>
    public Tensor Dequantize()
    {
        if (RowDequantization.TryDequantize(this) is { } dequantized)
            return dequantized;
        using var scope = NewDisposeScope();
        var values = Codec.Decode(GetQValue(), QType, Dtype);
        if (ZeroPoint is not null)
            values = GenericBroadcast.Apply((a, b) => a - b, values, ZeroPoint.to(Dtype));
        using var scale = LendScale();
        return GenericBroadcast.Apply((a, b) => a * b, values, scale).MoveToOuterDisposeScope();
    }

    /// <summary>The same array with scales of another dtype, and thus another dtype when dequantized.</summary>
    /// <param name="dtype">A floating-point dtype.</param>
    /// <returns>A QArray that the caller owns; it may share memory with this one.</returns>
    public QArray To(ScalarType dtype) => new(QType, _shape, Codes.alias(), Scale.to(dtype, copy: true), ZeroPoint?.alias());

    /// <summary>The same array on another device.</summary>
    /// <param name="device">The device.</param>
    /// <returns>A QArray that the caller owns; it may share memory with this one.</returns>
    public QArray To(Device device) => Select(t => t.to(device, copy: true));

    /// <summary>Hands the tensors to the enclosing dispose scope.</summary>
    /// <returns>This QArray.</returns>
    public QArray MoveToOuterDisposeScope() => ForEach(t => t.MoveToOuterDisposeScope());

    /// <summary>Takes the tensors out of all dispose scopes: only <see cref="Dispose"/> frees them.</summary>
    /// <returns>This QArray.</returns>
    public QArray DetachFromDisposeScope() => ForEach(t => t.DetachFromDisposeScope());

    /// <summary>Frees the tensors.</summary>
    public void Dispose()
    {
        _storage.Dispose();
        ZeroPoint?.Dispose();
    }

    /// <summary>A form of this array that a kernel reads, made at its first use and freed with the array.</summary>
    internal T KernelForm<T>(Func<T> make) where T : class, IKernelForm => _storage.KernelForm(make);

    /// <summary>A form that a kernel already reads, or null.</summary>
    internal T? FindKernelForm<T>() where T : class, IKernelForm => _storage.FindKernelForm<T>();

    /// <summary>Stands for the kernels' forms that there are: another object as soon as any comes or goes.</summary>
    internal object KernelForms => _storage.KernelForms;

    /// <summary>Forgets the kernels' forms, after the codes or scales were written to.</summary>
    internal void DropKernelForms() => _storage.DropKernelForms();

    /// <summary>Looks at where the tensors are, after one without memory was given some.</summary>
    internal void Relocate() => Device = Codes.device;

    /// <summary>The same array in tensors of its own, which share memory with this one's.</summary>
    internal QArray Alias() => Select(t => t.alias());

    /// <summary>
    /// The same array for a short time, which the caller disposes. What only a kernel has, in a form of its own, is restored
    /// for this array alone.
    /// </summary>
    internal QArray Lend() => new(QType, _shape, _storage.LendCodes(), LendScale(), ZeroPoint?.alias());

    /// <summary>The scales for a short time; the caller disposes them.</summary>
    internal Tensor LendScale() => _storage.LendScale();

    /// <summary>Whether the scales are quantized themselves.</summary>
    internal bool HasDoubleQuantizedScale => _storage.DoubleQuantized is not null;

    /// <summary>Quantizes the scales: from now on the array stands for the numbers that the quantized scales give.</summary>
    internal QArray QuantizeScale()
    {
        _storage.QuantizeScale();
        return this;
    }

    /// <summary>
    /// Frees codes and scales where a kernel has them in a form of its own; they are restored from that when they are asked
    /// for again.
    /// </summary>
    internal void Compact() => _storage.Compact();

    /// <summary>Type, shape and the shape of the scales.</summary>
    /// <returns>One line.</returns>
    public override string ToString() =>
        $"QArray({QType}, {HowToQuantize.Format(_shape)}, scale {HowToQuantize.Format(_scaleShape)} {Dtype}{(ZeroPoint is null ? "" : ", with zero point")})";

    private static long ElementSize(ScalarType dtype) => dtype switch { ScalarType.Float64 => 8, ScalarType.Float32 => 4, _ => 2 };

    private static long Product(long[] shape) => shape.Aggregate(1L, (a, b) => a * b);

    private QArray ForEach(Action<Tensor> action)
    {
        foreach (var tensor in _storage.Tensors)
            action(tensor);
        if (ZeroPoint is not null)
            action(ZeroPoint);
        return this;
    }

    private QArray Select(Func<Tensor, Tensor> f) => new(QType, _shape, f(Codes), f(Scale), ZeroPoint is null ? null : f(ZeroPoint));
}
