using Iced.Intel;
using QwixSharp.Kernels;
using QwixSharp.Kernels.Assembled;
using QwixSharp.Kernels.Weights;
using static Iced.Intel.AssemblerRegisters;

namespace QwixSharp.Tests.Kernels;

/// <summary>
/// Kernels for the Windows convention, run on this system through a bridge that calls as Windows does and looks at what must
/// be preserved.
/// </summary>
public unsafe class AssembledCodeTests
{
    private const int PreservedVectors = 10;
    private static readonly CodeCache<IntegerShape> IntegerCode = new(IntegerEmitter.Emit);
    private static readonly CodeCache<FloatShape> FloatCode = new(FloatEmitter.Emit);
    private static readonly CodeCache<PairShape> PairCode = new(PairEmitter.Emit);
    private static readonly CodeCache<PlanesShape> PlanesCode = new(PlanesEmitter.Emit);
    private static readonly CodeCache<DepthwiseShape> DepthwiseCode = new(DepthwiseEmitter.Emit);
    private static readonly CodeCache<SumsShape> SumsCode = new(SumsEmitter.Emit);
    private static readonly CodeCache<HalfByteShape> HalfByteCode = new(HalfByteEmitter.Emit);
    private static readonly CodeCache<ClippedShape> ClippedCode = new(ClippedEmitter.Emit);

    public static TheoryData<int, int, bool, bool> IntegerShapes()
    {
        var data = new TheoryData<int, int, bool, bool>();
        foreach (var (rows, panels) in new[] { (1, 1), (2, 1), (3, 1), (4, 2), (7, 2), (10, 2), (11, 1), (12, 1) })
            foreach (var half in new[] { false, true })
                foreach (var tiled in new[] { false, true })
                    if (!tiled || rows * panels <= 12)
                        data.Add(rows, panels, half, tiled);
        return data;
    }

    [Theory]
    [MemberData(nameof(IntegerShapes))]
    public void IntegerKernelsOfBothConventionsAgree(int rows, int panels, bool half, bool tiled)
    {
        Assert.SkipUnless(AssembledMachine.HasVnni && !OperatingSystem.IsWindows(), "needs AVX-512 VNNI and the System V convention");
        var shape = new IntegerShape(half ? CodeFormat.Int4 : CodeFormat.Int8, tiled, FloatFormat.Float32, rows, panels, 2, HasVnni: true, IsWindows: false);
        var native = RunInteger(shape, throughBridge: false);
        Assert.Equal(native, RunInteger(shape with { IsWindows = true }, throughBridge: true));
        if (rows * panels <= 20)
            Assert.Equal(native, RunInteger(shape with { HasVnni = false, IsWindows = true }, throughBridge: true));
    }

    [Fact]
    public void KernelsOfTwoPanelsOfBothConventionsAgree()
    {
        Assert.SkipUnless(AssembledMachine.HasAvx512 && !OperatingSystem.IsWindows(), "needs AVX-512 and the System V convention");
        foreach (var rows in new[] { 1, 8, PairEmitter.MostRows })
            Assert.Equal(
                RunFloat(PairCode.Get(new PairShape(FloatFormat.Float32, rows, IsWindows: false)), tiles: 3, rows, panels: 2, throughBridge: false),
                RunFloat(PairCode.Get(new PairShape(FloatFormat.Float32, rows, IsWindows: true)), tiles: 3, rows, panels: 2, throughBridge: true));
    }

    [Fact]
    public void KernelsOfDigitPlanesOfBothConventionsAgree()
    {
        Assert.SkipUnless(AssembledMachine.HasVnni && !OperatingSystem.IsWindows(), "needs AVX-512 VNNI and the System V convention");
        foreach (var rows in new[] { 1, 6, 9, 11 })
            foreach (var groups in new[] { 1, 4 })
            {
                var shape = new PlanesShape(groups, FloatFormat.Float32, rows, HasVnni: true, IsWindows: false);
                var native = RunPlanes(shape, throughBridge: false);
                Assert.Equal(native, RunPlanes(shape with { IsWindows = true }, throughBridge: true));
                if (rows <= PlanesEmitter.MostRows(hasVnni: false))
                    Assert.Equal(native, RunPlanes(shape with { HasVnni = false, IsWindows = true }, throughBridge: true));
            }
    }

