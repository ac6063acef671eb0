"""The laboratory: the fate of a unit whose gradient is exactly zero. Can it come back, and at which step?"""
from ..missing import present as _present
from . import laws as laws
from .advise import Advice as Advice, Hint as Hint, advise as advise
from .autopsy import Autopsy as Autopsy, Death as Death, Share as Share
from .birth import Birth as Birth, BirthLayer as BirthLayer, birth_probability as birth_probability
from .birth import unit_birth_probability as unit_birth_probability
from .census import Census as Census, LayerCensus as LayerCensus, census as census
from .closed_form import Revival as Revival, layer_revivals as layer_revivals, revival as revival, revival_step as revival_step
from .prescription import Prescription as Prescription, prescribe as prescribe
from .continual import ContinualBackprop as ContinualBackprop, DecayToStart as DecayToStart
from .interventions import BumpBias as BumpBias, DataInit as DataInit, Kill as Kill, Mirror as Mirror, ReDo as ReDo
from .interventions import InsertBatchNorm as InsertBatchNorm, SwapToLeaky as SwapToLeaky, kill as kill, mirror as mirror
from .gradient_profile import GradientProfile as GradientProfile, LayerProfile as LayerProfile
from .gradient_profile import gradient_profile as gradient_profile
from .lethal import LayerRates as LayerRates, LethalRates as LethalRates, lethal_lr as lethal_lr
from .prognosis import Prognosis as Prognosis, UnitPrognosis as UnitPrognosis, prognosis as prognosis
from .recorder import Life as Life, Recorder as Recorder, Recorders as Recorders
from .roll_forward import orbit as orbit, revival_parts as revival_parts, roll_forward as roll_forward
from ..inside.reasons import Reason as Reason
from .why_zero import WhyZero as WhyZero, why_zero as why_zero
from .readings import Members as Members
from .sites import Intervention as Intervention
from .survival import Spell as Spell, Survival as Survival, survival as survival
from .layers import State as State
from .units import Units as Units
from .sweep import Sweep as Sweep, sweep as sweep

vars()["__dir__"], vars(laws)["__dir__"] = _present(__name__, "experiments", "laws"), _present(laws.__name__, own=True)
