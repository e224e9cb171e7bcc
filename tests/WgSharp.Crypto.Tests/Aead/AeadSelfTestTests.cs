using System.Security.Cryptography;

namespace WgSharp.Crypto.Tests;

public class AeadSelfTestTests
{
    public static TheoryData<string> Implementations => [.. AeadKey.Supported.Select(implementation => implementation.ToString())];

    [Fact]
    public void The_chosen_implementation_agrees_with_libsodium() => Assert.Null(Record.Exception(AeadSelfTest.Run));

    [Theory]
    [MemberData(nameof(Implementations))]
    public void One_that_computes_something_else_is_found(string implementation)
    {
        byte[] secret = [.. Enumerable.Range(0, ChaCha20Poly1305.KeySize).Select(i => (byte)i)];
        byte[] other = [.. secret];
        other[31] ^= 1;
        using var right = new AeadKey(secret, Enum.Parse<AeadImplementation>(implementation));
        using var wrong = new AeadKey(other, Enum.Parse<AeadImplementation>(implementation));
        AeadSelfTest.Run(right, secret);
        Assert.Throws<CryptographicException>(() => AeadSelfTest.Run(wrong, secret));
    }
}
