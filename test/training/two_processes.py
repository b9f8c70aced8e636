"""What each of two processes does: `two_processes.py DDP.yaml FSDP.yaml WORDS.yaml`.

accelerate shards models on GPUs only; here its state is told otherwise, all else is as there.
"""

import os
import sys
from pathlib import Path

from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.state import PartialState
from torch.distributed import destroy_process_group

from lisa_ros.training import finetune, loop, mixture_batches
from lisa_ros.training.config import read_train_config

data_parallel, sharded, words = sys.argv[1:]

finetune.train(read_train_config(Path(data_parallel)))

make_accelerator = loop.make_accelerator


def make_sharding_accelerator() -> Accelerator:
    accelerator = make_accelerator()
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["LlamaDecoderLayer"],
        reshard_after_forward=True,
        cpu_ram_efficient_loading=False,
    )
    return accelerator


loop.make_accelerator = finetune.make_accelerator = make_sharding_accelerator

make_batch = mixture_batches.make_batch
batches = iter(range(4))


def make_four_batches(*arguments):
    if next(batches, None) is None:
        raise KeyboardInterrupt
    return make_batch(*arguments)


config = read_train_config(Path(sharded))
mixture_batches.make_batch = make_four_batches
try:
    finetune.train(config)
except KeyboardInterrupt:
    mixture_batches.make_batch = make_batch
finetune.train(config)
finetune.train(read_train_config(Path(words)))
destroy_process_group()
sys.stdout.flush()
sys.stderr.flush()
# Twice, on a busy machine, a process that was done ended in an abort; where is not known.
os._exit(0)