    [Theory]
    [InlineData(nameof(CodeFormat.Codebook4), 0)]
    [InlineData(nameof(CodeFormat.Int8), 0)]
    [InlineData(nameof(CodeFormat.Table8), 4)]
    [InlineData(nameof(CodeFormat.Table8), 3)]
    public void FloatKernelsOfBothConventionsAgree(string formatName, int shift)
    {
        var format = Enum.Parse<CodeFormat>(formatName);
        Assert.SkipUnless(AssembledMachine.HasAvx512 && !OperatingSystem.IsWindows(), "needs AVX-512 and the System V convention");
        foreach (var rows in new[] { 1, 2, 8, 9, 24 })
            foreach (var (tiled, panels) in new[] { (false, 1), (true, 1), (false, 2), (true, 2) })
            {
                if (panels > 1 && rows > 1)
                    continue;
                var shape = new FloatShape(format, shift, tiled, FloatFormat.Float32, rows, panels, IsWindows: false);
                Assert.Equal(RunFloat(shape, throughBridge: false), RunFloat(shape with { IsWindows = true }, throughBridge: true));
            }
    }

    [Fact]
    public void Avx2KernelsOfBothConventionsAgree()
    {
        Assert.SkipUnless(AssembledMachine.IsAvailable && !OperatingSystem.IsWindows(), "needs AVX2 and the System V convention");
        foreach (var rows in new[] { 1, 2, SumsEmitter.MostRows })
            foreach (var (kind, hasSegments) in new[] { (SumsKind.Floats, false), (SumsKind.Words, false), (SumsKind.Words, true) })
            {
                var shape = new SumsShape(kind, rows, RowBytes: 4, hasSegments, IsWindows: false);
                Assert.Equal(RunSums(SumsCode.Get(shape), shape, throughBridge: false), RunSums(SumsCode.Get(shape with { IsWindows = true }), shape, throughBridge: true));
            }
        foreach (var rows in new[] { 1, 5, ClippedEmitter.MostRows })
        {
            // What the kernel reads is read with these steps too.
            var operands = new SumsShape(SumsKind.Words, rows, RowBytes: 4, HasSegments: false, IsWindows: false);
            var shape = new ClippedShape(rows, IsWindows: false);
            Assert.Equal(RunSums(ClippedCode.Get(shape), operands, throughBridge: false), RunSums(ClippedCode.Get(shape with { IsWindows = true }), operands, throughBridge: true));
        }
    }

    [Fact]
    public void HalfByteKernelsOfBothConventionsAgree()
    {
        Assert.SkipUnless(AssembledMachine.IsAvailable && !OperatingSystem.IsWindows(), "needs AVX2 and the System V convention");
        foreach (var rows in new[] { 1, 2, HalfByteEmitter.MostRows })
            foreach (var tileSteps in new[] { 0, 6, 16, 40 })
            {
                var shape = new HalfByteShape(rows, tileSteps, IsWindows: false);
                Assert.Equal(RunHalfBytes(shape, throughBridge: false), RunHalfBytes(shape with { IsWindows = true }, throughBridge: true));
            }
    }

    [Fact]
    public void KernelsTouchOnlyRegistersThatBothConventionsLetThemChange()
    {
        var allowed = new HashSet<Register> { Register.RAX, Register.RCX, Register.RDX, Register.R8, Register.R9, Register.R10, Register.R11, Register.RSP };
        var shape = new IntegerShape(CodeFormat.Int4, Tiled: true, FloatFormat.BFloat16, Rows: 6, Panels: 2, Unroll: 1, HasVnni: true, IsWindows: true);
        CheckRegisters(IntegerCode.Assemble(shape), allowed);
        CheckRegisters(DepthwiseCode.Assemble(new DepthwiseShape(Windows: 14, Stride: 2, Taps: 9, PixelBytes: 48, HasVnni: false, IsWindows: true)), allowed);
        CheckRegisters(HalfByteCode.Assemble(new HalfByteShape(Rows: 6, TileSteps: 40, IsWindows: true)), allowed);
        CheckRegisters(SumsCode.Assemble(new SumsShape(SumsKind.Words, Rows: 6, RowBytes: 4, HasSegments: true, IsWindows: true)), allowed);
        CheckRegisters(ClippedCode.Assemble(new ClippedShape(ClippedEmitter.MostRows, IsWindows: true)), allowed);
    }

