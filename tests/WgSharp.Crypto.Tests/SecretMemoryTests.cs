using System.Globalization;
using System.Runtime.CompilerServices;

namespace WgSharp.Crypto.Tests;

/// <summary>Alone: the count of slots in use is the process's.</summary>
[CollectionDefinition(nameof(SecretMemoryTests), DisableParallelization = true)]
[Collection(nameof(SecretMemoryTests))]
public class SecretMemoryTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    [InlineData(32)]
    [InlineData(33)]
    [InlineData(64)]
    [InlineData(128)]
    public void A_secret_begins_as_zeros_and_what_was_given_back_is_wiped(int length)
    {
        for (int round = 0; round < 1000; round++)
        {
            using var memory = new SecretMemory(length);
            Assert.Equal(length, memory.Span.Length);
            Assert.False(memory.Span.ContainsAnyExcept((byte)0));
            memory.Span.Fill(0xff);
        }
    }

    [Fact]
    public void No_two_secrets_overlap()
    {
        var memories = new List<SecretMemory>();
        for (int i = 0; i < 3000; i++)
        {
            var memory = new SecretMemory(i % 3 == 0 ? 32 : i % 3 == 1 ? 64 : 128);
            memory.Span.Fill((byte)i);
            memories.Add(memory);
        }

        for (int i = 0; i < memories.Count; i++)
        {
            Assert.False(memories[i].Span.ContainsAnyExcept((byte)i));
            memories[i].Dispose();
        }
    }

    [Fact]
    public void Disposed_it_shows_zeros_and_changes_nobody_else_s_bytes()
    {
        var first = new SecretMemory(32);
        first.Span.Fill(1);
        first.Dispose();
        first.Dispose();
        using var second = new SecretMemory(32);
        using var third = new SecretMemory(32);
        second.Span.Fill(2);
        third.Span.Fill(3);
        Assert.False(first.Span.ContainsAnyExcept((byte)0));
        first.Span.Fill(4);
        Assert.False(second.Span.ContainsAnyExcept((byte)2));
        Assert.False(third.Span.ContainsAnyExcept((byte)3));
    }

    [Fact]
    public void Whoever_disposes_a_key_leaves_nothing_taken()
    {
        int before = SecretPages.InUse;
        using (var privateKey = new PrivateKey(new byte[32]))
        using (var presharedKey = new PresharedKey(new byte[32]))
        using (var transport = new AeadKey(new byte[32]))
        {
            Assert.Equal(before + 3, SecretPages.InUse);
        }

        Assert.Equal(before, SecretPages.InUse);
    }

    [Fact]
    public void Of_a_key_that_was_disposed_no_byte_is_left()
    {
        byte[] secret = [.. Enumerable.Repeat((byte)0x55, 32)];
        using (var transport = new AeadKey(secret))
        {
            AssertLeavesNothing(transport, StateOf(transport).Span);
        }

        using (var privateKey = new PrivateKey(secret))
        {
            AssertLeavesNothing(privateKey, privateKey.Span);
        }

        using var presharedKey = new PresharedKey(secret);
        AssertLeavesNothing(presharedKey, presharedKey.Span);
    }

    [Fact]
    public unsafe void The_pages_are_locked_and_left_out_of_core_dumps()
    {
        using var memory = new SecretMemory(32);
        string flags = FlagsOf((nint)memory.Start);
        Assert.Contains(" dd", flags, StringComparison.Ordinal);

        // Root, or a limit that these tests do not reach.
        Assert.Null(SecretMemory.LockRefusal);
        Assert.Contains(" lo", flags, StringComparison.Ordinal);
    }

    /// <param name="bytes">The owner's: the pages stay, so that they can still be read when the owner has given them back.</param>
    private static void AssertLeavesNothing(IDisposable owner, ReadOnlySpan<byte> bytes)
    {
        Assert.True(bytes.ContainsAnyExcept((byte)0));
        owner.Dispose();
        Assert.False(bytes.ContainsAnyExcept((byte)0));
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_state")]
    private static extern ref SecretMemory StateOf(AeadKey key);

    /// <summary>VmFlags of the mapping that an address lies in (proc_pid_smaps(5)).</summary>
    private static string FlagsOf(nint address)
    {
        bool inside = false;
        foreach (string line in File.ReadLines("/proc/self/smaps"))
        {
            string first = line.Split(' ')[0];
            int dash = first.IndexOf('-', StringComparison.Ordinal);
            if (dash > 0)
            {
                inside = long.Parse(first.AsSpan(0, dash), NumberStyles.HexNumber, CultureInfo.InvariantCulture) <= address
                    && address < long.Parse(first.AsSpan(dash + 1), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            }
            else if (inside && first == "VmFlags:")
            {
                return line;
            }
        }

        throw new InvalidOperationException("No mapping holds the address.");
    }
}
