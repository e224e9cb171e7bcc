namespace WgSharp.Tests;

public class MeanwhileTests
{
    [Fact]
    public void It_is_made_on_another_thread_while_this_one_goes_on()
    {
        using var goOn = new ManualResetEventSlim();
        using var made = new Meanwhile<Thread>("maker", () =>
        {
            goOn.Wait();
            return Thread.CurrentThread;
        });

        // Were it made here, nobody would come to this.
        goOn.Set();
        Assert.NotSame(Thread.CurrentThread, made.Result);
        Assert.Equal("maker", made.Result.Name);
    }

    [Fact]
    public void What_its_making_threw_is_thrown_to_each_who_asks()
    {
        using var failed = new Meanwhile<string>("maker", () => throw new IOException("no"));

        Assert.Equal("no", Assert.Throws<IOException>(() => failed.Result).Message);
        Assert.Equal("no", Assert.Throws<IOException>(() => failed.Result).Message);
    }

    [Fact]
    public void Who_leaves_waits_for_it_and_disposes_of_it()
    {
        using var goOn = new ManualResetEventSlim();
        using var output = new MemoryStream();
        var made = new Meanwhile<Stream>("maker", () =>
        {
            goOn.Wait();
            return output;
        });

        var leaving = new Thread(made.Dispose);
        leaving.Start();
        goOn.Set();
        leaving.Join();

        Assert.False(output.CanWrite);
    }

    [Fact]
    public void Who_leaves_is_not_told_of_a_failure() =>
        Assert.Null(Record.Exception(new Meanwhile<string>("maker", () => throw new IOException("no")).Dispose));
}
