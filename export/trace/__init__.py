"""Find where two runtimes differ: compare every tensor inside a graph, node by node.

graph.py           a graph of a bundle, its nodes in order
run.py             the tensors of one runtime, in memory and as a file
torch.py onnxruntime.py onnx_reference.py   the runtimes
known_inputs.py    the inputs on which a graph is traced
comparison.py      is a difference more than rounding?
tracer.py          the trace of a bundle's graphs
finder.py report.py   the first node that differs, and which side is wrong
"""
