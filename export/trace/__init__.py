"""Where two runtimes part: every tensor inside a graph, compared node by node.

graph.py           a graph of a bundle, its nodes in order
run.py             what a runtime made of graphs, also as a file
torch.py onnxruntime.py onnx_reference.py   the runtimes
known_inputs.py    what a graph is traced on
comparison.py      is a difference more than rounding?
tracer.py          all this for the graphs of a bundle
finder.py report.py   the first node that differs, and whose fault it is
"""
