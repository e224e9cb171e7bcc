using System.Runtime.InteropServices;
using System.Security.Cryptography;

namespace WgSharp.Crypto;

// Where secrets lie for as long as they live: in pages of their own, apart from the collector's heap and from everything that is no secret, each
// locked into memory (never written to swap) and left out of core dumps. What is locked is what secrets use: the limit on locked memory
// (RLIMIT_MEMLOCK, 64 KiB where it is old, for whoever has not CAP_IPC_LOCK) goes a long way at 32 to 128 bytes each.

/// <summary>The bytes of one secret, for its owner to fill: zeros at first, locked into memory where the machine allows it, wiped when disposed.</summary>
/// <remarks>There is no finalizer that could take the bytes away under a span in use: who forgets to dispose keeps them for the life of the process.</remarks>
internal sealed unsafe class SecretMemory : IDisposable
{
    private nint _start;

    /// <param name="length">1 to 128 bytes.</param>
    /// <exception cref="SodiumMissingException">There is no libsodium.</exception>
    public SecretMemory(int length)
    {
        _start = SecretPages.Take(length);
        Length = length;
    }

    public int Length { get; }

    /// <summary>The bytes; once disposed, zeros that nobody else sees.</summary>
    public Span<byte> Span => _start != 0 ? new Span<byte>(Start, Length) : new byte[Length];

    /// <summary>Whether all that was asked for so far is locked, and if not, why: for the log. Null: all of it is.</summary>
    public static string? LockRefusal => SecretPages.Refusal;

    /// <summary>How many there are in this process: what is not disposed stays.</summary>
    public static int InUse => SecretPages.InUse;

    /// <summary>The same address for life, at a multiple of the size; null once disposed.</summary>
    internal byte* Start => (byte*)_start;

    public void Dispose()
    {
        nint start = Interlocked.Exchange(ref _start, 0);
        if (start != 0)
        {
            SecretPages.GiveBack(start, Length);
        }
    }
}

/// <summary>All pages with secrets in this process. A page holds slots of one size; what was given back is taken again, and no page is ever freed.</summary>
internal static unsafe class SecretPages
{
    private const int BlockSize = 1 << 16;
    private const int SmallestSlot = 32;
    private const int LargestSlot = 128;

    private static readonly Lock _gate = new();
    private static readonly Stack<nint>[] _free = [new(), new(), new()];
    private static nint _block;
    private static int _blockLeft;
    private static int _inUse;
    private static volatile string? _refusal;

    /// <summary>See <see cref="SecretMemory.LockRefusal"/>.</summary>
    public static string? Refusal => _refusal;

    /// <summary>Slots that somebody owns.</summary>
    public static int InUse
    {
        get
        {
            lock (_gate)
            {
                return _inUse;
            }
        }
    }

    /// <summary>A slot of at least this size, all zeros.</summary>
    public static nint Take(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, LargestSlot);
        lock (_gate)
        {
            Stack<nint> free = FreeSlots(length, out int size);
            if (!free.TryPop(out nint slot))
            {
                AddPage(free, size);
                slot = free.Pop();
            }

            _inUse++;
            return slot;
        }
    }

    /// <summary>Wipes it, and has it taken by whoever asks next.</summary>
    public static void GiveBack(nint slot, int length)
    {
        lock (_gate)
        {
            Stack<nint> free = FreeSlots(length, out int size);
            CryptographicOperations.ZeroMemory(new Span<byte>((void*)slot, size));
            free.Push(slot);
            _inUse--;
        }
    }

    private static Stack<nint> FreeSlots(int length, out int size)
    {
        int index = 0;
        for (size = SmallestSlot; size < length; size *= 2)
        {
            index++;
        }

        return _free[index];
    }

    private static void AddPage(Stack<nint> free, int slotSize)
    {
        int pageSize = Environment.SystemPageSize;
        if (_blockLeft < pageSize)
        {
            _block = (nint)NativeMemory.AlignedAlloc(BlockSize, (nuint)pageSize);
            _blockLeft = BlockSize;
        }

        nint page = _block + BlockSize - _blockLeft;
        _blockLeft -= pageSize;

        // Page by page: where there is a limit, it is used up to the last page. It also keeps the page out of core dumps, whether it can be locked or not.
        if (Sodium.sodium_mlock((void*)page, (nuint)pageSize) != 0)
        {
            _refusal ??= Marshal.GetPInvokeErrorMessage(Marshal.GetLastPInvokeError());
        }

        NativeMemory.Clear((void*)page, (nuint)pageSize);
        for (nint slot = page + pageSize - slotSize; slot >= page; slot -= slotSize)
        {
            free.Push(slot);
        }
    }
}
