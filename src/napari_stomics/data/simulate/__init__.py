"""Serial multimodal sections with known truth, of any size.

>>> from napari_stomics import SimulationParams, simulate
>>> simulation = simulate(SimulationParams(n_spots=500, um_per_px=None))
>>> list(simulation.study.sections)
['section_1', 'section_2']
"""

from napari_stomics.data.simulate.params import Sees, SimulationParams
from napari_stomics.data.simulate.run import simulate
from napari_stomics.data.simulate.truth import SectionTruth, Simulation, Truth

__all__ = ["SectionTruth", "Sees", "Simulation", "SimulationParams", "Truth", "simulate"]
