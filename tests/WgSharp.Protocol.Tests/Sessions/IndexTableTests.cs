using System.Buffers.Binary;

namespace WgSharp.Protocol.Tests;

public sealed class IndexTableTests
{
    [Fact]
    public void What_was_inserted_is_found_until_it_is_removed()
    {
        var table = new IndexTable<object>(new SeededRandom(1).Fill);
        object value = new();
        uint index = table.Insert(value);
        Assert.True(table.TryFind(index, out object? found));
        Assert.Same(value, found);
        Assert.False(table.TryFind(index + 1, out found));
        Assert.Null(found);
        Assert.True(table.Remove(index, value));
        Assert.False(table.TryFind(index, out _));
        Assert.False(table.Remove(index, value));
        Assert.Equal(0, table.Count);
    }

    [Fact]
    public void An_index_that_is_alive_is_never_given_again()
    {
        var script = new Queue<uint>([7, 7, 7, 9, 9, 7]);
        var table = new IndexTable<object>(bytes => BinaryPrimitives.WriteUInt32LittleEndian(bytes, script.Dequeue()));
        object first = new();
        Assert.Equal(7u, table.Insert(first));
        Assert.Equal(9u, table.Insert(new object()));
        Assert.True(table.Remove(7, first));
        Assert.Equal(7u, table.Insert(new object()));
        Assert.Empty(script);
    }

    [Fact]
    public void A_random_source_that_repeats_itself_is_reported()
    {
        var table = new IndexTable<object>(bytes => bytes.Clear());
        table.Insert(new object());
        Assert.Throws<InvalidOperationException>(() => table.Insert(new object()));
    }

    [Fact]
    public void A_keypair_takes_the_place_of_its_handshake_under_the_same_index()
    {
        var table = new IndexTable<object>(new SeededRandom(2).Fill);
        object handshake = new();
        object keypair = new();
        uint index = table.Insert(handshake);
        Assert.True(table.Replace(index, handshake, keypair));
        Assert.True(table.TryFind(index, out object? found));
        Assert.Same(keypair, found);
        Assert.Equal(1, table.Count);
        Assert.False(table.Replace(index, handshake, new object()));
        Assert.False(table.Replace(index + 1, keypair, new object()));
    }

    [Fact]
    public void An_owner_that_is_gone_cannot_remove_its_successor()
    {
        var table = new IndexTable<object>(new SeededRandom(3).Fill);
        object handshake = new();
        object keypair = new();
        uint index = table.Insert(handshake);
        table.Replace(index, handshake, keypair);
        Assert.False(table.Remove(index, handshake));
        Assert.True(table.TryFind(index, out _));
    }

    [Fact]
    public void Random_changes_agree_with_a_dictionary_while_the_table_grows_and_shrinks()
    {
        var random = new Random(4);
        var table = new IndexTable<object>(new SeededRandom(5).Fill);
        var model = new Dictionary<uint, object>();
        for (int target = 3000, round = 0; round < 4; round++, target = round % 2 == 0 ? 3000 : 5)
        {
            while (model.Count != target)
            {
                if (model.Count < target ? random.Next(4) != 0 : random.Next(4) == 0)
                {
                    object value = new();
                    model.Add(table.Insert(value), value);
                }
                else if (model.Count > 0)
                {
                    (uint index, object value) = model.First();
                    Assert.True(table.Remove(index, value));
                    model.Remove(index);
                }

                Assert.Equal(model.Count, table.Count);
            }

            foreach ((uint index, object value) in model)
            {
                Assert.True(table.TryFind(index, out object? found));
                Assert.Same(value, found);
            }

            for (int i = 0; i < 1000; i++)
            {
                uint index = (uint)random.NextInt64(1L << 32);
                Assert.Equal(model.ContainsKey(index), table.TryFind(index, out _));
            }
        }
    }

    [Fact]
    public async Task Readers_never_miss_what_stays_while_everything_around_it_changes()
    {
        var table = new IndexTable<object>(new SeededRandom(6).Fill);
        object stays = new();
        uint index = table.Insert(stays);
        using var done = new CancellationTokenSource();
        Task<int> reader = Task.Factory.StartNew(
            () =>
            {
                int misses = 0;
                while (!done.IsCancellationRequested)
                {
                    misses += table.TryFind(index, out object? found) && ReferenceEquals(found, stays) ? 0 : 1;
                }

                return misses;
            },
            TaskCreationOptions.LongRunning);

        for (int round = 0; round < 30; round++)
        {
            var values = new List<(uint Index, object Value)>();
            for (int i = 0; i < 1000; i++)
            {
                object value = new();
                values.Add((table.Insert(value), value));
            }

            foreach ((uint i, object value) in values)
            {
                table.Remove(i, value);
            }
        }

        await done.CancelAsync();
        Assert.Equal(0, await reader);
        Assert.Equal(1, table.Count);
    }

    [Fact]
    public void A_lookup_allocates_nothing()
    {
        var table = new IndexTable<object>(new SeededRandom(7).Fill);
        uint index = table.Insert(new object());
        bool found = true;
        uint other = 0;
        Allocations.AssertNone(1000, () =>
        {
            found &= table.TryFind(index, out _);
            table.TryFind(other++, out _);
        });
        Assert.True(found);
    }
}
