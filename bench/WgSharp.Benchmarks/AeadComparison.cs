using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;
using WgSharp.Crypto;

namespace WgSharp.Benchmarks;

/// <summary>
/// The plain mode behind <c>bench/aead</c>: GB/s of every implementation, of libsodium and of <c>openssl speed</c>, measured in turns in one run,
/// as medians and as ratios to OpenSSL. A noisy machine slows the turns of all alike, and the median forgets a bad one; time is the
/// processor's as with <c>openssl speed</c>, so that others who want the processor too do not count.
/// </summary>
internal static partial class AeadComparison
{
    private const int BatchSize = 45;
    private const int TagSize = 16;

    private static readonly int[] Sizes = [64, 512, 1420];

    /// <param name="arguments">Optional: how many rounds.</param>
    public static int Run(string[] arguments)
    {
        int rounds = arguments.Length > 0 ? int.Parse(arguments[0], CultureInfo.InvariantCulture) : 5;
        List<Subject> subjects = [];
        foreach (int size in Sizes)
        {
            foreach (bool open in new[] { false, true })
            {
                subjects.Add(new OpenSslSpeed(size, open));
                foreach (AeadImplementation implementation in AeadKey.Supported)
                {
                    subjects.Add(new Packets(implementation, size, 1, open));
                    subjects.Add(new Packets(implementation, size, BatchSize, open));
                }
            }
        }

        for (int round = -1; round < rounds; round++)
        {
            foreach (Subject subject in subjects)
            {
                // The first round warms up: compilers, caches, clock speeds.
                subject.Measure(keep: round >= 0);
            }
        }

        Print(subjects, rounds);
        return 0;
    }

    private static void Print(List<Subject> subjects, int rounds)
    {
        string processor = File.ReadLines("/proc/cpuinfo").First(line => line.StartsWith("model name", StringComparison.Ordinal)).Split(':')[1].Trim();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{processor}, {DateTime.UtcNow:yyyy-MM-dd}, median of {rounds} rounds, GB/s (ratio to openssl speed)"));
        Console.WriteLine($"{"",-18}{"openssl",9}{string.Concat(AeadKey.Supported.SelectMany(i => new[] { $"{i} x1", $"{i} x{BatchSize}" }).Select(name => $"{name,16}"))}");
        foreach (IGrouping<(int Size, bool Open), Subject> line in subjects.GroupBy(subject => (subject.Size, subject.Open)))
        {
            double reference = line.First().Median;
            string cells = string.Concat(line.Skip(1).Select(subject => string.Create(CultureInfo.InvariantCulture, $"{subject.Median,9:F3} ({subject.Median / reference:F2})")));
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{line.Key.Size,5} bytes {(line.Key.Open ? "open" : "seal"),-6} {reference,9:F3}{cells}"));
        }
    }

    private abstract class Subject(int size, bool open)
    {
        private readonly List<double> _rates = [];

        public int Size => size;

        public bool Open => open;

        public double Median => _rates.Order().ElementAt(_rates.Count / 2);

        public void Measure(bool keep)
        {
            double rate = MeasureRate();
            if (keep)
            {
                _rates.Add(rate);
            }
        }

        /// <summary>Gigabytes of content per second.</summary>
        protected abstract double MeasureRate();
    }

    private sealed partial class OpenSslSpeed(int size, bool open) : Subject(size, open)
    {
        protected override double MeasureRate()
        {
            ProcessStartInfo start = new("openssl") { UseShellExecute = false, RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (string argument in (string[])["speed", "-seconds", "1", "-bytes", Size.ToString(CultureInfo.InvariantCulture), .. Open ? ["-decrypt"] : Array.Empty<string>(), "-evp", "chacha20-poly1305"])
            {
                start.ArgumentList.Add(argument);
            }

            using Process process = Process.Start(start)!;
            process.ErrorDataReceived += (_, _) => { };
            process.BeginErrorReadLine();
            string output = process.StandardOutput.ReadToEnd();
            process.WaitForExit();
            Match match = ThousandsPerSecond().Match(output);
            return match.Success
                ? double.Parse(match.Groups["rate"].Value, CultureInfo.InvariantCulture) / 1e6
                : throw new InvalidOperationException($"openssl speed printed no speed: {output}");
        }

        [GeneratedRegex(@"(?<rate>[0-9.]+)k\s*$", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
        private static partial Regex ThousandsPerSecond();
    }

    /// <summary>Packets in runs of <paramref name="run"/>, at one stride in a pinned buffer as in the data path; a pass is long enough for the clock and stays in the cache.</summary>
    private sealed partial class Packets(AeadImplementation implementation, int size, int run, bool open) : Subject(size, open), IDisposable
    {
        private const double Seconds = 0.15;

        private readonly AeadKey _key = new([.. Enumerable.Range(0, 32).Select(i => (byte)i)], implementation);
        private readonly int _count = run == 1 ? 45_000 / size : run * Math.Max(1, 700 / size);
        private byte[] _buffer = [];
        private AeadPacket[] _packets = [];

        protected override double MeasureRate()
        {
            Prepare();
            long elapsed = 0;
            long bytes = 0;
            while (elapsed < Seconds * 1e9)
            {
                if (Open)
                {
                    SealAll();
                }

                long start = ProcessorTime();
                if (Open)
                {
                    OpenAll();
                }
                else
                {
                    SealAll();
                }

                elapsed += ProcessorTime() - start;
                bytes += (long)_count * Size;
            }

            return Open && !_packets.All(packet => packet.Authentic)
                ? throw new InvalidOperationException("A packet was not authentic.")
                : bytes / (double)elapsed;
        }

        public void Dispose() => _key.Dispose();

        private void Prepare()
        {
            if (_packets.Length == 0)
            {
                int stride = Size + 2 * TagSize;
                _buffer = GC.AllocateArray<byte>(_count * stride, pinned: true);
                _packets = [.. Enumerable.Range(0, _count).Select(i => new AeadPacket { Offset = (i * stride) + TagSize, Length = Size, Counter = (ulong)i })];
            }
        }

        /// <summary>Nanoseconds that this thread has had.</summary>
        private static long ProcessorTime()
        {
            const int CLOCK_THREAD_CPUTIME_ID = 3;
            return clock_gettime(CLOCK_THREAD_CPUTIME_ID, out Timespec time) == 0
                ? (time.Seconds * 1_000_000_000) + time.Nanoseconds
                : throw new InvalidOperationException("No clock of the thread's processor time.");
        }

        [LibraryImport("libc")]
        [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
        private static partial int clock_gettime(int clockid, out Timespec tp);

        [StructLayout(LayoutKind.Sequential)]
        private struct Timespec
        {
            public long Seconds;
            public long Nanoseconds;
        }

        private void SealAll()
        {
            for (int i = 0; i < _packets.Length; i += run)
            {
                _key.Seal(_buffer, _packets.AsSpan(i, run));
            }
        }

        private void OpenAll()
        {
            for (int i = 0; i < _packets.Length; i += run)
            {
                _key.Open(_buffer, _packets.AsSpan(i, run));
            }
        }
    }
}
