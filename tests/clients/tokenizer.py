"""Writes a folder with a tokenizer of bytes, for load tools that would fetch one from a hub.

    python tokenizer.py FOLDER

They make prompts of so many tokens with it, and count tokens where a server does not say.
"""

import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
vocabulary = {letter: number for number, letter in enumerate(alphabet)}
end = "<|endoftext|>"
vocabulary[end] = len(vocabulary)
tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
tokenizer.decoder = decoders.ByteLevel()
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token=end, eos_token=end, pad_token=end, unk_token=end
)
fast.save_pretrained(sys.argv[1])
