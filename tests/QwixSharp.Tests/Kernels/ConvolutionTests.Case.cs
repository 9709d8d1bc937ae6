using QwixSharp.Kernels;
using QwixSharp.Kernels.Activations;
using QwixSharp.Kernels.Convolutions;

namespace QwixSharp.Tests.Kernels;

public unsafe partial class ConvolutionTests
{
    /// <summary>A convolution with random data and a random output, checked against plain arithmetic.</summary>
    private sealed class Case
    {
        private const float Scale = 0.25f;
        private const float CodeScale = 37.3f;

        private static readonly ImageActivation[] Activations =
        [
            default, ImageActivation.Relu, ImageActivation.Clamp(0, 6), ImageActivation.HardSigmoid, ImageActivation.HardSwish,
            ImageActivation.Clamp(-1.5f, float.PositiveInfinity), ImageActivation.Clamp(float.NegativeInfinity, 700), ImageActivation.Clamp(-300, 250.5f), ImageActivation.Clamp(3, -3),
        ];


        private readonly ConvolutionShape _shape;
        private readonly ImageForm _form;
        private readonly int _bits;
        private readonly int _zeroPoint;
        private readonly sbyte[] _image;
        private readonly sbyte[] _codes;
        private readonly float[] _scales;
        private readonly float[] _bias;
        private readonly float[] _factor;
        private readonly float[] _offset;
        private readonly float[] _addend;
        private readonly bool _hasBias;
        private readonly bool _hasNorm;
        private readonly bool _hasAddend;
        private readonly bool _channelsLast;
        private readonly ImageActivation _activation;
        private readonly int _resultZeroPoint;
        private readonly int _margin;
        private readonly int _codesMargin;
        private readonly bool _isNarrow;
        private readonly CodeRange _resultRange;
        private readonly bool _storesNarrow;
        private readonly PoolWindow _pool;

        public Case(Random random, ConvolutionShape shape, ImageForm form, int? zeroPoint = null, sbyte? code = null)
        {
            (_shape, _form) = (shape, form);
            _bits = code is null && random.Next(3) == 0 ? 4 : 8;
            _isNarrow = form == ImageForm.UnsignedCodes && code is null && random.Next(2) == 0;
            _zeroPoint = _isNarrow ? random.Next(-128, 0) : zeroPoint ?? (random.Next(3) == 0 ? 0 : random.Next(-128, 128));
            _image = Codes(random, shape.Height * shape.Width * shape.Channels, 8, code);
            if (_isNarrow)
                _image = [.. _image.Select(c => (sbyte)(c | -128))];
            _codes = code is null && random.Next(2) == 0 ? Mostly(random, shape.OutChannels * shape.WindowSize, _bits) : Codes(random, shape.OutChannels * shape.WindowSize, _bits, code);
            (_scales, _bias, _factor, _offset) = (Sample.Floats(random, shape.OutChannels), Sample.Floats(random, shape.OutChannels, 1000), Sample.Floats(random, shape.OutChannels, 2), Sample.Floats(random, shape.OutChannels, 100));
            _addend = Sample.Floats(random, Pixels * shape.OutChannels, 1000);
            (_hasBias, _hasNorm, _hasAddend, _channelsLast) = (random.Next(2) == 0, random.Next(2) == 0, random.Next(2) == 0, random.Next(2) == 0);
            _activation = Activations[random.Next(Activations.Length)];
            _resultZeroPoint = random.Next(2) == 0 ? 0 : random.Next(-20, 20);
            _margin = form == ImageForm.UnsignedCodes ? random.Next(5) : 0;
            _codesMargin = _channelsLast ? random.Next(3) : 0;
            _storesNarrow = _channelsLast && random.Next(3) == 0;
            _resultRange = new CodeRange(_storesNarrow ? 0 : -100, 120);
            var (poolHeight, poolWidth) = (random.Next(1, Math.Min(4, shape.OutHeight + 1)), random.Next(1, Math.Min(4, shape.OutWidth + 1)));
            _pool = new PoolWindow(poolHeight, poolWidth, random.Next(1, 4), random.Next(1, 4), random.Next(poolHeight / 2 + 1), random.Next(poolWidth / 2 + 1));
        }

        private int Pixels => _shape.OutHeight * _shape.OutWidth;

        public void Check(KernelSelector selector)
        {
            var size = Pixels * _shape.OutChannels;
            var (y, both, codes) = (new float[size], new float[size], new sbyte[CodesSize(_shape.OutHeight, _shape.OutWidth)]);
            var codesAlone = new sbyte[codes.Length];
            fixed (sbyte* pc = _codes)
            fixed (float* ps = _scales)
            {
                using var convolution = ConvolutionKernel.Pack(pc, ps, _shape, _bits, selector);
                Run(convolution, y, null);
                Run(convolution, both, codes);
                Run(convolution, null, codesAlone);
                if (convolution.Pools)
                    CheckPool(convolution, y);
            }
            Assert.Equal(y, both);
            Assert.Equal(codes, codesAlone);
            for (var channel = 0; channel < _shape.OutChannels; channel++)
                for (var pixel = 0; pixel < Pixels; pixel++)
                    CheckElement(channel, pixel, y, codes);
        }

