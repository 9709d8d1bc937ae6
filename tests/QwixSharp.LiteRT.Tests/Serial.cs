// Models take their weights from libtorch's one random state, and tensors are counted for the whole process.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
