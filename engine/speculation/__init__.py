"""Exact speculation: the same sample from the same seed, in fewer calls of the step graph.

With its uniforms u given, a sample is a fixed point: x_t is what u_t draws from p(. | x_<t). A
block of s positions through the step graph redraws each of them given the *proposals* before it.
The longest prefix of redraws that equal the proposals is the sample itself, and so is the next
redraw, whose past is right. So a call yields between 1 and s values of the sample, whatever was
proposed; slots of the cache beyond them are overwritten before they are read.

References:
    Song et al. (2020), Accelerating Feedforward Computation via Parallel Nonlinear Equation
    Solving, arXiv:2002.03629. Wiggers & Hoogeboom (2020), Predictive Sampling with Forecasting
    Autoregressive Models, arXiv:2002.09928. Daliri et al. (2024), Coupling without Communication
    and Drafter-Invariant Speculative Decoding, arXiv:2408.07978.
"""

from ancestral.engine.speculation.draft import Draft
from ancestral.engine.speculation.jacobi import Jacobi
from ancestral.engine.speculation.ngram import Ngram
from ancestral.engine.speculation.plan import Plan, Speculate, Speculation, plan_of
from ancestral.engine.speculation.proposer import Proposals, Proposer, Row
from ancestral.engine.speculation.report import Speculated, joined
from ancestral.engine.speculation.speculated_row import SpeculatedRow
from ancestral.engine.speculation.table import Table
from ancestral.engine.speculation.whole_event import WholeEvents, fixed_point

__all__ = [
    "Draft",
    "Jacobi",
    "Ngram",
    "Plan",
    "Proposals",
    "Proposer",
    "Row",
    "Speculate",
    "Speculated",
    "SpeculatedRow",
    "Speculation",
    "Table",
    "WholeEvents",
    "fixed_point",
    "joined",
    "plan_of",
]
