namespace WgSharp;

/// <summary>The error numbers that the UAPI answers with (include/uapi/asm-generic/errno*.h), positive as in C.</summary>
internal static class Errno
{
    public const int IoError = 5;              // EIO
    public const int ArgumentListTooLong = 7;  // E2BIG
    public const int OutOfMemory = 12;         // ENOMEM
    public const int InvalidArgument = 22;     // EINVAL
    public const int Protocol = 71;            // EPROTO
    public const int AddressInUse = 98;        // EADDRINUSE
    public const int TimedOut = 110;           // ETIMEDOUT
}
