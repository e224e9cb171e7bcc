// A child process holds copies of all descriptors between its fork and its exec: a port or a namespace that one test has closed
// would still be taken while another test starts ip(8).
[assembly: CollectionBehavior(DisableTestParallelization = true)]
