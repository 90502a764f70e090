"""Limits on the sizes and counts in a bundle: far above real models, far below harm to a machine.

A bundle may come from a stranger. Its sizes and counts are compared with these limits before any
memory is allocated or time is spent on it; see docs/security.md.

    what                                           limit            a large model has
    bytes of manifest.json                         2^22             10^5
    its values; keys of all its objects            2^19; 2^17       10^4
    nesting of its objects and lists               32               8
    files; graphs; components                      4096; 64; 16     30; 7; 1
    inputs of a graph; outputs                     4096; 4096       2 per layer
    characters of a file name; bytes of a part     1024; 255        40
    characters of a tensor's name; of other names  1024; 1024       30
    axes of an event or a latent; of a tensor      8; 8             3; 4
    values of an event or a latent                 2^24             2^20
    sites of an explicit ordering                  2^18             2^10
    levels; classes; stop values                   2^24; 2^15; 256  2^18; 1000; 3
    numbers in a tensor at batch 1                 2^34             2^28
    bytes of an .onnx file; of all in a bundle     2^25; 2^27       2^21; 2^24
    nodes, attributes and tensors in all of them   2^20             10^5
    nesting of graphs in an .onnx file             8                1
    bytes of the header of a safetensors file      2^22             2^17
    bytes of tokenizer.json; of vocab.txt          2^28; 2^28       2^25
"""

MANIFEST_BYTES = 2**22
MANIFEST_VALUES = 2**19
MANIFEST_KEYS = 2**17
"""A cache entry takes about 25 keys in the signatures of the graphs that carry it."""
MANIFEST_DEPTH = 32
FILES = 4096
GRAPHS = 64
COMPONENTS = 16
TENSORS = 4096
FILE_NAME = 1024
FILE_NAME_PART = 255
"""Bytes of one part of a path, the limit of the file systems of Linux and macOS."""
NAME = 1024
AXES = 8
SITES = 2**24
ORDERING = 2**18
LEVELS = 2**24
CLASSES = 2**15
STOPS = 256
ELEMENTS = 2**34
SIZE = 2**63 - 1
"""Bytes of a file, or number of parameters of a model."""
GRAPH_BYTES = 2**25
GRAPHS_BYTES = 2**27
GRAPHS_MESSAGES = 2**20
GRAPH_DEPTH = 8
HEADER_BYTES = 2**22
TOKENIZER_BYTES = 2**28
