using System.Collections.Concurrent;

namespace WgSharp.Engine.Tests.Workers;

public class OrderedBatchQueueTests
{
    [Fact]
    public void Batches_are_completed_in_ticket_order_whatever_the_order_of_finishing()
    {
        var completed = new List<PacketBatch>();
        var queue = new OrderedBatchQueue(Batches(3), completed.Add);
        PacketBatch first = queue.Rent();
        PacketBatch second = queue.Rent();
        PacketBatch third = queue.Rent();
        long[] tickets = [queue.Ticket(first), queue.Ticket(second), queue.Ticket(third)];
        queue.Finish(tickets[2]);
        queue.Finish(tickets[1]);
        Assert.Empty(completed);
        queue.Finish(tickets[0]);
        Assert.Equal([first, second, third], completed);
    }

    [Fact]
    public void A_completed_batch_can_be_rented_again_and_an_unused_one_too()
    {
        var queue = new OrderedBatchQueue(Batches(1), _ => { });
        for (int i = 0; i < 10; i++)
        {
            PacketBatch batch = queue.Rent();
            if (i % 2 == 0)
            {
                queue.Return(batch);
            }
            else
            {
                queue.Finish(queue.Ticket(batch));
            }
        }
    }

    [Fact]
    public void Many_threads_keep_the_order_and_lose_nothing()
    {
        const int total = 20_000;
        var order = new List<int>(total);
        var numbers = new ConcurrentDictionary<PacketBatch, int>();
        var queue = new OrderedBatchQueue(Batches(5), batch => order.Add(numbers[batch]));
        var reader = new Lock();
        int next = 0;
        var threads = Enumerable.Range(0, 4).Select(seed => new Thread(() =>
        {
            var random = new Random(seed);
            while (true)
            {
                long ticket;
                lock (reader)
                {
                    if (next == total)
                    {
                        return;
                    }

                    PacketBatch batch = queue.Rent();
                    numbers[batch] = next++;
                    ticket = queue.Ticket(batch);
                }

                Thread.SpinWait(random.Next(200));
                queue.Finish(ticket);
            }
        })).ToList();
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Assert.Equal(Enumerable.Range(0, total), order);
    }

    private static PacketBatch[] Batches(int count) => [.. Enumerable.Range(0, count).Select(_ => new PacketBatch(16, 1, 1, 0))];
}
