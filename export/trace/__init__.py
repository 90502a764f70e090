"""Where two runtimes part: every tensor inside a graph, compared node by node.

runtime.py         the seam: what runs a graph and shows what is inside
onnxruntime.py onnx_reference.py torch.py   which do
programs.py known_inputs.py   the bundle's model in PyTorch, and what a graph is traced on
graph.py           nodes in order
run.py             what a runtime made of graphs, also as a file
difference.py ties.py   beyond rounding? a near tie?
finder.py judge.py      the first node that differs, and whose fault it is
bundle.py          all this for the graphs of a bundle
"""