        private void CheckElement(int channel, int pixel, float[] y, sbyte[] codes)
        {
            var plain = Sum(channel, pixel);
            var last = pixel * _shape.OutChannels + channel;
            double expected = (float)plain * Scale * _scales[channel], magnitude = Math.Abs(expected);
            if (_hasBias)
                Add(_bias[channel]);
            if (_hasNorm)
            {
                (expected, magnitude) = (expected * _factor[channel], magnitude * Math.Abs(_factor[channel]));
                Add(_offset[channel]);
            }
            if (_hasAddend)
                Add(_addend[last]);
            if (_activation.Kind is ImageActivationKind.HardSigmoid or ImageActivationKind.HardSwish)
                magnitude = (magnitude + 3) * Math.Max(1, Math.Abs(expected));
            expected = Activated(expected);
            var index = _channelsLast ? last : channel * Pixels + pixel;
            Assert.Equal(expected, y[index], 1e-6 * magnitude);
            var code = _channelsLast ? Code(codes[CodesPlace(pixel, _shape.OutWidth) + channel]) : codes[index];
            Assert.Equal(Expected(y[index]), code);

            void Add(double value)
            {
                expected += value;
                magnitude += Math.Abs(value);
            }
        }

        /// <summary>Codes with their channels last are unsigned.</summary>
        private int Code(sbyte stored) => (byte)stored - (_storesNarrow ? 0 : 128);

        private float Expected(float value) => Math.Clamp(MathF.Round(value / CodeScale + _resultZeroPoint), _resultRange.Lowest, _resultRange.Highest);

        private double Activated(double value)
        {
            var (lowest, highest) = (_activation.Lowest, _activation.Highest);
            return _activation.Kind switch
            {
                ImageActivationKind.None => value,
                ImageActivationKind.Clamp => Math.Min(Math.Max(value, lowest), highest),
                ImageActivationKind.HardSigmoid => Math.Clamp(value + 3, 0, 6) / 6,
                _ => value * Math.Clamp(value + 3, 0, 6) / 6,
            };
        }

        private void CheckPool(ConvolutionKernel convolution, float[] y)
        {
            var sizes = _pool.Over(_shape.OutHeight, _shape.OutWidth, _shape.OutChannels);
            var (pooled, codes) = (new float[sizes.OutHeight * sizes.OutWidth * _shape.OutChannels], new sbyte[CodesSize(sizes.OutHeight, sizes.OutWidth)]);
            Run(convolution, pooled, codes, _pool, sizes.OutWidth);
            var pixels = sizes.OutHeight * sizes.OutWidth;
            for (var channel = 0; channel < _shape.OutChannels; channel++)
                for (var pixel = 0; pixel < pixels; pixel++)
                {
                    int top = pixel / sizes.OutWidth * _pool.StrideY - _pool.PaddingY, left = pixel % sizes.OutWidth * _pool.StrideX - _pool.PaddingX;
                    var most = float.NegativeInfinity;
                    for (var row = Math.Max(0, top); row < Math.Min(_shape.OutHeight, top + _pool.Height); row++)
                        for (var column = Math.Max(0, left); column < Math.Min(_shape.OutWidth, left + _pool.Width); column++)
                            most = Math.Max(most, y[_channelsLast ? (row * _shape.OutWidth + column) * _shape.OutChannels + channel : channel * Pixels + row * _shape.OutWidth + column]);
                    var index = _channelsLast ? pixel * _shape.OutChannels + channel : channel * pixels + pixel;
                    Assert.Equal(most, pooled[index]);
                    var code = _channelsLast ? Code(codes[CodesPlace(pixel, sizes.OutWidth) + channel]) : codes[index];
                    Assert.Equal(Expected(most), code);
                }
        }

        private int CodesSize(int height, int width) => (height + 2 * _codesMargin) * (width + 2 * _codesMargin) * _shape.OutChannels;

        private int CodesPlace(int pixel, int width) =>
            ((pixel / width + _codesMargin) * (width + 2 * _codesMargin) + pixel % width + _codesMargin) * _shape.OutChannels;

        /// <summary>Runs the convolution; what lies around the codes must stay as it is.</summary>
        private void Run(ConvolutionKernel convolution, float[]? y, sbyte[]? codes, PoolWindow? pool = null, int? pooledWidth = null)
        {
            var width = pooledWidth ?? _shape.OutWidth;
            codes?.AsSpan().Fill(77);
            Store(convolution, y, codes, CodesPlace(0, width), pool);
            if (codes is null || _codesMargin == 0)
                return;
            var pitch = (width + 2 * _codesMargin) * _shape.OutChannels;
            for (var i = 0; i < codes.Length; i++)
            {
                var (row, place) = (i / pitch, i % pitch / _shape.OutChannels);
                if (row < _codesMargin || row >= codes.Length / pitch - _codesMargin || place < _codesMargin || place >= width + _codesMargin)
                    Assert.Equal(77, codes[i]);
            }
        }

