from ancestral.engine import Engine
from ancestral.errors import AncestralError as AncestralError
from ancestral.errors import BackendUnavailable as BackendUnavailable
from ancestral.errors import BundleError as BundleError
from ancestral.errors import CheckpointError as CheckpointError
from ancestral.errors import ExportError as ExportError
from ancestral.errors import InvalidInput as InvalidInput
from ancestral.errors import NotADistribution as NotADistribution
from ancestral.errors import ParityError as ParityError
from ancestral.errors import PlanError as PlanError
from ancestral.errors import TrainingError as TrainingError
from ancestral.export.bundle import export_bundle as export_bundle
from ancestral.sampling import Sampling as Sampling

__version__: str

load = Engine.load
