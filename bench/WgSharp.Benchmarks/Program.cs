using BenchmarkDotNet.Running;
using WgSharp.Benchmarks;

if (args is ["aead", ..])
{
    return AeadComparison.Run(args[1..]);
}

BenchmarkSwitcher.FromAssembly(typeof(Program).Assembly).Run(args);
return 0;