    private static void CheckRegisters(byte[] code, HashSet<Register> allowed)
    {
        var decoder = Iced.Intel.Decoder.Create(64, code);
        var info = new InstructionInfoFactory();
        while (decoder.IP < (ulong)code.Length)
        {
            var instruction = decoder.Decode();
            foreach (var used in info.GetInfo(instruction).GetUsedRegisters())
                if (used.Register.IsGPR() && used.Access is OpAccess.Write or OpAccess.ReadWrite)
                    Assert.Contains(used.Register.GetFullRegister(), allowed);
        }
    }

    private static byte[] RunSums(void* kernel, SumsShape shape, bool throughBridge)
    {
        const int Steps = 18, Segments = 2;
        var random = new Random(1);
        using var activations = Floats(random, Steps * Segments * shape.Rows);
        using var weights = Random(random, Steps * Segments * 64);
        using var floats = Floats(random, Steps * 16);
        using var start = Random(random, 16 * shape.Rows * 4);
        using var result = new AlignedMemory(shape.Rows * 64);
        var segments = stackalloc nint[Segments] { 0, 4 };
        new Span<byte>(result.Pointer, shape.Rows * 64).Clear();
        SumsArgs args = default;
        args.Weights = shape.Kind == SumsKind.Floats ? floats.Pointer : weights.Pointer;
        args.Activations = activations.Pointer;
        args.StepBytes = 4 * shape.Rows;
        args.Steps = Steps;
        args.Sums = result.Pointer;
        args.Segments = segments;
        args.SegmentCount = Segments;
        args.Start = (int*)start.Pointer;
        Call(kernel, &args, throughBridge);
        return new ReadOnlySpan<byte>(result.Pointer, shape.Rows * 64).ToArray();
    }

    private static byte[] RunHalfBytes(HalfByteShape shape, bool throughBridge)
    {
        const int Tiles = 3;
        var steps = shape.TileSteps == 0 ? 22 : shape.TileSteps;
        var segments = (steps + HalfByteEmitter.SegmentSteps - 1) / HalfByteEmitter.SegmentSteps;
        var random = new Random(1);
        using var activations = Random(random, Tiles * (segments + steps) * shape.Rows * 4);
        using var weights = Random(random, Tiles * steps * 64);
        using var scales = Floats(random, Tiles * 16);
        using var result = new AlignedMemory(shape.Rows * 64);
        new Span<byte>(result.Pointer, shape.Rows * 64).Clear();
        HalfByteArgs args = default;
        args.Weights = weights.Pointer;
        args.Activations = activations.Pointer;
        args.Sums = result.Pointer;
        args.Steps = steps;
        args.Tiles = Tiles;
        args.WeightScales = (float*)scales.Pointer;
        args.ActivationScales = (float*)scales.Pointer;
        args.TileBytes = 4 * shape.Rows;
        Call(HalfByteCode.Get(shape), &args, throughBridge);
        return new ReadOnlySpan<byte>(result.Pointer, shape.Rows * 64).ToArray();
    }

    private static byte[] RunInteger(IntegerShape shape, bool throughBridge) =>
        RunInteger(IntegerCode.Get(shape), shape.Tiled ? 3 : 1, groups: 4, shape.Rows, shape.Rows, shape.Panels, throughBridge);

    private static byte[] RunPlanes(PlanesShape shape, bool throughBridge) =>
        RunInteger(PlanesCode.Get(shape), tiles: 3, shape.Groups, 3 * shape.Rows, shape.Rows, panels: 1, throughBridge);

    private static byte[] RunInteger(void* kernel, int tiles, int groups, int rows, int sums, int panels, bool throughBridge)
    {
        var random = new Random(1);
        using var activations = Random(random, tiles * groups * rows * 8);
        using var weights = Random(random, tiles * groups * 64 * panels);
        using var start = Random(random, tiles * rows * 4);
        using var weightScales = Floats(random, tiles * 16 * panels);
        using var activationScales = Floats(random, tiles * rows);
        using var result = new AlignedMemory(sums * panels * 64);
        IntegerTileArgs args = default;
        args.Activations = activations.Pointer;
        args.Weights = weights.Pointer;
        args.PanelBytes = tiles * groups * 64;
        args.Tiles = tiles;
        args.Groups = groups;
        args.Start = (int*)start.Pointer;
        args.WeightScales = (float*)weightScales.Pointer;
        args.PanelScaleBytes = tiles * 64;
        args.ActivationScales = (float*)activationScales.Pointer;
        args.Result = result.Pointer;
        Call(kernel, &args, throughBridge);
        return new ReadOnlySpan<byte>(result.Pointer, (int)result.Bytes).ToArray();
    }