        private void Store(ConvolutionKernel convolution, float[]? y, sbyte[]? codes, int firstCode, PoolWindow? pool)
        {
            fixed (void* image = Image())
            fixed (float* py = y, bias = _bias, factor = _factor, offset = _offset, addend = _addend)
            fixed (sbyte* pc = codes)
            {
                var output = new ConvolutionOutput
                {
                    Floats = (nint)py,
                    Codes = codes is null ? 0 : (nint)(pc + firstCode),
                    CodesMargin = _codesMargin,
                    Pool = pool,
                    ChannelsLast = _channelsLast,
                    Bias = _hasBias ? (nint)bias : 0,
                    Factor = _hasNorm ? (nint)factor : 0,
                    Offset = _hasNorm ? (nint)offset : 0,
                    Addend = _hasAddend ? (nint)addend : 0,
                    Activation = _activation,
                    CodeScale = CodeScale,
                    CodeZeroPoint = _resultZeroPoint,
                    CodeRange = _resultRange,
                    StoresNarrow = _storesNarrow,
                };
                var first = (nint)image + (_margin * (_shape.Width + 2 * _margin) + _margin) * _shape.Channels;
                Assert.True(convolution.Run(new ConvolutionInput(first, _form, _shape.Height, _shape.Width, Scale, _zeroPoint, _isNarrow ? new CodeRange(-128, -1) : CodeRange.Int8, _margin), output, 2));
            }
        }

        /// <summary>The image in the form that is tested.</summary>
        private byte[] Image()
        {
            var isFloat = _form is ImageForm.Floats or ImageForm.FloatsChannelsFirst;
            var pixels = _shape.Height * _shape.Width;
            if (_margin > 0)
                return WithMargin();
            var bytes = new byte[_image.Length * (isFloat ? sizeof(float) : 1) + ConvolutionInput.ReadBehind];
            for (var pixel = 0; pixel < pixels; pixel++)
                for (var channel = 0; channel < _shape.Channels; channel++)
                {
                    var code = _image[pixel * _shape.Channels + channel];
                    var place = _form is ImageForm.CodesChannelsFirst or ImageForm.FloatsChannelsFirst ? channel * pixels + pixel : pixel * _shape.Channels + channel;
                    if (isFloat)
                        BitConverter.TryWriteBytes(bytes.AsSpan(place * sizeof(float)), (code - _zeroPoint) * Scale);
                    else
                        bytes[place] = (byte)(_form == ImageForm.UnsignedCodes ? code + 128 : code);
                }
            return bytes;
        }

        private byte[] WithMargin()
        {
            var width = _shape.Width + 2 * _margin;
            var bytes = new byte[(_shape.Height + 2 * _margin) * width * _shape.Channels + ConvolutionInput.ReadBehind];
            bytes.AsSpan().Fill((byte)(_zeroPoint + 128));
            for (var row = 0; row < _shape.Height; row++)
                for (var i = 0; i < _shape.Width * _shape.Channels; i++)
                    bytes[((row + _margin) * width + _margin) * _shape.Channels + i] = (byte)(_image[row * _shape.Width * _shape.Channels + i] + 128);
            return bytes;
        }

        private long Sum(int channel, int pixel)
        {
            var group = channel / _shape.GroupOutChannels;
            var sum = 0L;
            for (var c = 0; c < _shape.GroupChannels; c++)
                for (var ky = 0; ky < _shape.KernelHeight; ky++)
                    for (var kx = 0; kx < _shape.KernelWidth; kx++)
                    {
                        var row = pixel / _shape.OutWidth * _shape.StrideY - _shape.PadTop + ky * _shape.DilationY;
                        var column = pixel % _shape.OutWidth * _shape.StrideX - _shape.PadLeft + kx * _shape.DilationX;
                        if (row < 0 || row >= _shape.Height || column < 0 || column >= _shape.Width)
                            continue;
                        var code = _image[(row * _shape.Width + column) * _shape.Channels + group * _shape.GroupChannels + c];
                        sum += (code - _zeroPoint) * _codes[((channel * _shape.GroupChannels + c) * _shape.KernelHeight + ky) * _shape.KernelWidth + kx];
                    }
            return sum;
        }

        /// <summary>Codes that are small but for one in some hundred: what can be clipped is.</summary>
        private static sbyte[] Mostly(Random random, int count, int bits)
        {
            var codes = Codes(random, count, bits, null);
            var others = random.Next(100, 800);
            return [.. codes.Select(c => random.Next(others) == 0 ? c : (sbyte)(c / 2))];
        }

        private static sbyte[] Codes(Random random, int count, int bits, sbyte? code)
        {
            var codes = new sbyte[count];
            for (var i = 0; i < count; i++)
                codes[i] = code ?? (sbyte)random.Next(-(1 << (bits - 1)), 1 << (bits - 1));
            return codes;
        }
    }
}
