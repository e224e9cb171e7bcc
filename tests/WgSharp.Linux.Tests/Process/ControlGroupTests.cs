namespace WgSharp.Linux.Tests;

/// <summary>What both versions of the control groups say, as files in a directory of the test's own.</summary>
public sealed class ControlGroupTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("wgsharp-cgroup").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Version_2_is_limited_by_whichever_group_leaves_least()
    {
        Process("0::/a/b", $"30 20 0:26 / {_directory}/fs rw - cgroup2 cgroup2 rw");
        Write("fs/a/memory.max", "100000000");
        Write("fs/a/memory.current", "90000000");
        Write("fs/a/memory.stat", "anon 1\nfile 7\ninactive_file 2000000\nactive_file 5\n");
        Write("fs/a/b/memory.max", "max");
        Write("fs/a/b/memory.current", "5");
        Write("fs/a/pids.max", "50");
        Write("fs/a/pids.current", "49");
        Write("fs/a/b/pids.max", "30");
        Write("fs/a/b/pids.current", "10");

        Assert.Equal(12_000_000, Groups.MemoryRoom());
        Assert.Equal(new TaskLimit($"{_directory}/fs/a/pids.max", 50, 1), Groups.NearestTaskLimit());
    }

    [Fact]
    public void Version_1_has_a_hierarchy_for_each_controller()
    {
        Process(
            "9:name=systemd:/x\n8:pids:/y\n4:cpu,memory:/docker/c\n0::/",
            $"30 20 0:26 / {_directory}/unified rw - cgroup2 cgroup2 rw\n"
            + $"31 20 0:27 /docker/c {_directory}/memory rw shared:7 - cgroup cgroup rw,cpu,memory\n"
            + $"32 20 0:28 / {_directory}/pids rw - cgroup cgroup rw,pids");
        Write("memory/memory.limit_in_bytes", "128000000");
        Write("memory/memory.usage_in_bytes", "28000000");
        Write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 500000\n");
        Write("pids/y/pids.max", "max");
        Write("pids/y/pids.current", "10");

        Assert.Equal(100_500_000, Groups.MemoryRoom());
        Assert.Null(Groups.NearestTaskLimit());
    }

    [Theory]
    [InlineData("9223372036854771712")]
    [InlineData("9223372036854775807")]
    public void The_largest_number_is_no_limit(string none)
    {
        Process("4:memory:/", $"31 20 0:27 / {_directory}/memory rw - cgroup cgroup rw,memory");
        Write("memory/memory.limit_in_bytes", none);
        Write("memory/memory.usage_in_bytes", "28000000");

        Assert.Equal(long.MaxValue, Groups.MemoryRoom());
    }

    [Fact]
    public void In_a_container_the_top_of_the_mount_is_the_group_that_is_seen()
    {
        Process("0::/../../elsewhere", $"30 20 0:26 / {_directory}/fs rw - cgroup2 cgroup2 rw");
        Write("fs/memory.max", "1000");
        Write("fs/memory.current", "400");

        Assert.Equal(600, Groups.MemoryRoom());
    }

    [Fact]
    public void Without_control_groups_there_is_no_limit()
    {
        Assert.Equal(long.MaxValue, Groups.MemoryRoom());
        Assert.Null(Groups.NearestTaskLimit());
    }

    [Fact]
    public void Those_of_this_machine_can_be_read()
    {
        Assert.InRange(new ControlGroups().MemoryRoom(), 1, long.MaxValue);
        Assert.True(new ControlGroups().NearestTaskLimit() is null or { Room: > 0 });
    }

    private ControlGroups Groups => new($"{_directory}/process");

    private void Process(string cgroup, string mountinfo)
    {
        Write("process/cgroup", cgroup + "\n");
        Write("process/mountinfo", mountinfo + "\n");
    }

    private void Write(string path, string text)
    {
        string full = Path.Combine(_directory, path);
        Directory.CreateDirectory(Path.GetDirectoryName(full)!);
        File.WriteAllText(full, text);
    }
}