    private static byte[] RunFloat(FloatShape shape, bool throughBridge) =>
        RunFloat(FloatCode.Get(shape), shape.Tiled ? 3 : 1, shape.Rows, shape.Panels, throughBridge);

    private static byte[] RunFloat(void* kernel, int tiles, int rows, int panels, bool throughBridge)
    {
        const int Groups = 4;
        var random = new Random(1);
        using var activations = Floats(random, tiles * Groups * rows * 8);
        using var weights = Random(random, tiles * Groups * 64 * panels);
        using var scales = Floats(random, tiles * 16 * panels);
        using var table = Floats(random, 16);
        using var result = new AlignedMemory(rows * 64 * panels);
        FloatTileArgs args = default;
        args.Activations = (float*)activations.Pointer;
        args.Weights = weights.Pointer;
        args.Tiles = tiles;
        args.Groups = Groups;
        args.PanelBytes = tiles * Groups * 64;
        args.PanelScaleBytes = tiles * 64;
        args.WeightScales = (float*)scales.Pointer;
        args.Table = (float*)table.Pointer;
        args.Result = (float*)result.Pointer;
        Call(kernel, &args, throughBridge);
        return new ReadOnlySpan<byte>(result.Pointer, (int)result.Bytes).ToArray();
    }

    private static AlignedMemory Random(Random random, int bytes)
    {
        var memory = new AlignedMemory(bytes);
        random.NextBytes(new Span<byte>(memory.Pointer, bytes));
        return memory;
    }

    private static AlignedMemory Floats(Random random, int count)
    {
        var memory = new AlignedMemory(count * 4);
        Sample.Floats(random, count).CopyTo(new Span<float>(memory.Pointer, count));
        return memory;
    }

    private static void Call(void* kernel, void* args, bool throughBridge)
    {
        if (!throughBridge)
        {
            ((delegate* unmanaged<void*, void>)kernel)(args);
            return;
        }
        using var bridge = Bridge();
        var state = stackalloc ulong[4 * PreservedVectors + 2];
        for (var i = 0; i < 2 * PreservedVectors; i++)
            state[i] = 0x0123456789ABCDEFul * (ulong)(i + 1);
        ((delegate* unmanaged<void*, void*, void*, void>)bridge.Entry)(kernel, args, state);
        for (var i = 0; i < 2 * PreservedVectors; i++)
            Assert.Equal(state[i], state[2 * PreservedVectors + i]);
        Assert.Equal((0x1111ul, 0x2222ul), (state[4 * PreservedVectors], state[4 * PreservedVectors + 1]));
    }

    /// <summary>(rdi: kernel, rsi: its args, rdx: state): fills xmm6 … xmm15, rdi and rsi, calls with rcx, and stores them again.</summary>
    private static ExecutableMemory Bridge()
    {
        AssemblerRegisterXMM[] vectors = [xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];
        var c = new Assembler(64);
        c.push(rbx);
        c.mov(rbx, rdx);
        for (var i = 0; i < vectors.Length; i++)
            c.vmovdqu(vectors[i], __xmmword_ptr[rbx + 16 * i]);
        c.mov(rax, rdi);
        c.mov(rcx, rsi);
        c.mov(rdi, 0x1111);
        c.mov(rsi, 0x2222);
        c.call(rax);
        for (var i = 0; i < vectors.Length; i++)
            c.vmovdqu(__xmmword_ptr[rbx + 16 * (vectors.Length + i)], vectors[i]);
        c.mov(__qword_ptr[rbx + 32 * vectors.Length], rdi);
        c.mov(__qword_ptr[rbx + 32 * vectors.Length + 8], rsi);
        c.pop(rbx);
        c.ret();
        using var code = new MemoryStream();
        c.Assemble(new StreamCodeWriter(code), 0);
        return ExecutableMemory.TryMap(code.ToArray()) ?? throw new InvalidOperationException("No executable memory.");
    }
}
