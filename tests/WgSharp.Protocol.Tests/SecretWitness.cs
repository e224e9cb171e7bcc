using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using WgSharp.Crypto;

namespace WgSharp.Protocol.Tests;

/// <summary>Remembers where a secret's bytes lie, and reads them there when their owner says that they are gone: the pages are never freed.</summary>
internal sealed class SecretWitness
{
    private readonly nint _start;
    private readonly int _length;

    private SecretWitness(SecretMemory memory, int length)
    {
        _start = StartOf(memory);
        _length = length;
    }

    /// <summary>All zeros.</summary>
    public bool IsWiped
    {
        get
        {
            byte[] bytes = new byte[_length];
            Marshal.Copy(_start, bytes, 0, _length);
            return !bytes.AsSpan().ContainsAnyExcept((byte)0);
        }
    }

    public static SecretWitness Of(AeadKey key) => new(StateOf(key), StateOf(key).Length);

    public static SecretWitness Of(SecretBytes key) => new(BytesOf(key), BytesOf(key).Length);

    /// <summary>Of the symmetric state and the static-static secret behind it.</summary>
    /// <param name="length">How much of the two.</param>
    public static SecretWitness Of(Handshake handshake, int length) => new(SecretsOf(handshake), length);

    /// <summary>Of our ephemeral key, while an initiation is out.</summary>
    public static SecretWitness OfEphemeral(Handshake handshake) => Of(EphemeralOf(handshake)!);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_start")]
    private static extern ref nint StartOf(SecretMemory memory);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_state")]
    private static extern ref SecretMemory StateOf(AeadKey key);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_bytes")]
    private static extern ref SecretMemory BytesOf(SecretBytes key);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_secrets")]
    private static extern ref SecretMemory SecretsOf(Handshake handshake);

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "_ephemeral")]
    private static extern ref PrivateKey? EphemeralOf(Handshake handshake);
}
