import pytest, numpy as np, torch
from ancestral.engine.backends import tensorrt_loop as L, tensorrt_session as S, tensorrt_plan as P
from ancestral.engine.backends.tensorrt_loop import TensorRtBinding as B
from tests.engine.simulated_plans import engine
from tests.engine.test_tensorrt import *
from tests.engine.long_run import long_run

def slices(self, rows, sizes):
    return {s.name: (self._lane.empty((sizes["s"],), torch.int64).copy_(torch.arange(sizes["s"])) if s.name=="offsets" else self._tensor(s.name)[rows]) for s in self._session.signature.inputs}
def noflip(self, steps):
    turn=self._turn
    def work():
        for step in range(steps): self._contexts[(turn+step)%2].run()
    self._graphs.launch((turn,steps),work)
def nokey(self, steps):
    turn=self._turn
    def work():
        for step in range(steps): self._contexts[(turn+step)%2].run()
    self._graphs.launch(steps,work)
    self._turn=(turn+steps)%2
def noturn(self, steps):
    turn=self._turn
    def work():
        for step in range(steps): self._contexts[turn].run()
    self._graphs.launch((turn,steps),work)
    self._turn=(turn+steps)%2
def handle0(self): self._plan.must(self._context.execute_async_v3(0),"run")
def pieces_wrong(self, inputs, sizes, cut):
    return PIECES(self, {k: (v[::-1] if k=="x" else v) for k,v in inputs.items()}, sizes, cut)
PIECES=S.TensorRtSession._pieces
def gather_none(self, rows): return None
def read_other(self, name): return self._buffers[name][1-self._turn]
PL={"slices":(B,"_copies",slices),"noflip":(B,"_launch",noflip),"nokey":(B,"_launch",nokey),"noturn":(B,"_launch",noturn),"handle0":(P.Context,"run",handle0),"pieces":(S.TensorRtSession,"_pieces",pieces_wrong),"gather":(B,"gather",gather_none),"other":(B,"_tensor",read_other)}
@pytest.mark.parametrize("p", PL)
def test_plant(bundles, load, tmp_path, monkeypatch, p):
    red=[]
    monkeypatch.setattr(*PL[p])
    def tr(name, f):
        try: f()
        except Exception as e: red.append((name,type(e).__name__, str(e)[:60].replace("\n"," ")))
    def v():
        r=engine(bundles("tiny"),tmp_path/"a").verify(); assert r.passed
    tr("verify", v)
    tr("many", lambda: test_graphs_of_many_steps(bundles,tmp_path/"b","gru"))
    tr("samples", lambda: test_samples_are_those_of_torch(bundles,load,tmp_path/"c","gru","tensorrt"))
    tr("fc", lambda: test_filtered_and_completed(engine(bundles("tiny"),tmp_path/"d"),load))
    with pytest.MonkeyPatch.context() as m: tr("blocks", lambda: test_blocks_in_turns(engine(bundles("tiny"),tmp_path/"e"),load,m))
    print("\nPLANT",p,red)
    assert red
