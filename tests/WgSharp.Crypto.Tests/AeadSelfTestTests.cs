namespace WgSharp.Crypto.Tests;

public class AeadSelfTestTests
{
    [Fact]
    public void The_chosen_implementation_agrees_with_libsodium() => Assert.Null(Record.Exception(AeadSelfTest.Run));
}
